#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/time.h"

namespace holdfast::hyperpod {

// Seconds since 1970 as a number, or text like "2026-11-25T18:04:45.123Z" or
// "2026-11-25T18:04:45+01:00". nullopt: neither, or not within 1970..2262.
[[nodiscard]] std::optional<WallTime> read_timestamp(const nlohmann::json& value);

// Seconds since 1970 with three decimals.
[[nodiscard]] nlohmann::json write_timestamp(WallTime time);
void append_timestamp(std::string& out, WallTime time);

}  // namespace holdfast::hyperpod
