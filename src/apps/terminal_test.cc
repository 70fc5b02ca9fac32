#include "apps/terminal.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(Terminal, Durations) {
  EXPECT_EQ(duration_text(milliseconds(-5)), "0 ms");
  EXPECT_EQ(duration_text(milliseconds(340)), "340 ms");
  EXPECT_EQ(duration_text(milliseconds(2199)), "2.1 s");
  EXPECT_EQ(duration_text(seconds(200)), "3 min 20 s");
  EXPECT_EQ(duration_text(seconds(7500)), "2 h 5 min");
  EXPECT_EQ(duration_text(seconds(90'000 * 3)), "3 d 3 h");
}

TEST(Terminal, ColumnsAreCharactersWithoutColours) {
  EXPECT_EQ(columns_of("a█é"), 3u);
  EXPECT_EQ(columns_of(Paint{true}(Ink::kRed, "ab")), 2u);
  EXPECT_EQ(pad_left("é", 3), "  é");
  EXPECT_EQ(clip("abc█d", 4), "abc█");
  EXPECT_EQ(clip(Paint{true}(Ink::kRed, "abcd"), 2), "\x1b[31mab\x1b[0m");
}

TEST(Terminal, TablesAlign) {
  EXPECT_EQ(render_table({{">N", "NAME"}, {"1", "a"}, {"100", ""}}, Paint{}),
            "  N  NAME\n"
            "  1  a\n"
            "100\n");
}

TEST(Terminal, OutputOfRanksCannotSteerTheTerminal) {
  EXPECT_EQ(without_controls("a\x1b[2J\r\tb\n\xC2\x9Bz é"), "a?[2J?\tb\n?z é");
}

}  // namespace
}  // namespace holdfast
