#pragma once

// Lists a page at a time. A token is opaque to callers: it names the query that it goes on with and
// the last thing that was shown, so it needs no memory here and outlives a restart.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "api/hyperpod/service_model.h"

namespace holdfast::hyperpod {

inline constexpr std::uint32_t kPageMax = 100;  // MaxResults of the model

struct Page {
  std::uint32_t size = kPageMax;
  bool is_descending = false;
  std::string after;        // key of the last thing that was shown; empty: none was
  std::uint64_t query = 0;  // fingerprint of the operation and its filters

  // A token that goes on behind the thing with this key.
  [[nodiscard]] std::string token(const std::string& key) const;
  // Whether what has this key comes behind `after`.
  [[nodiscard]] bool is_ahead(const std::string& key) const {
    return after.empty() || (is_descending ? key < after : key > after);
  }

  friend bool operator==(const Page&, const Page&) = default;
};

// Of a request with MaxResults, NextToken and SortOrder; without the last one clusters and their
// nodes come in ascending order, all else in descending order. nullopt: its token is of another
// query.
// REQUIRES: `body` is valid.
[[nodiscard]] std::optional<Page> read_page(const Operation& operation, const nlohmann::json& body);

}  // namespace holdfast::hyperpod
