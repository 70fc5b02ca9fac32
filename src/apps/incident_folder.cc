#include "apps/incident_folder.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <memory>
#include <set>

#include <nlohmann/json.hpp>

#include "api/journal_line.h"
#include "core/diagnose/flight_record.h"
#include "core/diagnose/kernel_log.h"
#include "core/health/health_rules.h"
#include "io/files.h"
#include "io/utf8.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::size_t kRanksMax = 64 << 20;
constexpr std::size_t kLogMax = 256 << 20;
constexpr std::size_t kRankCountMax = 1 << 20;
// The core speaks of nodes by id; ids of this size appear in no log, so that the names can be put
// back into its sentences.
constexpr std::uint32_t kFirstNode = 1'000'000'000;

Error bad_field(const std::string& where, const json& value, const std::string& remedy) {
  return {Errc::kInvalidField, "ranks.json: " + where + ": " +
                                   value.dump(-1, ' ', false, json::error_handler_t::replace) +
                                   " is not allowed; " + remedy};
}

// The first of several spellings that is there and not null.
const json* field(const json& object, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const auto found = object.find(name); found != object.end() && !found->is_null())
      return &*found;
  return nullptr;
}

Result<std::optional<std::int64_t>> time_of(const json* value, const std::string& where) {
  if (value == nullptr) return std::optional<std::int64_t>();
  constexpr double kMostSeconds = 4e9;
  if (value->is_number()) {
    const double seconds = value->get<double>();
    if (std::isfinite(seconds) && seconds >= 0 && seconds < kMostSeconds)
      return std::optional(static_cast<std::int64_t>(seconds * 1e9));
  } else if (value->is_string()) {
    if (const auto parsed = kernel_time(value->get<std::string>(), 0).unix_ns) return parsed;
  }
  return bad_field(where, *value, "give seconds since 1970, or a time as 2026-11-24T04:06:19Z");
}

Result<std::int64_t> whole_of(const json& value, const std::string& where, std::int64_t most) {
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0 ||
      value.get<std::int64_t>() > most)
    return bad_field(where, value, "give a whole number from 0 to " + std::to_string(most));
  return value.get<std::int64_t>();
}

// 9, "9", "SIGKILL" or "KILL"
Result<std::int32_t> signal_of(const json& value, const std::string& where) {
  constexpr int kSignals = 65;
  if (value.is_number_integer()) {
    const auto number = value.get<std::int64_t>();
    if (number > -kSignals && number < kSignals) return static_cast<std::int32_t>(std::abs(number));
  } else if (value.is_string()) {
    std::string name = value.get<std::string>();
    if (name.starts_with("SIG")) name.erase(0, 3);
    for (int number = 1; number < kSignals; ++number) {
      const char* known = ::sigabbrev_np(number);
      if ((known != nullptr && name == known) || name == std::to_string(number)) return number;
    }
  }
  return bad_field(where, value, "give a signal's number or its name, such as SIGKILL");
}

// A finding of a probe, as the control plane tells it: "KIND[ on DEVICE][; why this rung]:
// EVIDENCE".
std::optional<Fault> read_finding(std::string_view line) {
  const auto end = line.find_first_of(" :;");
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view kind = line.substr(0, end);
  if (health_rule(kind) == nullptr) return std::nullopt;
  std::string device;
  constexpr std::string_view kOn = " on ";
  if (line.substr(end).starts_with(kOn)) {
    const std::string_view rest = line.substr(end + kOn.size());
    device = rest.substr(0, std::min(rest.find("; "), rest.find(": ")));
  }
  Fault fault = fault_of(kind, std::move(device), std::string(line));
  // The driver's own action is in the evidence: "GPU recovery action 1 (reset_device)".
  const auto open = line.find(" ("), close = line.find(')', open);
  if (kind == "gpu_recovery" && close != std::string_view::npos)
    if (const auto action = parse_word<Action>(line.substr(open + 2, close - open - 2)))
      fault.action = *action;
  return fault;
}

class FolderReader {
 public:
  explicit FolderReader(std::string folder) : folder_(std::move(folder)) {}

  Result<IncidentFolder> read() {
    HF_TRY(const std::string text, read_file(folder_ + "/ranks.json", kRanksMax));
    const json root = parse_json_text(text);
    if (root.is_discarded())
      return Error{Errc::kUnparsable, folder_ +
                                          "/ranks.json is no JSON; see "
                                          "docs/incident-folder.md for an example"};
    HF_TRY_VOID(read_root(root));
    HF_TRY_VOID(read_flight_records());
    HF_TRY_VOID(read_kernel_logs());
    HF_TRY_VOID(read_findings());
    return std::move(result_);
  }

