// tidy: allow test-place, because what it tests is the controller and the agents together.
#include "core/cluster/world_test.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "model/codec.h"

namespace holdfast {

void World::at(Duration after, Action action) {
  queue_.emplace(std::pair(now_ + after, ++queued_), std::move(action));
}

void World::on_node(NodeId id, Duration after, Action action) {
  at(after, [this, id, action = std::move(action)] {
    Node& node = nodes_.at(id);
    if (!node.alive) return;
    if (node.frozen)
      node.backlog.push_back(action);
    else
      action();
  });
}

void World::fail(const std::string& what) {
  if (!failure_) failure_ = "at " + std::to_string(now_.ns / 1'000'000) + " ms: " + what;
}

Duration World::between(std::int64_t min_ms, std::int64_t max_ms) {
  // Microseconds, so that two things seldom happen at the very same time, and sometimes do.
  const auto span = static_cast<std::uint64_t>(max_ms - min_ms) * 1000 + 1;
  return milliseconds(min_ms) + nanoseconds(static_cast<std::int64_t>(prng_.below(span)) * 1000);
}

bool World::is_member(NodeId id) const {
  const auto found = controller_.state().nodes.find(id);
  return found != controller_.state().nodes.end() &&
         (found->second.is_live() || found->second.state == NodeState::kCordoned);
}

bool World::all_jobs_ended() const {
  for (const auto& [id, job] : controller_.state().jobs)
    if (!job.has_ended()) return false;
  return !controller_.state().jobs.empty();
}

std::uint64_t World::replayed_digest(Controller* into) {
  for (const auto& [when, text] : journal_) {
    const Result<Event> event = decode_event(text);
    if (!event.ok()) {
      fail("the journal cannot be read: " + event.error().text());
      return 0;
    }
    Effects ignored;
    into->step(when, event.value(), ignored);
  }
  return into->digest();
}

void World::check_step() {
  if (const auto broken = controller_.check_invariants()) fail("invariant: " + *broken);
  for (const auto& [id, node] : controller_.state().nodes) {
    if (node.state != NodeState::kGone || node.since != now_) continue;
    if (const Node& machine = nodes_.at(id); !machine.gone && !machine.hurt)
      fail(to_string(id) + " is well and was given up: " + node.reason);
  }
  for (const auto& [id, job] : controller_.state().jobs) {
    if (const auto ended = ended_.find(id); ended != ended_.end() && ended->second != job.state)
      fail(to_string(id) + " had ended and is " + std::string(word_of(job.state)));
    if (job.has_ended()) ended_.emplace(id, job.state);
    Attempt& known = attempts_[id];
    if (job.attempt.number < known) fail(to_string(id) + " went back to an older attempt");
    known = job.attempt.number;
  }
}

// Two attempts of one job never live together, on one node or on two that are members.
void World::check_birth(NodeId at_node, const server_message::StartRanks& start) {
  for (const auto& [id, node] : nodes_) {
    if (id != at_node && !is_member(id)) continue;
    if (id != at_node && !is_member(at_node)) continue;
    for (const auto& [key, rank] : node.ranks)
      if (key.first.first == start.job && key.first.second != start.attempt)
        fail("rank " + std::to_string(key.second) + " of " + to_string(start.job) + " " +
             to_string(key.first.second) + " lives on " + to_string(id) + " while " +
             to_string(start.attempt) + " starts on " + to_string(at_node));
  }
}

void World::check_end() {
  const ClusterState& state = controller_.state();
  Controller replayed;
  if (replayed_digest(&replayed) != controller_.digest())
    fail("the journal's replay gives another state than the run");
  for (const auto& [id, incident] : state.incidents) {
    const JobRecord& job = state.jobs.at(incident.job);
    if (incident.state == IncidentState::kOpen && job.has_ended())
      fail(to_string(id) + " is open and its job has ended");
    if (incident.state == IncidentState::kRecovered) ++tally_.recovered;
  }
  tally_.incidents = state.incidents.size();
  for (const auto& [id, job] : state.jobs) {
    tally_.attempts += job.attempt.number.value;
    const Training& training = training_.at(job.spec.name);
    if (!job.has_ended()) check_waiting(job);
    if (job.state == JobState::kSucceeded) ++tally_.succeeded;
    if (job.state == JobState::kStopped) ++tally_.stopped;
    if (job.state == JobState::kSucceeded && training.committed != training.steps)
      fail(to_string(id) + " succeeded without its last commit");
    if (job.state == JobState::kFailed) {
      ++tally_.failed;
      if (job.attempts_without_progress < 3 && job.out_of_memory_without_progress < 2)
        fail(to_string(id) + " was given up against the rules: " + job.reason);
    }
    if (!job.has_ended()) continue;
    for (const auto& [node_id, node] : nodes_)
      for (const auto& [key, rank] : node.ranks)
        if (key.first.first == id && is_member(node_id))
          fail(to_string(id) + " has ended and its rank lives on " + to_string(node_id));
  }
}

// A job may wait only for machines that nobody can give, and then no place is empty beside a spare.
void World::check_waiting(const JobRecord& job) {
  ++tally_.waiting;
  const ClusterState& state = controller_.state();
  std::uint32_t free = 0, spares = 0, coming = 0;
  for (const auto& [id, node] : state.nodes) {
    if (node.state == NodeState::kProvisioning) ++coming;
    if (node.state != NodeState::kHealthy || node.job) continue;
    if (node.place == 0)
      ++spares;
    else
      ++free;
  }
  const bool exhausted =
      (state.spec.machines_max != 0 && state.nodes_made >= state.spec.machines_max) ||
      state.provisioning_failures >= kProvisioningFailuresMax;
  const bool says_so =
      job.reason.find("waits for " + std::to_string(job.spec.nodes_min - free)) == 0;
  if (job.state != JobState::kQueued || free >= job.spec.nodes_min || spares > 0 || coming > 0 ||
      !exhausted || !says_so)
    fail(job.spec.name + " does not go on: " + std::string(word_of(job.state)) + ", \"" +
         job.reason + "\"; " + std::to_string(free) + " free, " + std::to_string(spares) +
         " spares, " + std::to_string(coming) + " coming");
}

std::optional<std::string> World::run() {
  make_cluster();
  const std::uint32_t nodes = controller_.state().spec.nodes;
  const std::uint32_t second = nodes > 2 && prng_.chance(1, 2) ? 1 : 0;
  at(between(0, 4000), [this, nodes, second] { submit_job("first", nodes - second); });
  if (second != 0) at(between(0, 9000), [this, second] { submit_job("second", second); });
  plan_faults();
  tick();
  // Ten minutes of calm are enough for whatever is still to come; half a minute once all has ended.
  Instant end = calm_at_ + minutes(10);
  while (!failure_ && !queue_.empty() && queue_.begin()->first.first <= end) {
    const auto next = queue_.begin();
    now_ = next->first.first;
    const Action action = std::move(next->second);
    queue_.erase(next);
    action();
    if (now_ > calm_at_ && up_ && all_jobs_ended()) end = std::min(end, now_ + seconds(45));
  }
  tally_.time = now_ - Instant{};
  if (!failure_) check_end();
  return failure_;
}

namespace {

constexpr std::uint64_t kSeeds = 400;

std::optional<std::uint64_t> seed_to_repeat() {
  const char* text = std::getenv("HOLDFAST_WORLD_SEED");
  if (text == nullptr) return std::nullopt;
  return std::strtoull(text, nullptr, 10);
}

TEST(World, ConvergesUnderFaultsWhateverTheSeed) {
  const auto repeat = seed_to_repeat();
  const std::uint64_t first = repeat.value_or(1);
  const std::uint64_t last = repeat ? *repeat : kSeeds;
  World::Tally sum;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    World world(seed);
    if (const auto broken = world.run())
      ADD_FAILURE() << *broken << "\n  HOLDFAST_WORLD_SEED=" << seed
                    << " core_test --gtest_filter='World.*'";
    const World::Tally& one = world.tally();
    sum.events += one.events;
    sum.attempts += one.attempts;
    sum.incidents += one.incidents;
    sum.recovered += one.recovered;
    sum.crashes += one.crashes;
    sum.fenced += one.fenced;
    sum.succeeded += one.succeeded;
    sum.failed += one.failed;
    sum.stopped += one.stopped;
    sum.waiting += one.waiting;
    sum.breakers += one.breakers;
    sum.hangs += one.hangs;
    sum.time = sum.time + one.time;
  }
  std::printf(
      "%llu worlds, %.1f h: %llu events, %llu attempts, %llu incidents (%llu recovered), "
      "%llu hangs, %llu server crashes, %llu fences, %llu breakers; jobs: %llu succeeded, "
      "%llu failed, %llu stopped, %llu wait\n",
      static_cast<unsigned long long>(last - first + 1), sum.time.s() / 3600,
      static_cast<unsigned long long>(sum.events), static_cast<unsigned long long>(sum.attempts),
      static_cast<unsigned long long>(sum.incidents),
      static_cast<unsigned long long>(sum.recovered), static_cast<unsigned long long>(sum.hangs),
      static_cast<unsigned long long>(sum.crashes), static_cast<unsigned long long>(sum.fenced),
      static_cast<unsigned long long>(sum.breakers), static_cast<unsigned long long>(sum.succeeded),
      static_cast<unsigned long long>(sum.failed), static_cast<unsigned long long>(sum.stopped),
      static_cast<unsigned long long>(sum.waiting));
  if (repeat) return;
  // A world in which nothing happens proves nothing.
  EXPECT_GT(sum.recovered, kSeeds);
  EXPECT_GT(sum.crashes, kSeeds / 2);
  EXPECT_GT(sum.hangs, kSeeds / 10);
  EXPECT_GT(sum.succeeded, kSeeds / 2);
  EXPECT_GT(sum.failed, 0u);
  EXPECT_GT(sum.waiting, 0u);
  EXPECT_GT(sum.breakers, 0u);
}

}  // namespace
}  // namespace holdfast
