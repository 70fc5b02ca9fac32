#pragma once

// What came of a run. Everything but wall_s and cpu_s follows from scenario and seed alone.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/fault.h"
#include "model/incident.h"
#include "model/job.h"
#include "sim/ledger.h"

namespace holdfast::sim {

// A property that did not hold.
struct Violation {
  std::string checker;  // "two_attempts_write", "ledger_sum", ...: stable
  std::string text;     // what was seen
  Instant at;
  std::string repeat;  // the command line that shows it again
};

// One incident as the world saw it, which knows when the fault really was.
struct IncidentTrace {
  IncidentId id;
  JobId job;
  std::string fault;  // name of the source or plan that began it; "": none is known
  Instant fault_at;   // training stood still
  CauseClass truth = CauseClass::kUnknown;
  CauseClass cause = CauseClass::kUnknown;  // of the last verdict
  Action action = Action::kNone;
  std::string summary;  // of the last verdict
  std::array<std::optional<Instant>, kPhases> phases{};
  std::uint32_t rounds = 0;  // verdicts: > 1 when the recovery was hit itself
  IncidentState state = IncidentState::kOpen;
  std::uint32_t nodes = 0;  // of the job when it was hit
  std::uint32_t machines_replaced = 0;
  std::optional<std::uint64_t> steps_lost;
};

struct JobTrace {
  JobId id;
  std::string name;
  JobState state = JobState::kQueued;
  std::string reason;
  std::uint64_t step = 0;  // furthest
  std::uint64_t committed_step = 0;
  std::uint32_t attempts = 0;
};

// How things stood at one moment; about a thousand over a run. Totals are since the start, so that
// the difference of two samples tells where the time between them went.
struct Sample {
  Instant at;
  Totals totals{};
  std::uint32_t nodes_healthy = 0;  // spares with them
  std::uint32_t spares_ready = 0;
};

struct Outcome {
  std::string scenario;
  std::uint64_t seed = 0;
  Instant start;  // of the run, on the simulated time line
  Instant end;
  std::uint64_t events = 0;     // that the machines were stepped with, heartbeats among them
  std::uint64_t faults = 0;     // injected, by plan and by chance
  std::uint64_t digest = 0;     // of every input and effect of the control plane, in order
  std::uint64_t last_draw = 0;  // one more random number than was needed: tells runs apart
  Totals totals{};              // sum(totals) == whole
  AcceleratorTime whole = 0;    // slots x accelerators x (end - start)
  std::vector<Violation> violations;
  std::vector<IncidentTrace> incidents;  // in the order in which they began
  std::vector<JobTrace> jobs;
  std::vector<Sample> samples;  // the first at start, the last at end
  std::uint32_t machines_replaced = 0;
  std::uint32_t bad_replacements_used = 0;  // that ran a rank before anybody found them
  std::uint32_t breaker_opened = 0;         // times
  std::uint32_t updates_rolled_back = 0;    // of its software, to the end
  std::uint32_t server_crashes = 0;
  std::optional<Instant> first_fault_at;
  std::optional<Instant> last_decision_at;  // the last `decided`, cordon or replacement
  Duration wall;
  Duration cpu;

  [[nodiscard]] Duration simulated() const { return end - start; }
  // From the first fault to the last decision; nullopt: there was none.
  [[nodiscard]] std::optional<Duration> decided() const {
    if (!first_fault_at || !last_decision_at) return std::nullopt;
    return *last_decision_at - *first_fault_at;
  }
};

}  // namespace holdfast::sim