 private:
  Result<void> read_root(const json& root) {
    const json* ranks = &root;
    if (root.is_object()) {
      note_unknown(root,
                   {"job", "attempt", "started", "start", "start_time", "started_at",
                    "attempts_without_progress", "ranks"},
                   "");
      HF_TRY(result_.evidence.started_ns,
             time_of(field(root, {"started", "started_at", "start_time", "start"}), "started"));
      if (const json* before = field(root, {"attempts_without_progress"})) {
        HF_TRY(const std::int64_t count, whole_of(*before, "attempts_without_progress", 1000));
        result_.evidence.attempts_without_progress = static_cast<std::uint32_t>(count);
      }
      ranks = field(root, {"ranks"});
    }
    if (ranks == nullptr || !ranks->is_array() || ranks->empty() || ranks->size() > kRankCountMax)
      return Error{Errc::kInvalidField,
                   "ranks.json: ranks: a list with at least one rank is "
                   "needed; see docs/incident-folder.md"};
    result_.evidence.ranks.resize(ranks->size());
    std::set<std::uint32_t> seen;
    for (const json& one : *ranks) {
      HF_TRY(RankEvidence rank, read_rank(one));
      const std::uint32_t number = rank.exit.rank;
      if (number >= ranks->size() || !seen.insert(number).second)
        return Error{Errc::kInvalidField,
                     "ranks.json: rank: " + std::to_string(number) +
                         " is twice there or beyond the number of ranks; give each from 0 to " +
                         std::to_string(ranks->size() - 1) + " once"};
      result_.evidence.ranks[number] = std::move(rank);
    }
    return {};
  }

  Result<RankEvidence> read_rank(const json& one) {
    if (!one.is_object()) return bad_field("ranks", one, "give an object for each rank");
    const json* number = field(one, {"rank"});
    if (number == nullptr) return bad_field("rank", json(), "each rank needs its number, from 0");
    RankEvidence rank;
    HF_TRY(const std::int64_t index, whole_of(*number, "rank", kRankCountMax));
    rank.exit.rank = static_cast<std::uint32_t>(index);
    const std::string where = "rank " + std::to_string(index) + ": ";
    note_unknown(one,
                 {"rank", "node", "host", "pid", "exit_code", "exitcode", "code", "signal", "state",
                  "last_step", "step", "started", "start", "start_time", "started_at", "ended",
                  "end", "end_time", "ended_at"},
                 where);
    const json* node = field(one, {"node", "host"});
    if (node == nullptr || !node->is_string() || node->get<std::string>().empty())
      return bad_field(where + "node", node == nullptr ? json() : *node, "give the node's name");
    rank.node = node_named(node->get<std::string>());
    HF_TRY_VOID(read_end(one, where, rank));
    if (const json* pid = field(one, {"pid"})) {
      HF_TRY(const std::int64_t value, whole_of(*pid, where + "pid", 1 << 30));
      rank.pid = static_cast<std::int32_t>(value);
    }
    if (const json* step = field(one, {"last_step", "step"})) {
      HF_TRY(const std::int64_t value, whole_of(*step, where + "last_step", INT64_MAX));
      rank.last_step = static_cast<std::uint64_t>(value);
    }
    if (!result_.evidence.started_ns) {
      HF_TRY(
          result_.evidence.started_ns,
          time_of(field(one, {"started", "started_at", "start_time", "start"}), where + "started"));
    }
    HF_TRY_VOID(read_texts(rank));
    return rank;
  }

  Result<void> read_end(const json& one, const std::string& where, RankEvidence& rank) {
    const json* code = field(one, {"exit_code", "exitcode", "code"});
    const json* signal = field(one, {"signal"});
    if (code != nullptr) {
      if (!code->is_number_integer() || code->get<std::int64_t>() < -255 ||
          code->get<std::int64_t>() > 255)
        return bad_field(where + "exit_code", *code, "give a status from 0 to 255, or null");
      rank.exit.code = code->get<std::int32_t>();
      // As Python's subprocess tells a signal.
      if (rank.exit.code < 0) {
        rank.exit.signal = -rank.exit.code;
        rank.exit.code = 0;
      }
    }
    if (signal != nullptr) {
      HF_TRY(const std::int32_t number, signal_of(*signal, where + "signal"));
      if (number != 0) rank.exit.signal = number;
    }
    HF_TRY(rank.ended_ns,
           time_of(field(one, {"ended", "ended_at", "end_time", "end"}), where + "ended"));
    rank.state = code != nullptr || rank.exit.signal != 0 ? RankEvidence::State::kExited
                                                          : RankEvidence::State::kRunning;
    const json* state = field(one, {"state"});
    if (state == nullptr) return {};
    if (*state == "lost")
      rank.state = RankEvidence::State::kLost;
    else if (*state == "running")
      rank.state = RankEvidence::State::kRunning;
    else if (*state != "exited" || rank.state != RankEvidence::State::kExited)
      return bad_field(where + "state", *state,
                       "give running, lost, or exited with an exit_code or a signal");
    return {};
  }

