#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace holdfast {

// What a pattern caught; views into the message.
struct PatternMatch {
  std::string_view device;          // '@'
  std::optional<std::int32_t> pid;  // '%'
};

// Matches the beginning of a message; what follows the pattern is free. In a pattern:
//   *  anything, also nothing      #  a decimal number
//   @  a device: letters, digits and . _ : - / (the last one is caught)
//   %  a decimal process id (caught)
// and everything else is itself. A message that is cut off before the pattern's end does not match.
[[nodiscard]] std::optional<PatternMatch> match_beginning(std::string_view pattern,
                                                          std::string_view message);

// The part of a pattern before its first special character.
[[nodiscard]] constexpr std::string_view literal_head(std::string_view pattern) {
  return pattern.substr(0, pattern.find_first_of("*#@%"));
}

}  // namespace holdfast
