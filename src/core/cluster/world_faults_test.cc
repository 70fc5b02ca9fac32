// tidy: allow test-place, because what it tests is the controller and the agents together.
// What goes wrong in the world.

#include <csignal>

#include "core/cluster/world_test.h"

namespace holdfast {

void World::plan_faults() {
  const std::uint64_t faults = 2 + prng_.below(9);
  calm_at_ = now_;
  for (std::uint64_t i = 0; i < faults; ++i) {
    const Duration after = between(3000, 90'000);
    calm_at_ = std::max(calm_at_, now_ + after);
    at(after, [this] { strike(); });
    // Trouble likes company: some of them hit the recovery from the one before.
    if (prng_.chance(1, 3)) at(after + between(10, 3000), [this] { strike(); });
  }
  calm_at_ = calm_at_ + seconds(3);
}

std::optional<NodeId> World::any_live_node() {
  std::vector<NodeId> live;
  for (const auto& [id, node] : nodes_)
    if (node.alive && !node.frozen) live.push_back(id);
  if (live.empty()) return std::nullopt;
  return live[prng_.below(live.size())];
}

void World::strike() {
  const std::uint64_t dice = prng_.below(100);
  if (dice < 12) {
    crash_soon_ = up_;
    // If nothing happens to the control plane meanwhile it crashes all the same.
    return at(milliseconds(300), [this] {
      if (crash_soon_) crash();
    });
  }
  if (dice < 14) {
    const std::size_t jobs = controller_.state().jobs.size();
    if (jobs > 1) apply_if_up(event::JobStopAsked{JobId{2}, "operator"});
    return;
  }
  const auto node = any_live_node();
  if (!node) return;
  if (dice < 60) return strike_node(*node, dice);
  const auto& ranks = nodes_.at(*node).ranks;
  if (!ranks.empty()) strike_rank(*node, ranks.begin()->first, dice);
}

void World::strike_node(NodeId id, std::uint64_t how) {
  if (how < 26) {
    die(id);
    if (const auto other = any_live_node(); other && prng_.chance(1, 4)) die(*other);
  } else if (how < 36) {
    nodes_.at(id).frozen = nodes_.at(id).hurt = true;
    at(prng_.chance(1, 4) ? between(100, 2000) : between(2000, 40'000), [this, id] {
      Node& node = nodes_.at(id);
      node.frozen = false;
      for (const auto& action : std::exchange(node.backlog, {})) on_node(id, {}, action);
    });
  } else if (how < 46) {
    break_stream(id);
  } else if (how < 53) {
    const std::string xid =
        prng_.chance(2, 3) ? "79, GPU has fallen off the bus." : "13, Graphics Exception";
    step_agent(id, agent_event::KernelLine{"NVRM: Xid (PCI:0000:b9:00): " + xid});
  } else {
    apply_if_up(event::NodeReplaceAsked{id, "operator"});
  }
}

void World::strike_rank(NodeId id, RankKey key, std::uint64_t how) {
  Rank& rank = nodes_.at(id).ranks.at(key);
  if (how < 75)
    return rank_ends(id, key, {.rank = key.second, .signal = how % 2 == 0 ? SIGKILL : SIGSEGV});
  if (how < 80) {
    step_agent(id, agent_event::KernelLine{"Memory cgroup out of memory: Killed process " +
                                           std::to_string(rank.pid) + " (python3) anon-rss:9kB"});
    return rank_ends(id, key, {.rank = key.second, .signal = SIGKILL});
  }
  if (how < 85) return rank_ends(id, key, {.rank = key.second, .code = 1, .error_type = "OSError"});
  rank.hung = true;
  if (how >= 95) rank.stuck = nodes_.at(id).hurt = true;
}

}  // namespace holdfast
