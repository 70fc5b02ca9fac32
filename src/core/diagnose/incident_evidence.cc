#include "core/diagnose/incident_evidence.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <map>
#include <set>
#include <string_view>

#include "core/diagnose/rank_ends.h"
#include "core/diagnose/stacks.h"
#include "core/diagnose/verdict.h"

namespace holdfast {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
// Clocks of nodes differ, and a dying rank takes its time.
constexpr std::int64_t kSameMoment = 5 * kSecond;
// A kernel log holds more than the attempt; what is further away is not its business.
constexpr std::int64_t kAround = 120 * kSecond;
constexpr std::uint32_t kAttemptsMax = 3;  // as core/jobs/recovery.cc
constexpr std::size_t kEvidenceMax = 40;

using State = RankEvidence::State;

AttemptRecord record_of(const IncidentEvidence& evidence) {
  AttemptRecord record{.number = Attempt{1},
                       .started = Instant{evidence.started_ns.value_or(0)},
                       .ranks_per_node = 1};
  std::vector<const RankEvidence*> ended;
  for (const RankEvidence& rank : evidence.ranks) {
    record.nodes.push_back(rank.node);
    record.step = std::max(record.step, rank.last_step.value_or(0));
    if (rank.state == State::kExited) ended.push_back(&rank);
    if (rank.state == State::kRunning) record.stalled.insert(rank.exit.rank);
    if (rank.state == State::kLost &&
        std::ranges::find(record.nodes_lost, rank.node) == record.nodes_lost.end())
      record.nodes_lost.push_back(rank.node);
    if (rank.state == State::kRunning && rank.stacks)
      record.stacks.push_back({.rank = rank.exit.rank,
                               .answered = !innermost_frame(*rank.stacks).empty(),
                               .process_state = "as found",
                               .text = *rank.stacks});
  }
  std::ranges::stable_sort(ended, {},
                           [](const RankEvidence* rank) { return rank->ended_ns.value_or(0); });
  for (const RankEvidence* rank : ended) record.exits.push_back(rank->exit);
  record.made_step = record.step > 0;
  return record;
}

// Ranks that are not where the others are, told by counters: the fewest, if they are a minority.
template <class Counter>
std::vector<std::uint32_t> behind(const IncidentEvidence& evidence, const Counter& counter) {
  std::map<std::uint64_t, std::vector<std::uint32_t>> by_count;
  for (const RankEvidence& rank : evidence.ranks)
    if (const std::optional<std::uint64_t> count = counter(rank))
      by_count[*count].push_back(rank.exit.rank);
  if (by_count.size() < 2) return {};
  const auto& fewest = by_count.begin()->second;
  return 2 * fewest.size() < evidence.ranks.size() ? fewest : std::vector<std::uint32_t>{};
}

// The ranks that began fewer collectives of a process group than its other members.
std::vector<std::uint32_t> behind_in_flight(const IncidentEvidence& evidence) {
  std::set<std::string> groups;
  for (const RankEvidence& rank : evidence.ranks)
    for (const auto& [group, last] : rank.collectives) groups.insert(group);
  for (const std::string& group : groups) {
    auto ranks = behind(evidence, [&](const RankEvidence& rank) {
      const auto found = rank.collectives.find(group);
      return found == rank.collectives.end() ? std::nullopt : std::optional(found->second.reached);
    });
    if (!ranks.empty()) return ranks;
  }
  // A process that is stopped writes no record.
  std::vector<std::uint32_t> mute;
  for (const RankEvidence& rank : evidence.ranks)
    if (rank.collectives.empty()) mute.push_back(rank.exit.rank);
  return mute.size() == 1 && evidence.ranks.size() > 2 ? mute : std::vector<std::uint32_t>{};
}

// The ranks that began another collective than the other members of a process group.
std::vector<std::uint32_t> unlike_in_flight(const IncidentEvidence& evidence) {
  std::map<std::string, std::map<std::string, std::vector<std::uint32_t>>> by_operation;
  for (const RankEvidence& rank : evidence.ranks)
    for (const auto& [group, last] : rank.collectives)
      by_operation[group][last.operation].push_back(rank.exit.rank);
  for (const auto& [group, operations] : by_operation) {
    if (operations.size() != 2) continue;
    const auto& one = operations.begin()->second;
    const auto& other = operations.rbegin()->second;
    if (one.size() != other.size()) return one.size() < other.size() ? one : other;
  }
  return {};
}

// The ranks whose process the kernel found stuck, if they are a minority.
std::vector<std::uint32_t> stuck_in_kernel(const IncidentEvidence& evidence) {
  std::vector<std::uint32_t> stuck;
  for (const RankEvidence& rank : evidence.ranks)
    if (std::ranges::any_of(evidence.findings, [&](const NodeFinding& finding) {
          return (finding.fault.kind == "hung_task" || finding.fault.kind == "soft_lockup") &&
                 finding.node == rank.node && rank.pid != 0 && finding.fault.pid == rank.pid;
        }))
      stuck.push_back(rank.exit.rank);
  return 2 * stuck.size() < evidence.ranks.size() ? stuck : std::vector<std::uint32_t>{};
}

// Whom the others wait for when no stack tells: the rank that began fewer collectives, by flight
// records; the one without a timeout of its own; the one that began another collective; the one
// that the kernel found stuck; the one whose watchdog saw fewer collectives; the one with fewer
// steps.
std::vector<std::uint32_t> silent_ranks(const IncidentEvidence& evidence) {
  std::vector<std::uint32_t> ranks = behind_in_flight(evidence);
  if (!ranks.empty()) return ranks;
  std::vector<std::uint32_t> silent;
  std::size_t timed_out = 0;
  for (const RankEvidence& rank : evidence.ranks) {
    if (rank.log.timed_out)
      ++timed_out;
    else
      silent.push_back(rank.exit.rank);
  }
  if (timed_out > silent.size() && !silent.empty()) return silent;
  ranks = unlike_in_flight(evidence);
  if (ranks.empty()) ranks = stuck_in_kernel(evidence);
  if (ranks.empty())
    ranks = behind(evidence, [](const RankEvidence& rank) { return rank.log.last_enqueued; });
  if (ranks.empty())
    ranks = behind(evidence, [](const RankEvidence& rank) { return rank.last_step; });
  return ranks;
}

void add_node(Verdict& verdict, NodeId node) {
  if (std::ranges::find(verdict.nodes, node) == verdict.nodes.end()) verdict.nodes.push_back(node);
}

void add_rank(Verdict& verdict, const RankEvidence& rank) {
  if (std::ranges::find(verdict.ranks, rank.exit.rank) == verdict.ranks.end())
    verdict.ranks.push_back(rank.exit.rank);
  add_node(verdict, rank.node);
}

std::string fault_text(const NodeFinding& finding) {
  const Fault& fault = finding.fault;
  return to_string(finding.node) + ": " + fault.kind +
         (fault.code != 0 ? " " + std::to_string(fault.code) : "") +
         (fault.device.empty() ? "" : " on " + fault.device) + ": " + fault.line;
}

void add_finding(Verdict& verdict, const NodeFinding& finding) {
  verdict.evidence.push_back({fault_text(finding), finding.node, std::nullopt,
                              Instant{finding.at_ns.value_or(0)}, finding.fault.cause});
}

// How a rank ended, in one line.
void add_end(Verdict& verdict, const RankEvidence& rank) {
  std::string text = name_of(rank);
  if (rank.exit.signal != 0) {
    text += " was ended by signal " + std::to_string(rank.exit.signal);
  } else if (rank.state == State::kExited) {
    text += " exited with status " + std::to_string(rank.exit.code);
  } else {
    text += " was running";
  }
  if (!rank.log.error_type.empty())
    text += ": " + rank.log.error_type + ": " + rank.log.error_message.substr(0, 300);
  verdict.evidence.push_back(
      {std::move(text), rank.node, rank.exit.rank, Instant{rank.ended_ns.value_or(0)}});
}

// When the first rank failed by itself, where that is known.
std::optional<std::int64_t> first_failure(const IncidentEvidence& evidence) {
  std::optional<std::int64_t> first;
  for (const RankEvidence& rank : evidence.ranks)
    if (is_own(rank) && rank.ended_ns)
      first = std::min(first.value_or(*rank.ended_ns), *rank.ended_ns);
  return first;
}

bool comes_before(const NodeFinding& a, const NodeFinding& b) {
  if (a.at_ns && b.at_ns) return *a.at_ns < *b.at_ns;
  return false;
}

// The cure of all that befell one node: the driver's own word (Xid 154) counts more than the codes
// that led to it.
Action cure_of(const IncidentEvidence& evidence, const NodeFinding& first) {
  Action cure = first.fault.action;
  for (const NodeFinding& finding : evidence.findings) {
    if (finding.node != first.node || !condemns_node(finding.fault)) continue;
    if (finding.fault.kind == "xid" && finding.fault.code == 154) return finding.fault.action;
    cure = std::max(cure, finding.fault.action);
  }
  return cure;
}

std::optional<Verdict> broken_machine(const IncidentEvidence& evidence) {
  const NodeFinding* first = nullptr;
  for (const NodeFinding& finding : evidence.findings)
    if (condemns_node(finding.fault) && (first == nullptr || comes_before(finding, *first)))
      first = &finding;
  if (first == nullptr) return std::nullopt;
  const auto failure = first_failure(evidence);
  if (failure && first->at_ns && *first->at_ns > *failure + kSameMoment) return std::nullopt;

  Verdict verdict{.cause = first->fault.cause,
                  .action = cure_of(evidence, *first),
                  .confidence = Confidence::kHigh};
  // Xid 154 only sums up: the cause is what it sums up, where the log has that.
  add_node(verdict, first->node);
  for (const NodeFinding& finding : evidence.findings) {
    // A link's far end complains too; any other fault of a second machine is its own.
    const bool own =
        condemns_node(finding.fault) && finding.fault.cause != CauseClass::kInterconnect;
    if (own) add_node(verdict, finding.node);
    if (finding.node == first->node || own) add_finding(verdict, finding);
  }
  std::size_t echoes = 0;
  for (const RankEvidence& rank : evidence.ranks) {
    const bool here = std::ranges::find(verdict.nodes, rank.node) != verdict.nodes.end();
    const bool named = rank.pid != 0 && rank.pid == first->fault.pid && rank.node == first->node;
    if ((here && is_own(rank)) || named) {
      add_rank(verdict, rank);
      add_end(verdict, rank);
    } else if (is_failure(rank)) {
      ++echoes;
    }
  }
  if (verdict.ranks.empty())
    for (const RankEvidence& rank : evidence.ranks)
      if (rank.node == first->node && (is_failure(rank) || rank.state == State::kLost))
        add_rank(verdict, rank);
  verdict.summary = fault_text(*first);
  if (echoes > 0) verdict.summary += "; " + std::to_string(echoes) + " ranks ended in consequence";
  return verdict;
}

// An error of CUDA that no program can cause, without a line in a kernel log.
std::optional<Verdict> broken_device(const IncidentEvidence& evidence) {
  for (const RankEvidence& rank : evidence.ranks) {
    if (!is_own(rank) || rank.exit.asked) continue;
    const DeviceTrouble trouble =
        device_trouble(rank.log.error_message.empty() ? rank.log.tail : rank.log.error_message);
    if (trouble != DeviceTrouble::kHardware && trouble != DeviceTrouble::kUnavailable) continue;
    const bool hardware = trouble == DeviceTrouble::kHardware;
    Verdict verdict{.cause = CauseClass::kAccelerator,
                    .action = hardware ? Action::kResetDevice : Action::kRestartOnOtherNodes,
                    .confidence = Confidence::kMedium};
    add_rank(verdict, rank);
    add_end(verdict, rank);
    verdict.summary = name_of(rank) + " reports its accelerator: " + rank.log.error_message;
    return verdict;
  }
  return std::nullopt;
}

std::optional<Verdict> failed_storage(const IncidentEvidence& evidence) {
  for (const RankEvidence& rank : evidence.ranks) {
    if (!is_own(rank) || rank.exit.asked || !says_storage_failed(rank.exit.error_message)) continue;
    const bool full = rank.exit.error_message.find("No space") != std::string::npos ||
                      rank.exit.error_message.find("quota") != std::string::npos;
    Verdict verdict{.cause = CauseClass::kStorage,
                    .action = full ? Action::kAskOperator : Action::kRestartRanks,
                    .confidence = Confidence::kMedium};
    add_rank(verdict, rank);
    add_end(verdict, rank);
    verdict.summary = name_of(rank) + ": " + rank.exit.error_message;
    return verdict;
  }
  return std::nullopt;
}

bool names_nan(std::string_view text) {
  constexpr auto kWords = std::to_array<std::string_view>(
      {"nan", "NaN", "non-finite", "not finite", "nonfinite", "infinite", "isfinite"});
  return std::ranges::any_of(
      kWords, [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

// The loss went bad. Where one rank's did before the others', that rank is named.
std::optional<Verdict> bad_loss(const IncidentEvidence& evidence) {
  std::optional<std::uint64_t> first_step;
  std::size_t bad = 0;
  for (const RankEvidence& rank : evidence.ranks) {
    if (rank.log.nan_line.empty()) {
      if (is_own(rank) && !rank.exit.asked && !names_nan(rank.exit.error_message))
        return std::nullopt;
      continue;
    }
    if (is_own(rank) && !rank.exit.asked &&
        (rank.exit.out_of_memory || rank.exit.signal != 0 ||
         !names_nan(rank.exit.error_type + rank.exit.error_message + rank.exit.traceback)) &&
        !rank.exit.error_type.empty())
      return std::nullopt;
    ++bad;
    if (rank.log.nan_step)
      first_step = std::min(first_step.value_or(*rank.log.nan_step), *rank.log.nan_step);
  }
  if (bad == 0) return std::nullopt;
  Verdict verdict{.cause = CauseClass::kApplication,
                  .action = Action::kRestartRanks,
                  .confidence = Confidence::kMedium};
  std::vector<const RankEvidence*> first;
  for (const RankEvidence& rank : evidence.ranks)
    if (!rank.log.nan_line.empty() && (!first_step || rank.log.nan_step == first_step))
      first.push_back(&rank);
  for (const RankEvidence* rank : first) {
    add_rank(verdict, *rank);
    verdict.evidence.push_back({name_of(*rank) + " wrote: " + rank->log.nan_line, rank->node,
                                rank->exit.rank, Instant{rank->ended_ns.value_or(0)}});
  }
  verdict.summary = "the loss is no number any more" +
                    (first_step ? " since step " + std::to_string(*first_step) : std::string()) +
                    ", first on " + name_of(*first.front());
  const auto writers = std::ranges::count_if(
      evidence.ranks, [](const RankEvidence& rank) { return rank.log.writes_loss; });
  if (first.size() < static_cast<std::size_t>(writers)) {
    verdict.cause = CauseClass::kUnknown;
    verdict.confidence = Confidence::kLow;
    verdict.summary += " while others were well: data, or silent corruption on that node";
  } else {
    verdict.summary += "; a retry from the last commit first, then look at data and step size";
  }
  return verdict;
}

// Nothing but echoes and waiting: whoever is missing from them is the one they wait for.
void name_the_silent(const IncidentEvidence& evidence, Verdict& verdict) {
  const bool any = std::ranges::any_of(evidence.ranks,
                                       [](const RankEvidence& rank) { return rank.log.timed_out; });
  const bool running = std::ranges::any_of(evidence.ranks, [](const RankEvidence& rank) {
    return rank.state == State::kRunning || !rank.collectives.empty();
  });
  if (!any && !running) return;
  const std::vector<std::uint32_t> ranks = silent_ranks(evidence);
  if (ranks.empty()) return;
  verdict.ranks.clear();
  verdict.nodes.clear();
  verdict.cause = CauseClass::kUnknown;
  verdict.confidence = Confidence::kMedium;
  verdict.summary = "no progress; the others wait for";
  for (const std::uint32_t rank : ranks) {
    add_rank(verdict, evidence.ranks[rank]);
    add_end(verdict, evidence.ranks[rank]);
    verdict.summary += " " + name_of(evidence.ranks[rank]);
  }
}

// A device's or a disk's milder findings that stand beside an end which explains nothing itself.
void add_minor_findings(const IncidentEvidence& evidence, bool unexplained, Verdict& verdict) {
  for (const NodeFinding& finding : evidence.findings) {
    if (condemns_node(finding.fault)) continue;
    const bool here = std::ranges::find(verdict.nodes, finding.node) != verdict.nodes.end();
    const bool notable = finding.fault.cause == CauseClass::kStorage ||
                         finding.fault.action >= Action::kRestartRanks;
    if (!here && !(unexplained && notable)) continue;
    if (verdict.evidence.size() < kEvidenceMax) add_finding(verdict, finding);
    if (!unexplained || !notable || verdict.cause != CauseClass::kUnknown) continue;
    verdict.cause = finding.fault.cause;
    add_node(verdict, finding.node);
    verdict.summary += "; " + fault_text(finding);
    if (finding.fault.action == Action::kAskOperator) verdict.action = Action::kAskOperator;
  }
}

// A rank that the kernel ended because its memory was damaged.
void blame_poisoned_memory(const IncidentEvidence& evidence, Verdict& verdict) {
  for (const NodeFinding& finding : evidence.findings) {
    if (finding.fault.kind != "mce" || finding.fault.pid == 0) continue;
    for (const std::uint32_t number : verdict.ranks) {
      const RankEvidence& rank = evidence.ranks[number];
      if (rank.node != finding.node || rank.exit.signal != SIGBUS) continue;
      if (rank.pid != 0 && rank.pid != finding.fault.pid) continue;
      verdict.cause = finding.fault.cause;
      verdict.confidence = Confidence::kHigh;
      verdict.summary += "; " + fault_text(finding);
    }
  }
}

// A loss that had jumped stands beside an end that explains nothing itself: it is the program's.
void add_spikes(const IncidentEvidence& evidence, bool unexplained, Verdict& verdict) {
  bool told = false;
  for (const RankEvidence& rank : evidence.ranks) {
    if (rank.log.spike_line.empty()) continue;
    if (verdict.evidence.size() < kEvidenceMax)
      verdict.evidence.push_back({name_of(rank) + " wrote: " + rank.log.spike_line, rank.node,
                                  rank.exit.rank, Instant{rank.ended_ns.value_or(0)}});
    if (!told) verdict.summary += "; the loss had jumped: " + rank.log.spike_line;
    told = true;
  }
  const bool in_doubt =
      verdict.cause == CauseClass::kUnknown || verdict.cause == CauseClass::kInterconnect;
  if (told && unexplained && in_doubt && verdict.confidence == Confidence::kLow)
    verdict.cause = CauseClass::kApplication;
}

// Echoes alone, and the network of one node and no other tells of trouble: the link is there.
void blame_the_link(const IncidentEvidence& evidence, Verdict& verdict) {
  if (verdict.cause != CauseClass::kInterconnect) return;
  const NodeFinding* first = nullptr;
  for (const NodeFinding& finding : evidence.findings) {
    if (finding.fault.cause != CauseClass::kInterconnect || finding.fault.kind == "aer") continue;
    if (first != nullptr && finding.node != first->node) return;
    if (first == nullptr) first = &finding;
  }
  if (first == nullptr) return;
  verdict.ranks.clear();
  verdict.nodes.clear();
  verdict.evidence.clear();
  add_node(verdict, first->node);
  for (const RankEvidence& rank : evidence.ranks)
    if (rank.node == first->node) {
      add_rank(verdict, rank);
      add_end(verdict, rank);
    }
  verdict.summary = fault_text(*first) + "; no rank shows a cause of its own";
}

// What a second start would only repeat.
void stop_what_repeats(const IncidentEvidence& evidence, Verdict& verdict) {
  if (verdict.cause != CauseClass::kApplication || verdict.action != Action::kRestartRanks) return;
  if (evidence.attempts_without_progress + 1 >= kAttemptsMax) {
    verdict.action = Action::kStopJob;
    verdict.summary += "; it did the same in " +
                       std::to_string(evidence.attempts_without_progress + 1) +
                       " attempts without progress";
    return;
  }
  constexpr auto kInTheCode = std::to_array<std::string_view>(
      {"SyntaxError", "IndentationError", "TabError", "ModuleNotFoundError"});
  const bool all = std::ranges::all_of(evidence.ranks, [&](const RankEvidence& rank) {
    return is_failure(rank) && rank.last_step.value_or(0) == 0 &&
           std::ranges::find(kInTheCode, rank.log.error_type) != kInTheCode.end();
  });
  if (!all) return;
  verdict.action = Action::kStopJob;
  verdict.summary += "; no rank can run this code, so a retry would not help";
}

Verdict of_processes(const IncidentEvidence& evidence) {
  if (auto verdict = broken_device(evidence)) return *verdict;
  if (auto verdict = failed_storage(evidence)) return *verdict;
  if (auto verdict = bad_loss(evidence)) return *verdict;
  Verdict verdict = diagnose(record_of(evidence));
  const bool explained = std::ranges::any_of(
      evidence.ranks, [](const RankEvidence& rank) { return is_own(rank) && !rank.exit.asked; });
  const bool lost = std::ranges::any_of(
      evidence.ranks, [](const RankEvidence& rank) { return rank.state == State::kLost; });
  if (lost) {
    for (const RankEvidence& rank : evidence.ranks)
      if (rank.state == State::kLost) add_rank(verdict, rank);
    return verdict;
  }
  const bool by_stacks = verdict.summary.find("not where the others are") != std::string::npos;
  if (!explained && !by_stacks) name_the_silent(evidence, verdict);
  for (const RankEvidence& rank : evidence.ranks)
    if (is_own(rank) && !rank.exit.asked &&
        device_trouble(rank.exit.error_message) == DeviceTrouble::kProgram)
      verdict.confidence = std::min(verdict.confidence, Confidence::kMedium);
  blame_poisoned_memory(evidence, verdict);
  if (!explained) blame_the_link(evidence, verdict);
  add_minor_findings(evidence, !explained, verdict);
  add_spikes(evidence, !explained, verdict);
  stop_what_repeats(evidence, verdict);
  return verdict;
}

// The window of the attempt; a finding without a wall-clock time is taken as inside.
void drop_far_findings(IncidentEvidence& evidence) {
  std::optional<std::int64_t> last;
  for (const RankEvidence& rank : evidence.ranks) {
    if (!rank.ended_ns) continue;
    last = std::max(last.value_or(*rank.ended_ns), *rank.ended_ns);
  }
  std::erase_if(evidence.findings, [&](const NodeFinding& finding) {
    if (!finding.at_ns) return false;
    return (evidence.started_ns && *finding.at_ns < *evidence.started_ns - kAround) ||
           (last && *finding.at_ns > *last + kAround);
  });
}

}  // namespace

Verdict judge(const IncidentEvidence& given) {
  IncidentEvidence evidence = given;
  if (evidence.ranks.empty() && evidence.findings.empty())
    return {.cause = CauseClass::kUnknown, .summary = "no rank and no finding of a node"};
  drop_far_findings(evidence);
  settle_ends(evidence);
  auto machine = broken_machine(evidence);
  Verdict verdict = machine ? *std::move(machine) : of_processes(evidence);
  for (Evidence& one : verdict.evidence)
    if (one.rank && *one.rank < evidence.ranks.size())
      one.at = Instant{evidence.ranks[*one.rank].ended_ns.value_or(0)};
  std::ranges::stable_sort(verdict.evidence, {}, &Evidence::at);
  if (verdict.evidence.size() > kEvidenceMax) verdict.evidence.resize(kEvidenceMax);
  std::ranges::sort(verdict.ranks);
  return verdict;
}

}  // namespace holdfast
