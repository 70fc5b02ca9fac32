#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "apps/terminal.h"

namespace holdfast {

// A curve as text, for a terminal; x on a logarithmic scale.
struct TextChart {
  std::vector<std::pair<double, double>> points;  // x > 0, ascending
  double mark_x = 0;                              // a column that stands out; 0: none
  double low = 0, high = 1;                       // of y
  std::size_t columns = 64;
  std::size_t rows = 10;
  std::function<std::string(double)> x_text;
  std::function<std::string(double)> y_text;
};
[[nodiscard]] std::string render(const TextChart& chart, const Paint& paint);

}  // namespace holdfast
