#pragma once

#include <cstdint>
#include <functional>

#include "base/time.h"
#include "core/cluster/server_machine.h"
#include "sim/outcome.h"
#include "sim/scenario.h"

namespace holdfast::sim {

// What a scenario does not say, because no user would ask for it: the swarm draws it.
struct Chaos {
  std::uint32_t crash_per_million = 0;        // of the control plane's effects: it dies before it
  std::uint32_t batch_lost_per_cent = 50;     // a journal write under way at a crash
  std::uint32_t stuck_per_million = 0;        // ranks that SIGKILL ends half a minute late
  std::uint32_t deaf_per_million = 0;         // ranks that do not listen to SIGTERM
  std::uint32_t start_fails_per_million = 0;  // ranks
  std::uint32_t slow_start_per_million = 0;   // of nodes: ranks are up only after 5 to 20 s
  std::uint32_t tail_lost_per_cent = 50;      // of broken streams: what was on its way
  std::uint32_t clock_jump_per_cent = 0;      // of the control plane's restarts
  std::uint32_t odd_software_per_cent = 0;    // of machines; 0: they say nothing of theirs
  std::uint32_t no_capacity_per_mille = 0;    // of the times that a machine is asked for
  Duration stop_job_at;                       // an operator stops one; zero: never
  Duration replace_node_at;                   // an operator replaces one; zero: never
  Duration journal_write = nanoseconds(250'000);  // one transaction; facts.md: 4,275 a second
};

struct RunOptions {
  // Heartbeats that cannot matter are left out; the decisions are the same, the count of events is
  // not.
  bool coalesce = true;
  // After every step: the core's own invariants, and the journal's replay at the end. Costs
  // O(state) each.
  bool thorough = false;
  Chaos chaos;
  // From here on nothing new goes wrong; jobs must go on within `settles_within`. Zero: never.
  Duration calm_from;
  Duration settles_within = minutes(15);
  // Called about once in 100,000 events.
  std::function<void(Duration simulated)> on_progress;
  // Each input of the control plane with what it led to, in order.
  std::function<void(const ServerMachine::Entry& entry)> on_entry;
};

// Pure: the same arguments give the same outcome. Outcome::wall and ::cpu are the caller's.
[[nodiscard]] Outcome run(const Scenario& scenario, std::uint64_t seed,
                          const RunOptions& options = {});

}  // namespace holdfast::sim
