#include "core/diagnose/message_pattern.h"

#include <charconv>

namespace holdfast {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_device(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
         c == ':' || c == '-' || c == '/';
}

std::size_t span_of(std::string_view text, bool (*is)(char)) {
  std::size_t length = 0;
  while (length < text.size() && is(text[length])) ++length;
  return length;
}

// Patterns are ours and short, so trying each length of '*' and '@' stays cheap.
bool match(std::string_view pattern, std::string_view text, PatternMatch& caught) {
  while (!pattern.empty()) {
    const char c = pattern.front();
    pattern.remove_prefix(1);
    if (c == '*') {
      if (pattern.empty()) return true;
      const auto head = literal_head(pattern);
      for (std::size_t at = 0; at <= text.size(); ++at) {
        if (!head.empty() && (at = text.find(head, at)) == std::string_view::npos) return false;
        if (match(pattern, text.substr(at), caught)) return true;
      }
      return false;
    }
    if (c == '@') {
      for (std::size_t length = span_of(text, is_device); length > 0; --length) {
        if (!match(pattern, text.substr(length), caught)) continue;
        if (caught.device.empty()) caught.device = text.substr(0, length);
        return true;
      }
      return false;
    }
    if (c == '#' || c == '%') {
      const std::size_t length = span_of(text, is_digit);
      if (length == 0) return false;
      if (c == '%') {
        std::int32_t pid = 0;
        if (std::from_chars(text.data(), text.data() + length, pid).ec != std::errc()) return false;
        caught.pid = pid;
      }
      text.remove_prefix(length);
      continue;
    }
    if (text.empty() || text.front() != c) return false;
    text.remove_prefix(1);
  }
  return true;
}

}  // namespace

std::optional<PatternMatch> match_beginning(std::string_view pattern, std::string_view message) {
  PatternMatch caught;
  if (!match(pattern, message, caught)) return std::nullopt;
  return caught;
}

}  // namespace holdfast
