#include "core/diagnose/verdict.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <map>
#include <set>
#include <string_view>

#include "core/diagnose/rank_log.h"
#include "core/diagnose/stacks.h"

namespace holdfast {
namespace {

// What the collective libraries say when a peer is gone. Their own messages: Gloo's transport,
// PyTorch's store and process groups, NCCL, MPI.
constexpr auto kEchoes = std::to_array<std::string_view>({
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Connection refused",
    "Socket Timeout",
    "socket timeout",
    "Timed out waiting",
    "Timed out after",
    "remote process exited",
    "NCCL communicator was aborted",
    "ncclRemoteError",
    "Application timeout caused pair closure",
    "recvValue failed",
    "Watchdog caught collective operation timeout",
    "detected by watchdog at work",
    "before timing out",
    "Some NCCL operations have failed or timed out",
    "communicator encountered error set by",
    "ncclSystemError",
    "ncclInternalError",
    "failed to recv, got 0",
    "wait timeout after",
    "monitoredBarrier",
    "Network is unreachable",
    "No route to host",
    "MPI_ERR_PROC_FAILED",
    "MPI_ERR_REVOKED",
    "lost communication with a remote daemon",
    "Connection was likely closed",
    "Software caused connection abort",
    "client socket has timed out",
    "client socket has failed to connect",
    "connection to the C10d store has failed",
    "unhandled system error",
    "stopped sending heartbeats",
    "heartbeat timeout",
    "Transport retry count exceeded",
    "Gloo connectFullMesh failed",
});

constexpr std::size_t kStacksShown = 16;
constexpr std::size_t kRanksNamed = 8;

constexpr auto kMemoryErrors = std::to_array<std::string_view>(
    {"MemoryError", "_ArrayMemoryError", "OutOfMemoryError", "torch.cuda.OutOfMemoryError"});

constexpr std::size_t kLineMax = 200;

bool raised_memory_error(const RankExit& exit) {
  return std::find(kMemoryErrors.begin(), kMemoryErrors.end(), exit.error_type) !=
             kMemoryErrors.end() ||
         (!exit.error_type.empty() && says_out_of_memory(exit.error_message));
}

std::string signal_name(std::int32_t signal) {
  const char* name = ::sigabbrev_np(signal);
  return name == nullptr ? "signal " + std::to_string(signal) : "SIG" + std::string(name);
}

// 0: by itself. A shell tells the death of what it waited for as 128 + the signal.
std::int32_t signal_of(const RankExit& exit) {
  if (exit.signal != 0 || !exit.error_type.empty()) return exit.signal;
  return exit.code > 128 && exit.code <= 128 + SIGSYS ? exit.code - 128 : 0;
}

NodeId node_of(const AttemptRecord& attempt, std::uint32_t rank) {
  if (attempt.nodes.empty() || attempt.ranks_per_node == 0) return {};
  const std::size_t index = rank / attempt.ranks_per_node;
  return index < attempt.nodes.size() ? attempt.nodes[index] : NodeId{};
}

std::string gib(std::uint64_t bytes) {
  const std::uint64_t mib = bytes >> 20;
  return std::to_string(mib) + " MiB";
}

// Sentence and evidence line for one rank's end.
std::string describe(const AttemptRecord& attempt, const RankExit& exit) {
  std::string text =
      "rank " + std::to_string(exit.rank) + " on " + to_string(node_of(attempt, exit.rank));
  if (exit.signal != 0) return text + " was ended by " + signal_name(exit.signal);
  if (const std::int32_t signal = signal_of(exit); signal != 0)
    return text + " exited with status " + std::to_string(exit.code) +
           ": a process that it waited for was ended by " + signal_name(signal);
  if (!exit.error_type.empty()) {
    text += " raised " + exit.error_type;
    if (!exit.error_message.empty()) text += ": " + exit.error_message.substr(0, 400);
    return text;
  }
  return text + " exited with status " + std::to_string(exit.code);
}

void add_exit(const AttemptRecord& attempt, const RankExit& exit, Verdict& verdict) {
  const NodeId node = node_of(attempt, exit.rank);
  verdict.ranks.push_back(exit.rank);
  if (std::find(verdict.nodes.begin(), verdict.nodes.end(), node) == verdict.nodes.end())
    verdict.nodes.push_back(node);
  verdict.evidence.push_back({describe(attempt, exit), node, exit.rank, {}});
  const std::string& proof = exit.traceback.empty() ? exit.log_tail : exit.traceback;
  if (!proof.empty()) verdict.evidence.push_back({proof, node, exit.rank, {}});
}

// The last one that says something: summaries end in rulers.
std::string_view last_line(std::string_view text) {
  text = text.substr(0, text.find_last_not_of(" \r\n-=*_") + 1);  // npos + 1 is 0
  text.remove_prefix(text.rfind('\n') + 1);
  return text.substr(0, kLineMax);
}

Verdict nodes_gone(const AttemptRecord& attempt) {
  Verdict verdict{
      .cause = CauseClass::kHost, .action = Action::kReplaceNode, .confidence = Confidence::kHigh};
  // The first one: what followed it may be its echo.
  if (!attempt.node_faults.empty() && attempt.node_faults.front().cause != CauseClass::kUnknown)
    verdict.cause = attempt.node_faults.front().cause;
  for (const Evidence& fault : attempt.node_faults) {
    verdict.evidence.push_back(fault);
    if (std::find(verdict.nodes.begin(), verdict.nodes.end(), fault.node) == verdict.nodes.end())
      verdict.nodes.push_back(fault.node);
  }
  if (verdict.cause == CauseClass::kScheduling) verdict.action = Action::kRestartOnOtherNodes;
  verdict.summary =
      attempt.node_faults.empty() ? "a node was lost" : attempt.node_faults.front().what;
  return verdict;
}

Verdict out_of_memory(const AttemptRecord& attempt, const RankExit& exit) {
  Verdict verdict{.cause = CauseClass::kOutOfMemory,
                  .action = Action::kRestartRanks,
                  .confidence = Confidence::kHigh};
  add_exit(attempt, exit, verdict);
  verdict.summary = "rank " + std::to_string(exit.rank) + " on " +
                    to_string(node_of(attempt, exit.rank)) + " ran out of memory";
  if (exit.memory_peak_bytes != 0) verdict.summary += ": used " + gib(exit.memory_peak_bytes);
  if (exit.memory_limit_bytes != 0) verdict.summary += ", limit " + gib(exit.memory_limit_bytes);
  verdict.summary += "; give it more (memory_limit), a smaller batch or fewer ranks per node";
  return verdict;
}

Verdict ended_by_signal(const AttemptRecord& attempt, const RankExit& exit) {
  // SIGKILL comes from outside the program and says nothing of its cause; the others are most often
  // the program's own fault but a bad node gives them too. Either way the cheap action comes first.
  const std::int32_t signal = signal_of(exit);
  const bool from_outside = signal == SIGKILL || signal == SIGTERM;
  Verdict verdict{.cause = from_outside ? CauseClass::kUnknown : CauseClass::kApplication,
                  .action = Action::kRestartRanks,
                  .confidence = Confidence::kLow};
  add_exit(attempt, exit, verdict);
  verdict.summary = describe(attempt, exit);
  if (from_outside)
    verdict.summary += "; no out-of-memory record and no fault of the node explains it";
  return verdict;
}

Verdict raised(const AttemptRecord& attempt, const RankExit& first) {
  Verdict verdict{.cause = CauseClass::kApplication,
                  .action = Action::kRestartRanks,
                  .confidence = first.error_type.empty() ? Confidence::kMedium : Confidence::kHigh};
  verdict.summary = describe(attempt, first);
  if (first.error_type.empty())
    if (const std::string_view line = last_line(first.log_tail); !line.empty())
      verdict.summary += "; its last output: " + std::string(line);
  std::size_t same = 0;
  for (const RankExit& exit : attempt.exits)
    if (!exit.asked && !exit.clean() && exit.error_type == first.error_type && !is_echo(exit))
      ++same;
  if (same > 1) verdict.summary += " (and " + std::to_string(same - 1) + " more ranks alike)";
  if (first.error_type == "start_failed") verdict.confidence = Confidence::kHigh;
  add_exit(attempt, first, verdict);
  return verdict;
}

// Ranks that ended as if their work were done, while the others wait for them.
Verdict left_early(const AttemptRecord& attempt, const std::string& others) {
  Verdict verdict{.cause = CauseClass::kApplication,
                  .action = Action::kRestartRanks,
                  .confidence = Confidence::kMedium};
  for (const RankExit& exit : attempt.exits) {
    if (!exit.clean()) continue;
    if (verdict.ranks.empty()) verdict.summary = describe(attempt, exit);
    add_exit(attempt, exit, verdict);
  }
  if (verdict.ranks.size() > 1)
    verdict.summary += " (and " + std::to_string(verdict.ranks.size() - 1) + " more ranks alike)";
  verdict.summary += " while others still needed it: " + others;
  return verdict;
}

bool some_ended_well(const AttemptRecord& attempt) {
  return std::any_of(attempt.exits.begin(), attempt.exits.end(),
                     [](const RankExit& exit) { return exit.clean(); });
}

// Of thousands of stacks those that differ, and some to compare them with.
void add_stacks(const AttemptRecord& attempt, const std::set<std::uint32_t>& odd,
                Verdict& verdict) {
  std::size_t shown = 0;
  for (const bool is_odd : {true, false})
    for (const auto& stacks : attempt.stacks) {
      if (odd.contains(stacks.rank) != is_odd || ++shown > kStacksShown) continue;
      std::string text = "rank " + std::to_string(stacks.rank) + " (" + stacks.process_state +
                         ") " + (stacks.answered ? "is at:\n" : "did not answer the stack dump:\n");
      verdict.evidence.push_back(
          {text + stacks.text, node_of(attempt, stacks.rank), stacks.rank, {}});
    }
}

// Where a rank of a hang is, when it can tell: ` (File "train.py", line 3 in step)`.
std::string place_of(const AttemptRecord& attempt, std::uint32_t rank) {
  for (const auto& stacks : attempt.stacks) {
    if (stacks.rank != rank) continue;
    std::string_view frame = innermost_frame(stacks.text).substr(0, kLineMax);
    frame.remove_prefix(std::min(frame.find_first_not_of(' '), frame.size()));
    if (!frame.empty()) return " (" + std::string(frame) + ")";
    if (!stacks.answered) return " (" + stacks.process_state + ")";
  }
  return {};
}

Verdict hang(const AttemptRecord& attempt) {
  const bool all_wait =
      std::all_of(attempt.stacks.begin(), attempt.stacks.end(),
                  [](const auto& one) { return one.answered && waits_for_peers(one.text); });
  if (all_wait && !attempt.stacks.empty() && some_ended_well(attempt)) {
    Verdict verdict = left_early(attempt, "they wait for it");
    add_stacks(attempt, {}, verdict);
    return verdict;
  }
  Verdict verdict{.cause = CauseClass::kUnknown,
                  .action = Action::kRestartRanks,
                  .confidence = Confidence::kLow};
  verdict.ranks = odd_ranks(attempt.stacks);
  const std::set<std::uint32_t> odd(verdict.ranks.begin(), verdict.ranks.end());
  for (const std::uint32_t rank : odd) {
    const NodeId node = node_of(attempt, rank);
    if (verdict.nodes.empty() || verdict.nodes.back() != node) verdict.nodes.push_back(node);
  }
  add_stacks(attempt, odd, verdict);
  verdict.summary = "no progress";
  if (verdict.ranks.empty()) {
    verdict.summary += attempt.stacks.empty() ? "; no rank's stack could be read"
                                              : "; no rank's stack differs from the others'";
    return verdict;
  }
  verdict.confidence = Confidence::kMedium;
  verdict.summary += ";";
  std::size_t named = 0;
  for (const std::uint32_t rank : verdict.ranks)
    if (++named <= kRanksNamed)
      verdict.summary += " rank " + std::to_string(rank) + " on " +
                         to_string(node_of(attempt, rank)) + place_of(attempt, rank);
  if (named > kRanksNamed)
    verdict.summary += " and " + std::to_string(named - kRanksNamed) + " more";
  verdict.summary +=
      verdict.ranks.size() == 1 ? " is not where the others are" : " are not where the others are";
  return verdict;
}

}  // namespace

bool is_echo(const RankExit& exit) {
  const auto mentions = [&](const std::string& text) {
    return std::any_of(kEchoes.begin(), kEchoes.end(),
                       [&](std::string_view echo) { return text.find(echo) != std::string::npos; });
  };
  if (exit.signal != 0) {
    // A C++ exception out of a collective ends in abort(); the reason is the last thing it printed.
    return exit.signal == SIGABRT && mentions(exit.log_tail);
  }
  if (!exit.error_type.empty()) return mentions(exit.error_message);
  return mentions(exit.log_tail);
}

bool condemns_node(const Fault& fault) {
  return fault.action >= Action::kResetDevice && fault.action <= Action::kReplaceNode;
}

namespace {

Verdict first_cause(const AttemptRecord& attempt) {
  if (!attempt.nodes_lost.empty() || !attempt.node_faults.empty()) return nodes_gone(attempt);

  const RankExit* by_memory = nullptr;
  const RankExit* by_signal = nullptr;
  const RankExit* by_itself = nullptr;
  const RankExit* echo = nullptr;
  const auto keep_first = [](const RankExit*& slot, const RankExit& exit) {
    if (slot == nullptr) slot = &exit;
  };
  for (const RankExit& exit : attempt.exits) {
    if (exit.clean()) continue;
    // Memory is recorded by the kernel, so it counts even for a rank that we were about to kill.
    if (exit.out_of_memory || raised_memory_error(exit))
      keep_first(by_memory, exit);
    else if (exit.asked)
      continue;
    else if (is_echo(exit))
      keep_first(echo, exit);
    else if (signal_of(exit) != 0)
      keep_first(by_signal, exit);
    else
      keep_first(by_itself, exit);
  }
  if (by_memory != nullptr) return out_of_memory(attempt, *by_memory);
  if (by_signal != nullptr) return ended_by_signal(attempt, *by_signal);
  if (by_itself != nullptr) return raised(attempt, *by_itself);
  if (!attempt.stalled.empty()) return hang(attempt);
  if (!attempt.planned.empty())
    return {.cause = CauseClass::kScheduling,
            .action = Action::kRestartRanks,
            .confidence = Confidence::kHigh,
            .summary = attempt.planned};
  if (echo != nullptr && some_ended_well(attempt))
    return left_early(attempt, describe(attempt, *echo));
  Verdict verdict{.cause = CauseClass::kUnknown,
                  .action = Action::kRestartRanks,
                  .confidence = Confidence::kLow};
  verdict.summary = "the ranks ended and nothing tells why";
  if (echo != nullptr) {
    verdict.cause = CauseClass::kInterconnect;
    verdict.summary = describe(attempt, *echo) + "; no rank shows a cause of its own";
    add_exit(attempt, *echo, verdict);
  }
  return verdict;
}

}  // namespace

Verdict diagnose(const AttemptRecord& attempt, Instant over) {
  Verdict verdict = first_cause(attempt);
  for (Evidence& evidence : verdict.evidence)
    if (evidence.at == Instant{}) evidence.at = over;
  return verdict;
}

std::vector<std::uint32_t> odd_ranks(const std::vector<agent_message::StacksCollected>& stacks) {
  std::vector<std::uint32_t> silent, elsewhere;
  for (const auto& one : stacks)
    if (!one.answered) silent.push_back(one.rank);
  if (!silent.empty() && silent.size() < stacks.size()) return silent;

  for (const auto& one : stacks)
    if (!waits_for_peers(one.text)) elsewhere.push_back(one.rank);
  if (!elsewhere.empty() && elsewhere.size() < stacks.size()) return elsewhere;

  // All wait, or none does: the minority by innermost frame, if there is a clear majority.
  std::vector<std::string_view> places;
  std::map<std::string_view, std::size_t> counts;
  for (const auto& one : stacks) {
    places.push_back(innermost_frame(one.text));
    ++counts[places.back()];
  }
  for (const auto& [place, same] : counts) {
    if (place.empty() || 2 * same <= places.size()) continue;
    std::vector<std::uint32_t> odd;
    for (std::size_t i = 0; i < places.size(); ++i)
      if (places[i] != place) odd.push_back(stacks[i].rank);
    return odd;
  }
  return {};
}

}  // namespace holdfast
