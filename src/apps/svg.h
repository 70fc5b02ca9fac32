#pragma once

// Pictures and pages that need nothing but themselves: SVG in HTML, no network, no script. Light
// and dark follow the reader's system; colours are Okabe and Ito's, which the colour-blind tell
// apart.

#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace holdfast {

[[nodiscard]] std::string html_escaped(std::string_view text);

// A whole page; `body` is HTML.
[[nodiscard]] std::string html_page(std::string_view title, std::string_view body);

// Round numbers (1, 2, 5 x 10^n) within [low, high], about so many.
[[nodiscard]] std::vector<double> round_ticks(double low, double high, int about);
// Round durations (1 s, 5 s, 1 min, 6 h, 7 d, ...) from zero to `end`, at most so many.
[[nodiscard]] std::vector<Duration> round_time_ticks(Duration end, std::size_t most);
// "90 s", "15 min", "6 h", "day 12": for an axis.
[[nodiscard]] std::string tick_text(Duration at);

// How wide a text of the pages' 12 px letters is, within a tenth.
[[nodiscard]] double text_width(std::string_view text);

// Coordinates are pixels of a picture that is scaled as a whole. `css` names a class of the page:
// a part of the ledger or a phase ("useful", "noticed"), or "axis", "grid", "line", "faint".
class Svg {
 public:
  enum class Anchor { kStart, kMiddle, kEnd };

  Svg(double width, double height, std::string_view description);
  // `hover` is shown when the pointer rests on it; empty: nothing.
  void rect(double x, double y, double width, double height, std::string_view css,
            std::string_view hover = {});
  void line(double x1, double y1, double x2, double y2, std::string_view css);
  void text(double x, double y, std::string_view text, std::string_view css = {},
            Anchor anchor = Anchor::kStart);
  // `path` is SVG path data.
  void path(std::string_view path, std::string_view css, std::string_view hover = {});
  void circle(double x, double y, double radius, std::string_view css, std::string_view hover = {});
  [[nodiscard]] std::string done() &&;

 private:
  std::string out_;
};

}  // namespace holdfast
