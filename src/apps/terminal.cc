#include "apps/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

namespace holdfast {
namespace {

constexpr int kNobodyReads = 141;  // what a shell shows for SIGPIPE

std::atomic<int> interrupt_count = 0;

// Length of the escape sequence that begins at `text`; 0: none does.
std::size_t escape_length(std::string_view text) {
  if (!text.starts_with("\x1b[")) return 0;
  const std::size_t end = text.find_first_of("ABCDEFGHJKSTfhlmnsu", 2);
  return end == text.npos ? text.size() : end + 1;
}

bool continues_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

}  // namespace

std::string Paint::operator()(Ink ink, std::string_view text) const {
  constexpr std::string_view kCodes[] = {"", "1", "2", "31", "32", "33", "36"};
  if (!colour || ink == Ink::kPlain || text.empty()) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[static_cast<std::size_t>(ink)], text);
}

Screen standard_output() {
  Screen screen;
  const char* term = std::getenv("TERM");
  screen.is_terminal =
      ::isatty(STDOUT_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
  const char* no_color = std::getenv("NO_COLOR");
  screen.paint.colour = screen.is_terminal && (no_color == nullptr || *no_color == '\0');
  winsize size{};
  if (screen.is_terminal && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    screen.width = size.ws_col;
    screen.height = size.ws_row;
  }
  return screen;
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  while (!text.empty()) {
    if (const std::size_t length = escape_length(text); length > 0) {
      text.remove_prefix(length);
      continue;
    }
    if (!continues_character(text[0])) ++columns;
    text.remove_prefix(1);
  }
  return columns;
}

std::string pad_right(std::string_view text, std::size_t width) {
  const std::size_t columns = columns_of(text);
  return std::string(text) + std::string(width > columns ? width - columns : 0, ' ');
}

std::string pad_left(std::string_view text, std::size_t width) {
  const std::size_t columns = columns_of(text);
  return std::string(width > columns ? width - columns : 0, ' ') + std::string(text);
}

std::string clip(std::string_view text, std::size_t width) {
  std::string out;
  std::size_t columns = 0;
  bool coloured = false;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = escape_length(text.substr(i));
    if (length > 0) {
      out += text.substr(i, length);
      coloured = text.substr(i, length) != "\x1b[0m";
      i += length;
      continue;
    }
    if (!continues_character(text[i]) && ++columns > width) break;
    out += text[i++];
  }
  if (coloured) out += "\x1b[0m";
  return out;
}

std::string without_controls(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool control = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F;
    // U+0080..U+009F: the 8-bit forms of the same.
    const bool control8 =
        byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (control8) ++i;
    out += control || control8 ? '?' : text[i];
  }
  return out;
}

std::string render_table(const std::vector<std::vector<std::string>>& rows, const Paint& paint) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool mark = &row == &rows.front() && row[i].starts_with('>');
      widths[i] = std::max(widths[i], columns_of(row[i]) - (mark ? 1 : 0));
    }
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool right = i < rows.front().size() && rows.front()[i].starts_with('>');
      std::string_view text = row[i];
      const bool header = &row == &rows.front();
      if (header && right) text.remove_prefix(1);
      const std::string cell = right ? pad_left(text, widths[i]) : pad_right(text, widths[i]);
      line += (i == 0 ? "" : "  ") + (header ? paint(Ink::kDim, cell) : cell);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string duration_text(Duration duration) {
  const std::int64_t ms = std::max<std::int64_t>(duration.ms(), 0);
  const std::int64_t s = ms / 1000;
  if (ms < 1000) return fmt::format("{} ms", ms);
  if (s < 60) return fmt::format("{}.{} s", s, ms % 1000 / 100);
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  if (s < 86'400) return fmt::format("{} h {} min", s / 3600, s % 3600 / 60);
  return fmt::format("{} d {} h", s / 86'400, s % 86'400 / 3600);
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    std::_Exit(kNobodyReads);
}

void say(std::string_view text) {
  fmt::print(stderr, "holdfast: {}\n", text);
}

LiveArea::~LiveArea() {
  if (hidden_) print("\x1b[?25h");
}

void LiveArea::draw(const std::vector<std::string>& lines) {
  std::string out;
  if (!hidden_) out += "\x1b[?25l";
  hidden_ = true;
  if (drawn_ > 0) out += fmt::format("\x1b[{}A", drawn_);
  // What scrolled off the top cannot be drawn again.
  drawn_ = std::min(lines.size(), screen_.height > 1 ? screen_.height - 1 : 1);
  for (std::size_t i = 0; i < drawn_; ++i) out += "\r" + clip(lines[i], screen_.width) + "\x1b[K\n";
  out += "\x1b[J";
  print(out);
}

void count_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { ++interrupt_count; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

int interrupts() {
  return interrupt_count;
}

void pause_for(Duration duration) {
  ::poll(nullptr, 0, static_cast<int>(duration.ms()));
}

}  // namespace holdfast