  Result<void> read_texts(RankEvidence& rank) {
    const std::string number = std::to_string(rank.exit.rank);
    HF_TRY(const auto log, optional_file("logs/rank-" + number + ".log"));
    if (log) rank.log = read_rank_log(*log);
    HF_TRY(rank.stacks, optional_file("stacks/rank-" + number + ".txt"));
    return {};
  }

  // Names of the files in a folder of the folder, sorted; none where it is not there.
  std::vector<std::string> files_in(const std::string& name) const {
    std::vector<std::string> files;
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir((folder_ + "/" + name).c_str()),
                                                      ::closedir);
    while (listing != nullptr) {
      const dirent* entry = ::readdir(listing.get());
      if (entry == nullptr) break;
      if (entry->d_name[0] != '.') files.emplace_back(entry->d_name);
    }
    std::ranges::sort(files);
    return files;
  }

  Result<void> read_kernel_logs() {
    for (const std::string& name : files_in("kmsg")) {
      if (!name.ends_with(".log")) continue;
      HF_TRY(const auto text, optional_file("kmsg/" + name));
      const auto node = node_of_file("kmsg/" + name);
      if (text && node) read_kernel_log(*node, *text);
    }
    return {};
  }

  Result<void> read_findings() {
    for (const std::string& name : files_in("findings")) {
      if (!name.ends_with(".txt")) continue;
      HF_TRY(const auto text, optional_file("findings/" + name));
      const auto node = node_of_file("findings/" + name);
      if (!node) continue;
      std::string_view rest = text ? std::string_view(*text) : std::string_view();
      while (!rest.empty()) {
        const auto end = std::min(rest.find('\n'), rest.size());
        if (auto fault = read_finding(rest.substr(0, end)))
          result_.evidence.findings.push_back({*node, std::move(*fault), {}});
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    }
    return {};
  }

  // The last number in a file's name is its rank: "rank-3.pickle", PyTorch's "nccl_trace_rank_3".
  Result<void> read_flight_records() {
    constexpr std::string_view kDigits = "0123456789";
    for (const std::string& name : files_in("flight")) {
      const auto end = name.find_last_of(kDigits);
      if (end == std::string::npos) continue;
      const auto before = name.find_last_not_of(kDigits, end);
      const std::size_t first = before == std::string::npos ? 0 : before + 1;
      std::uint32_t rank = 0;
      std::from_chars(name.data() + first, name.data() + end + 1, rank);
      if (rank >= result_.evidence.ranks.size()) continue;
      HF_TRY(const std::string pickle, read_file(folder_ + "/flight/" + name, kRanksMax));
      const auto record = read_flight_record(pickle);
      if (record.ok())
        result_.evidence.ranks[rank].collectives = *record;
      else
        result_.notes.push_back("flight/" + name + " was not used: " + record.error().text());
    }
    return {};
  }

  void read_kernel_log(NodeId node, std::string_view text) {
    const std::int32_t year = year_of(result_.evidence.started_ns.value_or(0));
    while (!text.empty()) {
      const auto end = std::min(text.find('\n'), text.size());
      const auto of_journal = kernel_line_of_journal(text.substr(0, end));
      const std::string_view line = of_journal ? *of_journal : text.substr(0, end);
      if (auto fault = read_kernel_line(line))
        result_.evidence.findings.push_back(
            {node, std::move(*fault), kernel_time(line, year).unix_ns});
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }

  static std::int32_t year_of(std::int64_t unix_ns) {
    const time_t seconds = unix_ns / 1'000'000'000;
    tm parts{};
    ::gmtime_r(&seconds, &parts);
    return parts.tm_year + 1900;
  }

  Result<std::optional<std::string>> optional_file(const std::string& name) {
    auto text = read_file(folder_ + "/" + name, kLogMax);
    if (text.ok()) return std::optional(valid_utf8(*text));
    if (text.error().code == Errc::kNotFound) return std::optional<std::string>();
    return text.error();
  }

  // The node of "kmsg/NAME.log", also where one of the two names it without its domain. What befell
  // a machine that ran no rank is no cause.
  std::optional<NodeId> node_of_file(const std::string& file) {
    const auto slash = file.find('/');
    const std::string name = file.substr(slash + 1, file.size() - slash - 5);
    std::optional<NodeId> alike;
    for (const auto& [id, known] : result_.node_names) {
      if (known == name) return id;
      if (known.starts_with(name + ".") || name.starts_with(known + ".")) alike = id;
    }
    if (!alike) result_.notes.push_back(file + " was not used: ranks.json has no rank on " + name);
    return alike;
  }

  NodeId node_named(const std::string& name) {
    for (const auto& [id, known] : result_.node_names)
      if (known == name) return id;
    const NodeId id{kFirstNode + static_cast<std::uint32_t>(result_.node_names.size())};
    result_.node_names.emplace(id, name);
    return id;
  }

  void note_unknown(const json& object, std::initializer_list<std::string_view> known,
                    const std::string& where) {
    for (const auto& [key, value] : object.items()) {
      if (std::ranges::find(known, key) != known.end() || !noted_.insert(key).second) continue;
      result_.notes.push_back("ranks.json: " + where + "'" + key +
                              "' is not known and was not used; see docs/incident-folder.md");
    }
  }

  std::string folder_;
  IncidentFolder result_;
  std::set<std::string> noted_;
};

}  // namespace

