#pragma once

// Deep checks: tests of a node that need it for themselves. HyperPod's two kinds and their words.

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/enum_text.h"
#include "model/fault.h"

namespace holdfast {

enum class CheckKind { kInstanceStress, kInstanceConnectivity };
template <>
inline constexpr auto kWords<CheckKind> = std::to_array<std::string_view>({"InstanceStress",
                                                                           "InstanceConnectivity"});

// Of one test. Skipped: what it tests is not there, or somebody else broke it off.
enum class CheckVerdict { kPassed, kFailed, kSkipped };
template <>
inline constexpr auto kWords<CheckVerdict> = std::to_array<std::string_view>({"Passed", "Failed",
                                                                              "Skipped"});

// Of a node.
enum class CheckStatus { kNone, kInProgress, kPassed, kFailed };
template <>
inline constexpr auto kWords<CheckStatus> = std::to_array<std::string_view>({"none", "InProgress",
                                                                             "Passed", "Failed"});

// One number, or one yes or no. Numbers are thousandths of their unit.
struct CheckResult {
  std::string test;  // "memory_bandwidth", a script's name
  NodeId node;       // where it was measured
  NodeId peer;       // the other end of a link; none: the node by itself
  CheckVerdict verdict = CheckVerdict::kPassed;
  Action action = Action::kNone;  // what a failure asks for: none, reboot or replace
  std::int64_t value = 0;
  std::string unit;  // empty: there is no number
  bool less_is_better = false;
  std::optional<std::int64_t> threshold;  // the worst value that passes; set by the control plane
  std::string reason;                     // why not Passed, or where the threshold comes from
  std::string log;                        // the end of its output
  Duration took;

  friend bool operator==(const CheckResult&, const CheckResult&) = default;
};

struct CheckFloor {
  std::string instance_type;  // "*": every type
  std::string test;
  std::int64_t value = 0;  // thousandths; a ceiling where less is better
};

// What a person has set for a cluster.
struct DeepChecks {
  std::vector<CheckKind> on_start;      // of each machine that comes; empty: none
  std::vector<CheckKind> after_repair;  // of a machine that was rebooted or reset
  std::string scripts;                  // folder on each node whose programs are tests; empty: none
  Duration load = seconds(5);           // how long a test keeps its part busy
  Duration test_budget = minutes(2);    // a test without an answer by then has failed
  Duration budget = minutes(30);        // of all tests of one run together
  std::vector<CheckFloor> floors;
};

// All of its nodes do the same test at one time.
struct CheckStep {
  std::string test;
  std::uint32_t round = 0;   // of the tournament of links
  std::vector<NodeId> only;  // empty: all
};

struct CheckMember {
  NodeId node;
  // A healthy node that measures with the others: it is tested by nothing but their links.
  bool is_partner = false;
  CheckStatus status = CheckStatus::kInProgress;
  std::string reason;  // Failed: why
};

// Waiting: for nodes that come, or that still have ranks.
enum class CheckRunState { kWaiting, kRunning, kEnded };
template <>
inline constexpr auto kWords<CheckRunState> = std::to_array<std::string_view>({"waiting", "running",
                                                                               "ended"});

// Deep checks of some nodes together: one test after the other.
struct CheckRun {
  CheckId id;
  std::string by;  // "start", "repair", or who asked
  std::vector<CheckKind> kinds;
  CheckRunState state = CheckRunState::kWaiting;
  Instant asked;
  std::optional<Instant> began, ended;
  std::vector<CheckMember> members;
  std::vector<CheckStep> steps;
  std::uint32_t step = 0;        // the one under way
  Instant step_ends;             // who has not answered by then has failed
  std::uint32_t begun_anew = 0;  // steps, because the control plane stood still
  bool is_confirming = false;    // what was too slow is measured a second time
  std::set<NodeId> waiting_for;
  std::vector<CheckResult> results;
};

}  // namespace holdfast
