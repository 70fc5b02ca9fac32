#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "model/check.h"

namespace holdfast {

// What was measured before on other nodes, by test: of each node the newest. For thresholds.
using FleetValues = std::map<std::string, std::map<NodeId, std::int64_t>>;

// Why a node does not pass.
struct CheckFinding {
  CauseClass cause = CauseClass::kUnknown;
  Action action = Action::kRebootNode;
  std::string summary;                // one sentence
  std::vector<std::string> evidence;  // a line for each test that failed
};

struct Judgement {
  std::vector<CheckResult> results;  // with verdicts and thresholds
  std::map<NodeId, CheckFinding> bad;
  // What failed by its number or on a link, to be measured once more before it counts; empty when
  // the run has done so.
  std::vector<CheckStep> confirm;
};

// All results of a run, seen together. What is measured once more moves the medians: a number that
// has passed, and has its threshold, stays so while a run is confirming. A later result of the same
// test (and link) replaces an earlier one. A node fails by what a test of its own says; by a number
// that is worse than a person's floor for its instance type or than the fleet allows; by its links,
// when these blame it. Of a bad link that blames neither end one end fails all the same: that one
// which is no partner, or the one that came last; what is left has been measured well.
[[nodiscard]] Judgement judge(const CheckRun& run, const FleetValues& fleet,
                              const std::vector<CheckFloor>& floors,
                              const std::map<NodeId, std::string>& instance_types);

}  // namespace holdfast
