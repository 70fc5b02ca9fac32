#include "core/diagnose/rank_ends.h"

#include <algorithm>
#include <csignal>
#include <optional>

#include "core/diagnose/stacks.h"
#include "core/diagnose/verdict.h"

namespace holdfast {

bool is_failure(const RankEvidence& rank) {
  return rank.state == RankEvidence::State::kExited && !rank.exit.clean();
}

std::string name_of(const RankEvidence& rank) {
  return "rank " + std::to_string(rank.exit.rank) + " on " + to_string(rank.node);
}

bool is_own(const RankEvidence& rank) {
  if (!is_failure(rank)) return false;
  const RankExit& exit = rank.exit;
  if (exit.out_of_memory) return true;
  if (!exit.error_type.empty()) return !says_peer_gone(exit.error_message);
  if (exit.signal == SIGABRT || exit.signal == 0) return !says_peer_gone(exit.log_tail);
  return true;
}

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
// Clocks of nodes differ, and a dying rank takes its time.
constexpr std::int64_t kSameMoment = 5 * kSecond;

using State = RankEvidence::State;

bool was_killed(const RankEvidence& rank) {
  const std::int32_t signal = rank.exit.signal;
  return !rank.exit.out_of_memory && (signal == SIGTERM || signal == SIGKILL);
}

// The log's findings go where diagnose() looks for them.
void add_log(RankEvidence& rank) {
  RankExit& exit = rank.exit;
  exit.log_tail = rank.log.tail;
  if (!is_failure(rank)) return;
  exit.error_type = rank.log.error_type;
  exit.error_message = rank.log.error_message;
  exit.traceback = rank.log.traceback;
  if (says_out_of_memory(exit.error_message) || exit.error_type == "bad_alloc" ||
      exit.error_type.ends_with("MemoryError"))
    exit.error_type = "OutOfMemoryError";
  // An exception that only names the exit of a child or of a peer is not the signal's reason.
  if (exit.signal != 0 && exit.signal != SIGABRT) exit.error_type.clear();
}

// A kill that the kernel's own record explains.
void add_kernel_kills(IncidentEvidence& evidence) {
  for (const NodeFinding& finding : evidence.findings) {
    if (finding.fault.kind != "oom") continue;
    RankEvidence* victim = nullptr;
    for (RankEvidence& rank : evidence.ranks) {
      if (rank.node != finding.node || !is_failure(rank)) continue;
      // A shell or a loader's parent tells of a child, which has another number.
      const bool of_child =
          rank.exit.code == 128 + SIGKILL ||
          rank.exit.error_message.find("is killed by signal: Killed") != std::string::npos;
      if (rank.exit.signal != SIGKILL && !of_child) continue;
      if (rank.pid != 0 && rank.pid == finding.fault.pid) {
        victim = &rank;
        break;
      }
      if ((rank.pid == 0 || of_child) && victim == nullptr) victim = &rank;
    }
    if (victim == nullptr) continue;
    victim->exit.out_of_memory = true;
    victim->exit.memory_peak_bytes =
        std::max(victim->exit.memory_peak_bytes, finding.fault.used_bytes);
  }
}

// What a launcher says of who failed first is believed of ranks that say nothing else themselves;
// its own error, in the log of a rank, is none of the rank.
void believe_the_launcher(IncidentEvidence& evidence) {
  std::optional<FirstFailure> first;
  for (const RankEvidence& rank : evidence.ranks)
    if (!first) first = rank.log.first_failure;
  if (!first || first->rank >= evidence.ranks.size()) return;
  if (!is_failure(evidence.ranks[first->rank])) return;
  for (RankEvidence& rank : evidence.ranks) {
    if (!is_failure(rank) || rank.log.first_failure != first) continue;
    RankExit& exit = rank.exit;
    if (exit.error_type == "ChildFailedError") {
      exit.error_type.clear();
      exit.error_message.clear();
      exit.traceback.clear();
    }
    if (rank.exit.rank != first->rank) {
      if (exit.error_type.empty() && !exit.out_of_memory && exit.signal == 0) exit.asked = true;
    } else if (first->signal != 0 && exit.signal == 0) {
      exit.signal = first->signal;
    }
  }
}

// An attempt that was given up leaves ranks that were killed all at once: where stacks or flight
// records tell where they were, that is a hang.
void see_a_hang(IncidentEvidence& evidence) {
  std::optional<std::int64_t> first, last;
  bool told = false;
  std::size_t killed = 0;
  for (const RankEvidence& rank : evidence.ranks) {
    told = told || rank.stacks || !rank.collectives.empty();
    if (rank.state == State::kRunning) continue;
    if (rank.state == State::kLost || !was_killed(rank)) return;
    ++killed;
    if (!rank.ended_ns) continue;
    first = std::min(first.value_or(*rank.ended_ns), *rank.ended_ns);
    last = std::max(last.value_or(*rank.ended_ns), *rank.ended_ns);
  }
  const bool at_once = !first || *last - *first <= kSameMoment;
  if (!told || !at_once || 2 * killed <= evidence.ranks.size()) return;
  for (RankEvidence& rank : evidence.ranks) rank.state = State::kRunning;
}

// Where all but one of the running ranks wait for peers, the one without a stack did not answer.
void see_the_mute(IncidentEvidence& evidence) {
  RankEvidence* mute = nullptr;
  std::size_t waiting = 0;
  for (RankEvidence& rank : evidence.ranks) {
    if (rank.state != State::kRunning) continue;
    if (rank.stacks && !waits_for_peers(*rank.stacks)) return;
    if (rank.stacks)
      ++waiting;
    else if (mute != nullptr)
      return;
    else
      mute = &rank;
  }
  if (mute != nullptr && waiting > 1) mute->stacks = std::string();
}

// Of failures that say something, those that came later than the first are what it led to; so are
// kills from outside once a rank has failed by itself. Both count as asked for.
void set_followers_aside(IncidentEvidence& evidence) {
  std::optional<std::int64_t> first;
  bool by_itself = false;
  for (const RankEvidence& rank : evidence.ranks) {
    if (!is_own(rank) || rank.exit.asked) continue;
    by_itself = by_itself || !was_killed(rank);
    if (rank.ended_ns) first = std::min(first.value_or(*rank.ended_ns), *rank.ended_ns);
  }
  std::optional<std::int64_t> first_by_itself;
  for (const RankEvidence& rank : evidence.ranks)
    if (is_own(rank) && !rank.exit.asked && !was_killed(rank) && rank.ended_ns)
      first_by_itself = std::min(first_by_itself.value_or(*rank.ended_ns), *rank.ended_ns);
  for (RankEvidence& rank : evidence.ranks) {
    if (!is_own(rank)) continue;
    if (first && rank.ended_ns && *rank.ended_ns > *first + kSecond) rank.exit.asked = true;
    const bool came_first =
        rank.ended_ns && first_by_itself && *rank.ended_ns + kSecond / 2 < *first_by_itself;
    if (was_killed(rank) && by_itself && !came_first) rank.exit.asked = true;
  }
}

}  // namespace

void settle_ends(IncidentEvidence& evidence) {
  for (RankEvidence& rank : evidence.ranks) {
    add_log(rank);
    if (rank.stacks) rank.stacks = as_fault_dump(*rank.stacks);
  }
  believe_the_launcher(evidence);
  add_kernel_kills(evidence);
  see_a_hang(evidence);
  see_the_mute(evidence);
  set_followers_aside(evidence);
}

}  // namespace holdfast
