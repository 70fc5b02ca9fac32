#pragma once

#include <cstdint>

#include "base/time.h"

namespace holdfast::sim {

// How far training is, as a function of time: the steps of a job advance together, so that nothing
// happens per step.
class Pace {
 public:
  // From `now` on, after `step`.
  void go(Instant now, std::uint64_t step, Duration step_time) {
    from_ = now;
    step_ = step;
    step_time_ = step_time;
    moves_ = true;
  }
  void stop(Instant now) {
    step_ = step_at(now);
    moves_ = false;
  }
  // Also in the middle of a step.
  void change(Instant now, Duration step_time) {
    if (!moves_) return;
    const std::uint64_t done = step_at(now);
    const Duration into = now - from_ - step_time_ * static_cast<std::int64_t>(done - step_);
    // into / old = into' / new; in microseconds, which cannot overflow
    const Duration into_new =
        nanoseconds(into.ns / 1000 * (step_time.ns / 1000) / (step_time_.ns / 1000 + 1) * 1000);
    go(now - into_new, done, step_time);
  }

  [[nodiscard]] bool moves() const { return moves_; }
  [[nodiscard]] Duration step_time() const { return step_time_; }
  [[nodiscard]] std::uint64_t step_at(Instant now) const {
    if (!moves_ || now <= from_) return step_;
    return step_ + static_cast<std::uint64_t>((now - from_).ns / step_time_.ns);
  }
  // The end of the first step that ends at `at` or later. REQUIRES: moves().
  [[nodiscard]] Instant boundary(Instant at) const {
    if (at <= from_) return from_;
    const std::int64_t steps = ((at - from_).ns + step_time_.ns - 1) / step_time_.ns;
    return from_ + step_time_ * steps;
  }
  // When `step` is done. REQUIRES: moves().
  [[nodiscard]] Instant end_of(std::uint64_t step) const {
    return step <= step_ ? from_ : from_ + step_time_ * static_cast<std::int64_t>(step - step_);
  }

 private:
  Instant from_;
  std::uint64_t step_ = 0;
  Duration step_time_ = seconds(1);
  bool moves_ = false;
};

}  // namespace holdfast::sim
