#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

namespace holdfast {

// The words of an enum, in the order of its values: one table serves printing, parsing and JSON.
// Specialise `kWords<E>` with an array of string_views next to the enum.
template <class E>
inline constexpr auto kWords = std::array<std::string_view, 0>{};

template <class E>
[[nodiscard]] constexpr std::string_view word_of(E value) {
  const auto index = static_cast<std::size_t>(value);
  return index < kWords<E>.size() ? kWords<E>[index] : std::string_view("?");
}

// nullopt for a word that is none of E's. Never a default value: an unknown word is an error.
template <class E>
[[nodiscard]] constexpr std::optional<E> parse_word(std::string_view word) {
  for (std::size_t i = 0; i < kWords<E>.size(); ++i)
    if (kWords<E>[i] == word) return static_cast<E>(i);
  return std::nullopt;
}

}  // namespace holdfast
