#include "io/utf8.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(Utf8, InvalidBytesAreReplacedOneByOne) {
  const std::string bad = "\uFFFD";
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
      {"a\xC3", "a" + bad},                         // half a character at the end
      {"\xC0\x80", bad + bad},                      // overlong
      {"\xE0\x80\x80", bad + bad + bad},            // overlong
      {"\xED\xA0\x80", bad + bad + bad},            // a surrogate
      {"\xF4\x90\x80\x80", bad + bad + bad + bad},  // past U+10FFFF
      {"\xE2\x28\xA1", bad + "(" + bad},
  };
  for (const auto& [raw, text] : cases) EXPECT_EQ(valid_utf8(raw), text);
}

}  // namespace
}  // namespace holdfast
