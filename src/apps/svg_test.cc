#include "apps/svg.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(Svg, RoundTicks) {
  EXPECT_EQ(round_ticks(0, 100, 5), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(round_ticks(90, 100, 5), (std::vector<double>{90, 92, 94, 96, 98, 100}));
  EXPECT_EQ(round_ticks(3, 3, 5), (std::vector<double>{3}));
}

TEST(Svg, TimeTicks) {
  const auto days = round_time_ticks(seconds(54 * 86'400), 9);
  EXPECT_EQ(days.size(), 8u);
  EXPECT_EQ(tick_text(days[1]), "day 7");
  const auto tenths = round_time_ticks(milliseconds(900), 9);
  EXPECT_EQ(tick_text(tenths[3]), "0.3 s");
  EXPECT_EQ(tick_text(seconds(90)), "90 s");
  EXPECT_EQ(tick_text(minutes(1)), "1 min");
  EXPECT_EQ(tick_text(minutes(15)), "15 min");
  EXPECT_EQ(tick_text(minutes(24 * 60)), "24 h");
  EXPECT_EQ(tick_text(minutes(360)), "6 h");
  EXPECT_EQ(round_time_ticks(seconds(100ll * 365 * 86'400), 9).size(), 10u);
}

TEST(Svg, Escapes) {
  Svg svg(10, 10, "a \"b\"");
  svg.text(1, 2, "<x> & y");
  const std::string out = std::move(svg).done();
  EXPECT_NE(out.find("&lt;x&gt; &amp; y"), out.npos);
  EXPECT_NE(out.find("aria-label=\"a &quot;b&quot;\""), out.npos);
}

}  // namespace
}  // namespace holdfast
