#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace holdfast {

enum class Ink { kPlain, kBold, kDim, kRed, kGreen, kYellow, kCyan };

// Colours text, or leaves it alone: rendering is the same on a terminal and in a pipe.
struct Paint {
  bool colour = false;
  [[nodiscard]] std::string operator()(Ink ink, std::string_view text) const;
};

// What standard output is.
struct Screen {
  bool is_terminal = false;
  std::size_t width = 100;
  std::size_t height = 40;
  Paint paint;  // with colour on a terminal, unless NO_COLOR is set
};
[[nodiscard]] Screen standard_output();

// Columns that the text takes: UTF-8 characters, colours not counted. Wide characters count as one.
[[nodiscard]] std::size_t columns_of(std::string_view text);
[[nodiscard]] std::string pad_right(std::string_view text, std::size_t width);
[[nodiscard]] std::string pad_left(std::string_view text, std::size_t width);
// At most `width` columns; colours end where the text is cut.
[[nodiscard]] std::string clip(std::string_view text, std::size_t width);

// What comes from a rank's output or a log must not steer the reader's terminal: control characters
// other than tab and newline become '?'.
[[nodiscard]] std::string without_controls(std::string_view text);

// Aligned columns, two spaces apart; the first row is the header. Columns whose header begins with
// '>' (not printed) are right-aligned.
[[nodiscard]] std::string render_table(const std::vector<std::vector<std::string>>& rows,
                                       const Paint& paint);

// "340 ms", "2.1 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"
[[nodiscard]] std::string duration_text(Duration duration);

// Writes to standard output and flushes. Ends the process when nobody reads it any more.
void print(std::string_view text);
// One line on standard error: "holdfast: ...".
void say(std::string_view text);

// Some lines at the end of a terminal's output that are drawn again in place.
class LiveArea {
 public:
  explicit LiveArea(const Screen& screen) : screen_(screen) {}
  ~LiveArea();
  LiveArea(const LiveArea&) = delete;
  LiveArea& operator=(const LiveArea&) = delete;

  void draw(const std::vector<std::string>& lines);

 private:
  Screen screen_;
  std::size_t drawn_ = 0;
  bool hidden_ = false;  // the cursor
};

// From here on Ctrl-C (and SIGTERM) is counted instead of ending the process.
void count_interrupts();
[[nodiscard]] int interrupts();
// Sleeps, or returns early at the next interrupt.
void pause_for(Duration duration);

}  // namespace holdfast
