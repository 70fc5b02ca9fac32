#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "model/enum_text.h"

namespace holdfast::sim {

// Where an accelerator's time goes. Each instant of each accelerator is in exactly one part.
enum class Part {
  kUseful,           // training that counted
  kLostWork,         // training that was undone by a fault, or that a slow rank held up
  kDetection,        // training stands still and nobody has noticed: fault to first sign
  kPlacement,        // first sign to the start of the ranks: drain, verdict, decision, new nodes
  kRestart,          // processes start, find each other, make their first step
  kRestore,          // the checkpoint is read
  kCheckpointStall,  // all stand still while one is taken
  kWaitingForNodes,  // a job wants more nodes than there are: the missing ones, and those that wait
  kIdle              // wanted by no job: spares, and places without work
};
inline constexpr std::size_t kParts = 9;

// Accelerator-nanoseconds: 16,384 accelerators over 54 days are more than 64 bits hold.
__extension__ using AcceleratorTime = unsigned __int128;

using Totals = std::array<AcceleratorTime, kParts>;

[[nodiscard]] AcceleratorTime sum(const Totals& totals);
[[nodiscard]] inline AcceleratorTime at(const Totals& totals, Part part) {
  return totals[static_cast<std::size_t>(part)];
}
// Useful time over all the time that jobs wanted accelerators (all parts but idle), in millionths,
// rounded down. 0 when no job wanted any.
[[nodiscard]] std::uint32_t goodput_ppm(const Totals& totals);

// The account of every accelerator of a run. What is counted are the slots of the cluster, places
// and spares, whatever machine fills them; so their number is constant, and
//
//   sum(totals(now)) == accelerators x (now - start)   for every now, whatever was called before.
//
// Accelerators that do the same thing at the same time are a group: each job is one, and group
// kPool is the rest. Every call costs O(1) except totals(), which costs O(groups).
// Pure; `now` never decreases.
class Ledger {
 public:
  using Group = std::uint32_t;
  static constexpr Group kPool = 0;  // always there; all accelerators begin in it, idle

  Ledger(Instant start, std::uint64_t accelerators);

  // An empty one, in kIdle.
  [[nodiscard]] Group add_group();
  // REQUIRES: from has so many.
  void move(Instant now, Group from, Group to, std::uint64_t accelerators);
  // From now on the group's time is this part's.
  void set(Instant now, Group group, Part part);

  // A checkpoint of all that the group has done by now is taken; it counts once it is committed.
  // A second one before that takes the first one's place.
  void snapshot(Instant now, Group group);
  void commit(Group group);
  // A fault: what was useful since the committed snapshot is lost work. Also forgets a snapshot
  // that is not committed.
  void lose(Instant now, Group group);
  // Of the useful time since the last commit, each accelerator only waited so long for a slow one.
  // At most what there is.
  void hold_up(Instant now, Group group, Duration each);

  // By now, uncommitted work counted as useful.
  [[nodiscard]] Totals totals(Instant now) const;
  [[nodiscard]] std::uint64_t accelerators(Group group) const {
    return groups_[group].accelerators;
  }
  [[nodiscard]] Part part(Group group) const { return groups_[group].part; }
  // accelerators x (now - start)
  [[nodiscard]] AcceleratorTime whole(Instant now) const;

 private:
  struct Account {
    std::uint64_t accelerators = 0;
    Part part = Part::kIdle;
    Instant since;                 // of what is not in totals_ yet
    AcceleratorTime at_risk = 0;   // useful, in totals_, since the committed snapshot
    AcceleratorTime snapshot = 0;  // of it, what the snapshot under way has
  };
  void settle(Instant now, Account& account);
  void waste(Account& account, AcceleratorTime amount);

  Instant start_;
  std::uint64_t accelerators_;
  Totals totals_{};
  std::vector<Account> groups_;
};

}  // namespace holdfast::sim

namespace holdfast {

template <>
inline constexpr auto kWords<sim::Part> =
    std::to_array<std::string_view>({"useful", "lost_work", "detection", "placement", "restart",
                                     "restore", "checkpoint_stall", "waiting_for_nodes", "idle"});

}  // namespace holdfast
