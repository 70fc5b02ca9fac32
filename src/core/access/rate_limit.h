#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace holdfast {

// A token bucket, kept as the time at which it would be full again (GCRA): whole numbers only, and
// nothing to be refilled by a timer.
class RateLimit {
 public:
  // REQUIRES: both > 0.
  RateLimit(std::int64_t per_second, std::int64_t burst)
      : interval_(seconds(1) / per_second), most_(interval_ * burst) {}

  // One token, if there is one. `now` may not decrease.
  bool take(Instant now) {
    const Instant full = std::max(full_, now) + interval_;
    if (full - now > most_) return false;
    full_ = full;
    return true;
  }

 private:
  Duration interval_, most_;
  Instant full_;
};

}  // namespace holdfast
