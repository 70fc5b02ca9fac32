#include "apps/text_chart.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(TextChart, ACurveWithItsBestMarked) {
  TextChart chart;
  chart.points = {{1, 0}, {10, 1}, {100, 0}};
  chart.mark_x = 10;
  chart.columns = 21;
  chart.rows = 4;
  chart.x_text = [](double x) { return std::to_string(static_cast<int>(x)) + " s"; };
  chart.y_text = [](double y) { return std::to_string(static_cast<int>(y * 100)) + " %"; };
  const std::string text = render(chart, Paint{});
  EXPECT_EQ(text,
            "100 % |          \u2580\u2580\u2580\u2584\u2584      \n"
            "      |        \u2584\u2580:    \u2580\u2580\u2584   \n"
            " 42 % |     \u2584\u2584\u2580  :       \u2580\u2584 \n"
            "  0 % |\u2584\u2584\u2584\u2580\u2580     :         \u2584\n"
            "      +---------------------\n"
            "       1 s     10 s    100 s\n")
      << text;
}

TEST(TextChart, TooLittleToDraw) {
  EXPECT_EQ(render(TextChart{}, Paint{}), "");
}

}  // namespace
}  // namespace holdfast
