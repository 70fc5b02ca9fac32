#pragma once

#include <compare>
#include <cstdint>

namespace holdfast {

// Elapsed time in nanoseconds. Integers throughout: the same inputs give the same decisions on
// every compiler.
struct Duration {
  std::int64_t ns = 0;

  friend auto operator<=>(const Duration&, const Duration&) = default;
  friend Duration operator+(Duration a, Duration b) { return {a.ns + b.ns}; }
  friend Duration operator-(Duration a, Duration b) { return {a.ns - b.ns}; }
  friend Duration operator*(Duration a, std::int64_t n) { return {a.ns * n}; }
  friend Duration operator/(Duration a, std::int64_t n) { return {a.ns / n}; }
  [[nodiscard]] std::int64_t ms() const { return ns / 1'000'000; }
  [[nodiscard]] double s() const { return static_cast<double>(ns) / 1e9; }
};

constexpr Duration nanoseconds(std::int64_t n) {
  return {n};
}
constexpr Duration milliseconds(std::int64_t n) {
  return {n * 1'000'000};
}
constexpr Duration seconds(std::int64_t n) {
  return {n * 1'000'000'000};
}
constexpr Duration minutes(std::int64_t n) {
  return {n * 60'000'000'000};
}

// A point on the cluster's own time line: nanoseconds since the cluster was made. It never goes
// back, also not across a restart of the control plane (the shell continues it from the journal).
// Only the shell reads a clock; everything else is handed an Instant.
struct Instant {
  std::int64_t ns = 0;

  friend auto operator<=>(const Instant&, const Instant&) = default;
  friend Instant operator+(Instant t, Duration d) { return {t.ns + d.ns}; }
  friend Instant operator-(Instant t, Duration d) { return {t.ns - d.ns}; }
  friend Duration operator-(Instant a, Instant b) { return {a.ns - b.ns}; }
};

// Wall-clock time, nanoseconds since 1970 UTC. For people and for certificates, never for
// decisions: it is stamped at the edge and may jump.
struct WallTime {
  std::int64_t ns = 0;
  friend auto operator<=>(const WallTime&, const WallTime&) = default;
};

}  // namespace holdfast