Result<IncidentFolder> read_incident_folder(const std::string& folder) {
  return FolderReader(folder).read();
}

namespace {

json rank_json(const AttemptRecord& attempt, std::uint32_t rank) {
  const NodeId node = attempt.nodes[rank / attempt.ranks_per_node];
  json one = {{"rank", rank}, {"node", to_string(node)}};
  const auto exit = std::ranges::find(attempt.exits, rank, &RankExit::rank);
  if (exit != attempt.exits.end()) {
    one["last_step"] = exit->progress.step;
    if (exit->asked)
      one["state"] = "running";  // until we gave the attempt up
    else if (exit->signal != 0)
      one["signal"] = exit->signal;
    else
      one["exit_code"] = exit->code;
  } else if (std::ranges::find(attempt.nodes_lost, node) != attempt.nodes_lost.end()) {
    one["state"] = "lost";
  }
  return one;
}

// Evidence says where a line was seen and then the line.
std::string line_of(const Evidence& fault) {
  for (std::size_t at = 0; at != std::string::npos; at = fault.what.find(": ", at + 1)) {
    const std::string line = fault.what.substr(at == 0 ? 0 : at + 2);
    if (read_kernel_line(line)) return line;
  }
  return {};
}

Result<void> write_finding(const std::string& folder, const Evidence& fault) {
  const std::string name = to_string(fault.node);
  if (const std::string line = line_of(fault); !line.empty())
    return append_line(folder + "/kmsg/" + name + ".log", line);
  const std::string prefix = name + ": ";
  const bool is_prefixed = fault.what.starts_with(prefix);
  return append_line(folder + "/findings/" + name + ".txt",
                     is_prefixed ? fault.what.substr(prefix.size()) : fault.what);
}

Result<void> link_log(const std::string& from, const std::string& to) {
  if (::link(from.c_str(), to.c_str()) == 0 || errno == ENOENT) return {};
  return os_error("link", to, errno);
}

}  // namespace

Result<void> write_incident_folder(const std::string& folder, const effect::KeepEvidence& kept,
                                   WallTime started, const std::string& logs) {
  const AttemptRecord& attempt = kept.attempt;
  HF_TRY_VOID(remove_tree(folder));
  for (const char* part : {"/logs", "/kmsg", "/findings", "/stacks"})
    HF_TRY_VOID(make_folder(folder + part, 0700));
  json ranks = json::array();
  const auto count = static_cast<std::uint32_t>(attempt.nodes.size()) * attempt.ranks_per_node;
  for (std::uint32_t rank = 0; rank < count; ++rank) {
    ranks.push_back(rank_json(attempt, rank));
    const std::string name = "/rank-" + std::to_string(rank) + ".log";
    HF_TRY_VOID(link_log(logs + name, folder + "/logs" + name));
  }
  for (const auto& stacks : attempt.stacks)
    HF_TRY_VOID(write_file_atomic(folder + "/stacks/rank-" + std::to_string(stacks.rank) + ".txt",
                                  stacks.answered ? stacks.text : std::string(), 0600));
  for (const Evidence& fault : attempt.node_faults) HF_TRY_VOID(write_finding(folder, fault));
  const json root = {{"job", kept.job_name},
                     {"attempt", attempt.number.value},
                     {"started", static_cast<double>(started.ns) / 1e9},
                     {"attempts_without_progress", kept.attempts_without_progress},
                     {"ranks", ranks}};
  return write_file_atomic(folder + "/ranks.json", root.dump(1) + "\n", 0600);
}

std::string with_node_names(std::string text, const IncidentFolder& folder) {
  for (const auto& [id, name] : folder.node_names) {
    const std::string token = to_string(id);
    for (auto at = text.find(token); at != std::string::npos;
         at = text.find(token, at + name.size()))
      text.replace(at, token.size(), name);
  }
  return text;
}

}  // namespace holdfast
