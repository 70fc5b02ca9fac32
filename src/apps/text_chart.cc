#include "apps/text_chart.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace holdfast {
namespace {

// Of the curve at one x, between its points.
std::optional<double> value_at(const TextChart& chart, double x) {
  const auto after =
      std::ranges::lower_bound(chart.points, x, {}, &std::pair<double, double>::first);
  if (after == chart.points.end()) return std::nullopt;
  if (after == chart.points.begin()) return after->second;
  const auto before = std::prev(after);
  const double share = (x - before->first) / (after->first - before->first);
  return before->second + share * (after->second - before->second);
}

}  // namespace

std::string render(const TextChart& chart, const Paint& paint) {
  if (chart.points.size() < 2 || chart.columns < 2 || chart.rows < 2) return "";
  const double from = std::log(chart.points.front().first);
  const double to = std::log(chart.points.back().first);
  const auto column_of = [&](double x) {
    return static_cast<std::size_t>(
        std::lround((std::log(x) - from) / (to - from) * static_cast<double>(chart.columns - 1)));
  };
  // Two rows of dots in each line of text: upper and lower half.
  const std::size_t halves = chart.rows * 2;
  std::vector<std::size_t> height(chart.columns);
  for (std::size_t column = 0; column < chart.columns; ++column) {
    const double x = std::exp(from + (to - from) * static_cast<double>(column) /
                                         static_cast<double>(chart.columns - 1));
    const double y = value_at(chart, x).value_or(chart.low);
    const double share = std::clamp((y - chart.low) / (chart.high - chart.low), 0.0, 1.0);
    height[column] = static_cast<std::size_t>(std::lround(share * static_cast<double>(halves - 1)));
  }
  const std::size_t mark = chart.mark_x > 0 ? column_of(chart.mark_x) : chart.columns;
  std::size_t margin = 0;
  for (std::size_t row = 0; row < chart.rows; ++row)
    margin = std::max(margin, columns_of(chart.y_text(row == 0 ? chart.high : chart.low)));
  std::string out;
  for (std::size_t row = 0; row < chart.rows; ++row) {
    const std::size_t top = halves - 1 - row * 2;
    const bool labelled = row == 0 || row == chart.rows - 1 || row == chart.rows / 2;
    const double value = chart.low + (chart.high - chart.low) * static_cast<double>(top) /
                                         static_cast<double>(halves - 1);
    out += paint(
        Ink::kDim,
        pad_left(labelled ? chart.y_text(row == chart.rows - 1 ? chart.low : value) : "", margin) +
            " |");
    for (std::size_t column = 0; column < chart.columns; ++column) {
      const bool upper = height[column] == top, lower = height[column] + 1 == top;
      if (upper || lower)
        out += paint(column == mark ? Ink::kGreen : Ink::kCyan, upper ? "\u2580" : "\u2584");
      else
        out += column == mark ? paint(Ink::kGreen, ":") : " ";
    }
    out += "\n";
  }
  const std::string left = chart.x_text(chart.points.front().first);
  const std::string right = chart.x_text(chart.points.back().first);
  std::string axis(margin + 2, ' ');
  axis += left;
  if (mark < chart.columns) {
    const std::string best = chart.x_text(chart.mark_x);
    const std::size_t start = margin + 2 + mark - std::min(mark, columns_of(best) / 2);
    axis = pad_right(axis, std::max(start, columns_of(axis) + 2)) + best;
  }
  axis = pad_right(axis, margin + 2 + chart.columns - std::min(chart.columns, columns_of(right)));
  return out + paint(Ink::kDim, std::string(margin, ' ') + " +" + std::string(chart.columns, '-')) +
         "\n" + paint(Ink::kDim, axis + right) + "\n";
}

}  // namespace holdfast
