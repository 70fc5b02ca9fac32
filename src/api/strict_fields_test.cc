#include "api/strict_fields.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(StrictFields, ClosestWord) {
  EXPECT_EQ(closest_word("stauts", {"status", "node"}), "status");
  EXPECT_EQ(closest_word("up", {"down", "run"}), "");
}

// What job_file_test does not reach: lists, flags, words.
TEST(StrictFields, ListsFlagsAndWords) {
  const auto read = [](std::string_view text) {
    struct {
      std::vector<std::uint64_t> many;
      bool flag = false;
      std::size_t word = 9;
      std::int32_t number = 0;
    } out;
    const auto root = parse_yaml(text, "f", {"thing", "two"});
    FieldReader reader("f", "thing");
    reader.read_fields(*root, "",
                       {{"many",
                         [&](auto& value, auto& path) {
                           reader.read_list(value, path, [&](auto& item, auto& at) {
                             reader.count_into(out.many.emplace_back())(item, at);
                           });
                         }},
                        {"flag", reader.flag_into(out.flag)},
                        {"word", reader.word_into(out.word, {"node", "rack", "switch"})},
                        {"number", reader.integer_into(out.number)}});
    if (reader.error()) return reader.error()->text();
    std::string text_of = out.flag ? "yes" : "no";
    for (const auto n : out.many) text_of += " " + std::to_string(n);
    return text_of + " " + std::to_string(out.word) + " " + std::to_string(out.number);
  };
  EXPECT_EQ(read("{many: [1, 20000000000], flag: true, word: rack, number: -9}"),
            "yes 1 20000000000 1 -9");
  EXPECT_EQ(read("many:\n- 1\n- x"),
            "HF1001: f:3: many[1]: 'x' is not allowed; give a whole number");
  EXPECT_EQ(read("many: 3"),
            "HF1001: f:1: many: '3' is not allowed; give a list, each item on a line that begins "
            "with `- `");
  EXPECT_EQ(read("flag: yes"), "HF1001: f:1: flag: 'yes' is not allowed; give true or false");
  EXPECT_EQ(read("word: swich"), "HF1001: f:1: word: 'swich' is not allowed; did you mean switch?");
  EXPECT_EQ(read("word: [node]"),
            "HF1001: f:1: word: a list is not allowed; give one of node, rack, switch");
}

}  // namespace
}  // namespace holdfast
