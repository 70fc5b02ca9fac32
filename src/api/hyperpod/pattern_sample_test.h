#pragma once

// Random texts that match a pattern of the service model: enough of the language for those that it
// has. A text may still miss what \b or a limit of length asks for, so the caller tries again.

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/prng.h"

namespace holdfast::hyperpod {

class PatternSampler {
 public:
  explicit PatternSampler(Prng& prng) : prng_(prng) {}

  std::string sample(std::string_view pattern) {
    std::vector<std::string_view> alternatives;
    std::size_t begin = 0, at = 0;
    for (; at < pattern.size(); at += atom_length(pattern.substr(at))) {
      if (pattern[at] != '|') continue;
      alternatives.push_back(pattern.substr(begin, at - begin));
      begin = at + 1;
    }
    alternatives.push_back(pattern.substr(begin));
    return sequence(alternatives[prng_.below(alternatives.size())]);
  }

 private:
  // Of the group, class, escape or character at the front.
  static std::size_t atom_length(std::string_view text) {
    if (text[0] == '\\') {
      if (text[1] == 'p') return text.find('}') + 1;
      return text[1] == 'x' ? 4 : 2;
    }
    if (text[0] == '[') {
      std::size_t end = 1;
      while (text[end] != ']') end += text[end] == '\\' ? 2 : 1;
      return end + 1;
    }
    if (text[0] != '(') return 1;
    std::size_t end = 1;
    while (text[end] != ')') end += atom_length(text.substr(end));
    return end + 1;
  }

  static std::uint32_t number(std::string_view& text) {
    std::uint32_t value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    text.remove_prefix(static_cast<std::size_t>(read.ptr - text.data()));
    return value;
  }

  // How often; takes the quantifier away.
  std::uint32_t times(std::string_view& rest) {
    if (rest.empty()) return 1;
    std::uint32_t least = 0, most = 20;
    if (rest[0] == '{') {
      rest.remove_prefix(1);
      least = most = number(rest);
      if (rest[0] == ',') {
        rest.remove_prefix(1);
        most = rest[0] == '}' ? least + 20 : std::min(number(rest), least + 20);
      }
    } else if (rest[0] == '?') {
      most = 1;
    } else if (rest[0] == '+') {
      least = 1;
    } else if (rest[0] != '*') {
      return 1;
    }
    rest.remove_prefix(1);
    if (rest.starts_with('?')) rest.remove_prefix(1);  // as few as possible
    return least + static_cast<std::uint32_t>(prng_.below(most - least + 1));
  }

  std::string sequence(std::string_view rest) {
    std::string text;
    while (!rest.empty()) {
      const std::string_view atom = rest.substr(0, atom_length(rest));
      rest.remove_prefix(atom.size());
      for (std::uint32_t i = times(rest); i > 0; --i) text += one(atom);
    }
    return text;
  }

  std::string one(std::string_view atom) {
    if (atom[0] == '(') {
      const std::string_view inner = atom.substr(1, atom.size() - 2);
      return sample(inner.starts_with("?:") ? inner.substr(2) : inner);
    }
    if (atom == "\\b") return "";
    const std::string characters = atom == "." ? "aZ0-_. /" : characters_of(atom);
    return {characters[prng_.below(characters.size())]};
  }

  static std::string escaped(std::string_view escape) {
    switch (escape[1]) {
      case 'd':
        return "0123456789";
      case 's':
        return " ";
      case 'S':
        return "xY";
      case 'x': {
        std::uint32_t code = 0;
        std::from_chars(escape.data() + 2, escape.data() + 4, code, 16);
        return {static_cast<char>(code)};
      }
      case 'p':
        return escape == "\\p{N}" ? "7" : escape == "\\p{Z}" ? " " : escape == "\\p{L}" ? "aZ" : "";
      default:
        return std::string(escape.substr(1));
    }
  }

  // Those that a class, an escape or a plain character stands for.
  static std::string characters_of(std::string_view atom) {
    if (atom[0] == '\\') return escaped(atom);
    if (atom[0] != '[') return std::string(atom);
    if (atom[1] == '^') return "kQ";
    std::string all;
    for (std::string_view rest = atom.substr(1, atom.size() - 2); !rest.empty();) {
      const std::size_t length = rest[0] == '\\' ? atom_length(rest) : 1;
      const std::string first = characters_of(rest.substr(0, length));
      rest.remove_prefix(length);
      if (rest.size() < 2 || rest[0] != '-') {
        all += first;
        continue;
      }
      const std::size_t last_length = rest[1] == '\\' ? atom_length(rest.substr(1)) : 1;
      const std::string last = characters_of(rest.substr(1, last_length));
      rest.remove_prefix(1 + last_length);
      for (char c = first[0]; c <= last[0] && c > 0; ++c) all += c;
    }
    return all;
  }

  Prng& prng_;
};

}  // namespace holdfast::hyperpod
