#include "model/json_text.h"

#include <gtest/gtest.h>

#include <string>

namespace holdfast {
namespace {

std::string nested(std::size_t levels) {
  return std::string(levels, '[') + std::string(levels, ']');
}

TEST(JsonText, ReadsWhatNestsAsDeepAsIsAllowed) {
  EXPECT_TRUE(parse_json_text(nested(kJsonDepthMax)).is_array());
  EXPECT_TRUE(parse_json_text(nested(kJsonDepthMax + 1)).is_discarded());
  EXPECT_TRUE(parse_json_text(nested(1'000'000)).is_discarded());
  std::string objects;
  for (int i = 0; i <= kJsonDepthMax; ++i) objects += R"({"a":)";
  EXPECT_TRUE(parse_json_text(objects + "1" + std::string(kJsonDepthMax + 1, '}')).is_discarded());
}

TEST(JsonText, WhatIsWideIsNotDeep) {
  std::string wide = "[";
  for (int i = 0; i < 1000; ++i) wide += "[{}],";
  EXPECT_EQ(parse_json_text(wide + "0]").size(), 1001u);
}

TEST(JsonText, BracketsInATextAreText) {
  const std::string text = R"(\"\\)" + std::string(1000, '[');
  EXPECT_TRUE(parse_json_text("\"" + text + "\"").is_string());
}

TEST(JsonText, WhatIsNoJsonIsDiscarded) {
  for (const char* text : {"", "[", "{\"a\":1", "\"\\", "\"\xFF\"", "nul", "[1]]"})
    EXPECT_TRUE(parse_json_text(text).is_discarded()) << text;
}

}  // namespace
}  // namespace holdfast
