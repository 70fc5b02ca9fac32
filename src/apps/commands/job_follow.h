#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "apps/commands/control_plane.h"
#include "base/result.h"

namespace holdfast {

enum class FollowStyle {
  kAuto,       // a live view on a terminal; else the events on stderr and rank 0's output on stdout
  kJsonLines,  // one event per line
};

struct FollowOutcome {
  nlohmann::json job;        // as last seen
  nlohmann::json incidents;  // all of the job's, in order
  bool detached = false;     // the person has left; the job goes on
  bool asked_to_stop = false;
};

// Shows a job until it ends. `after`: events behind this sequence number are shown; negative: the
// newest ones. With `owned`, the first Ctrl-C asks to stop the job and the second one leaves it;
// otherwise the first one leaves.
[[nodiscard]] Result<FollowOutcome> follow_job(ControlPlane& plane, const std::string& job,
                                               std::int64_t after, FollowStyle style, bool owned);

}  // namespace holdfast
