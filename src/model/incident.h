#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/enum_text.h"
#include "model/fault.h"

namespace holdfast {

enum class IncidentState { kOpen, kRecovered, kFailed };
template <>
inline constexpr auto kWords<IncidentState> = std::to_array<std::string_view>({"open", "recovered",
                                                                               "failed"});

// The phases of a recovery, in order. An incident in which a recovery itself is hit goes through
// them again; the times kept are the first `noticed` and the last of each other one.
enum class Phase { kNoticed, kDrained, kDecided, kStarted, kRestored, kFirstStep };
template <>
inline constexpr auto kWords<Phase> = std::to_array<std::string_view>({"noticed", "drained",
                                                                       "decided", "started",
                                                                       "restored", "first_step"});
inline constexpr std::size_t kPhases = 6;

struct StoryLine {
  Instant at;
  std::string text;
};

// From the first sign of trouble to training going again: one for a whole chain of faults.
struct IncidentRecord {
  IncidentId id;
  JobId job;  // none: a node was found bad while no job used it
  IncidentState state = IncidentState::kOpen;
  std::array<std::optional<Instant>, kPhases> phases{};
  std::vector<Verdict> verdicts;               // one per round of the recovery
  Attempt first_attempt;                       // the one that was hit
  Attempt last_attempt;                        // the one that went on
  std::uint64_t step_reached = 0;              // the furthest step before it
  std::optional<std::uint64_t> restored_step;  // where training went on from
  std::optional<std::uint64_t> steps_lost;     // step_reached - restored_step, where both are known
  std::vector<StoryLine> story;

  [[nodiscard]] std::optional<Instant> phase(Phase p) const {
    return phases[static_cast<std::size_t>(p)];
  }
};

}  // namespace holdfast
