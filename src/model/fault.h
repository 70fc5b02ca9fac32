#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/enum_text.h"

namespace holdfast {

enum class CauseClass {
  kApplication,
  kOutOfMemory,
  kThermal,
  kAccelerator,
  kInterconnect,
  kHost,
  kStorage,
  kScheduling,
  kUnknown
};
template <>
inline constexpr auto kWords<CauseClass> =
    std::to_array<std::string_view>({"application", "out_of_memory", "thermal", "accelerator",
                                     "interconnect", "host", "storage", "scheduling", "unknown"});

// Ordered from mild to drastic.
enum class Action {
  kNone,
  kRestartRanks,
  kRestartOnOtherNodes,
  kResetDevice,
  kRebootNode,
  kReplaceNode,
  kStopJob,
  kAskOperator
};
template <>
inline constexpr auto kWords<Action> = std::to_array<std::string_view>(
    {"none", "restart_ranks", "restart_on_other_nodes", "reset_device", "reboot_node",
     "replace_node", "stop_job", "ask_operator"});

enum class Confidence { kLow, kMedium, kHigh };
template <>
inline constexpr auto kWords<Confidence> = std::to_array<std::string_view>({"low", "medium",
                                                                            "high"});

// One finding on a node: what, where, and the line that shows it.
struct Fault {
  std::string kind;              // "xid", "sxid", "oom", ... (core/diagnose/kernel_rules.cc)
  std::int32_t code = 0;         // the Xid number; 0 where the kind has none
  std::string device;            // PCI address; empty where the kind has none
  std::int32_t pid = 0;          // the process it names; 0: none
  std::uint64_t used_bytes = 0;  // oom: resident memory of the victim
  CauseClass cause = CauseClass::kUnknown;
  Action action = Action::kNone;  // the mildest that cures it
  std::string line;               // as found in the log

  friend bool operator==(const Fault&, const Fault&) = default;
};

// A line of an argument: what was seen, where and when.
struct Evidence {
  std::string what;
  NodeId node;                        // none: not tied to a node
  std::optional<std::uint32_t> rank;  // not tied to a rank
  Instant at;
  CauseClass cause = CauseClass::kUnknown;  // what it points to, where it does

  friend bool operator==(const Evidence&, const Evidence&) = default;
};

// What broke and what to do about it. Thin evidence gives low confidence and the cheap action.
struct Verdict {
  CauseClass cause = CauseClass::kUnknown;
  Action action = Action::kNone;
  Confidence confidence = Confidence::kLow;
  std::string summary;  // one sentence for the person who is paged
  std::vector<NodeId> nodes;
  std::vector<std::uint32_t> ranks;
  std::vector<Evidence> evidence;

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

}  // namespace holdfast
