#include "drivers/exec.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <utility>

#include <spdlog/spdlog.h>
#include <asio/post.hpp>
#include <nlohmann/json.hpp>

#include "io/clock.h"
#include "io/files.h"
#include "io/s3_retry.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr int kTemporary = 75;  // EX_TEMPFAIL of sysexits.h
constexpr std::size_t kAtOnce = 16;
constexpr int kMissedMax = 2;  // a cloud may list what is new late
constexpr int kGiveBackTries = 10;
constexpr std::int64_t kAfterMax = 3600;

std::string_view program_of(int want) {
  constexpr std::string_view kPrograms[] = {"provision", "reboot", "terminate"};
  return kPrograms[want];
}

Error unparsable(const std::string& what) {
  return {Errc::kUnparsable, "its output: " + what + "; see docs/providers.md"};
}

// Text of outside programs: no exception crosses our boundary.
Result<json> object_of(const std::string& text) {
  json parsed = parse_json_text(text);
  if (parsed.is_discarded() || !parsed.is_object())
    return unparsable("no JSON object: '" + text.substr(0, 100) + "'");
  return parsed;
}

}  // namespace

Result<ExecAnswer> parse_exec_answer(const std::string& text) {
  ExecAnswer answer;
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return answer;
  HF_TRY(const json object, object_of(text));
  for (const auto& [name, value] : object.items()) {
    if (name == "retry" && value.is_boolean()) {
      answer.retry = value.get<bool>();
    } else if (name == "no_capacity" && value.is_boolean()) {
      answer.no_capacity = value.get<bool>();
    } else if (name == "after_s" && value.is_number_integer() && value >= 0 && value <= kAfterMax) {
      answer.after = seconds(value.get<std::int64_t>());
    } else if (name == "reason" && value.is_string()) {
      answer.reason = value.get<std::string>().substr(0, kProgramErrorsKept);
    } else {
      return unparsable(name.substr(0, 100) + ": " + value.dump().substr(0, 100) +
                        " is not allowed; retry and no_capacity are true or false, after_s is 0 to "
                        "3600, reason is text, nothing else is known");
    }
  }
  return answer;
}

Result<std::vector<NodeId>> parse_exec_description(const std::string& text,
                                                   const std::vector<NodeId>& asked) {
  HF_TRY(const json object, object_of(text));
  const auto nodes = object.find("nodes");
  if (object.size() != 1 || nodes == object.end() || !nodes->is_object())
    return unparsable("nodes: give this one field, an object");
  std::vector<NodeId> gone;
  for (const NodeId node : asked) {
    const auto state = nodes->find(to_string(node));
    if (state == nodes->end()) return unparsable("nodes: " + to_string(node) + " is missing");
    if (*state == "gone")
      gone.push_back(node);
    else if (*state != "running" && *state != "starting")
      return unparsable("nodes: " + to_string(node) + ": " + state->dump().substr(0, 100) +
                        " is not known; write starting, running or gone");
  }
  return gone;
}

Result<void> ExecDriver::check(const std::string& programs) {
  for (const char* name : {"provision", "terminate", "reboot", "describe"}) {
    const std::string path = programs + "/" + name;
    if (::access(path.c_str(), F_OK) != 0)
      return Error{Errc::kNotFound, "provider: " + path +
                                        " does not exist; docs/providers.md says "
                                        "what the folder must hold"};
    if (::access(path.c_str(), X_OK) != 0)
      return Error{Errc::kInvalidField, "provider: " + path + " cannot be run; chmod +x it"};
  }
  return {};
}

ExecDriver::ExecDriver(asio::io_context& context, Options options, MakeToken make_token,
                       OnGone on_gone, OnNoCapacity on_no_capacity)
    : context_(context),
      options_(std::move(options)),
      make_token_(std::move(make_token)),
      on_gone_(std::move(on_gone)),
      on_no_capacity_(std::move(on_no_capacity)),
      prng_(options_.jitter_seed),
      runner_(context, kAtOnce),
      poll_timer_(context) {}

std::string ExecDriver::mark(NodeId node) const {
  return options_.nodes_folder + "/" + to_string(node) + "/machine";
}

void ExecDriver::provision(const MachineWish& wish) {
  const auto [found, is_new] = machines_.try_emplace(wish.node);
  if (!is_new) return;  // it comes, is there, or goes
  found->second.wish = wish;
  found->second.since_ns = monotonic_ns();
  // Before the machine can be there: so it is given back whatever happens to us.
  Result<void> marked = make_folder(options_.nodes_folder + "/" + to_string(wish.node), 0700);
  if (marked.ok()) marked = write_file_atomic(mark(wish.node), options_.programs + "\n", 0600);
  if (!marked.ok()) {
    machines_.erase(found);
    return tell_gone(wish.node, marked.error().text());
  }
  next(wish.node);
}

void ExecDriver::adopt(NodeId node) {
  machines_.try_emplace(node, Machine{.is_up = true, .wish = {.node = node}});
  if (!is_polling_) poll();
}

void ExecDriver::terminate(NodeId node) {
  if (!machines_.contains(node) && ::access(mark(node).c_str(), F_OK) != 0)
    return tell_gone(node, "it has no machine");
  Machine& machine = machines_.try_emplace(node, Machine{.wish = {.node = node}}).first->second;
  if (machine.want != Machine::Want::kGone) give_back(node, machine, "it was given back");
}

void ExecDriver::release(NodeId node) {
  if (machines_.contains(node) || ::access(mark(node).c_str(), F_OK) == 0) terminate(node);
}

void ExecDriver::give_back(NodeId node, Machine& machine, const std::string& reason) {
  machine.want = Machine::Want::kGone;
  machine.gone_because = reason;
  machine.failed = 0;
  next(node);
}

void ExecDriver::reboot(NodeId node) {
  Machine& machine = machines_.try_emplace(node, Machine{.wish = {.node = node}}).first->second;
  if (machine.want != Machine::Want::kUp) return;
  machine.want = Machine::Want::kReboot;
  machine.is_up = false;
  machine.failed = 0;
  next(node);
}

// Makes of the machine what is wanted of it, if nothing is under way for it.
void ExecDriver::next(NodeId node) {
  Machine& machine = machines_.at(node);
  if (machine.is_busy) return;
  machine.is_busy = true;
  const Machine::Want asked = machine.want;
  run(std::string(program_of(static_cast<int>(asked))), input_for(node, machine),
      asked == Machine::Want::kUp ? options_.provision_max : options_.call_max,
      [this, node, asked](const Result<ProgramEnd>& end) { answered(node, asked, end); });
}

std::string ExecDriver::input_for(NodeId node, const Machine& machine) {
  json input{{"cluster", options_.cluster}, {"node", to_string(node)}};
  if (machine.want != Machine::Want::kGone) {
    input["group"] = machine.wish.group;
    input["instance_types"] = machine.wish.instance_types;
    input["server"] = options_.server;
    input["ca"] = options_.ca_pem;
    input["token"] = make_token_(node);
    input["agent"] = options_.agent;
  }
  return input.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

void ExecDriver::run(const std::string& program, const std::string& input, Duration budget,
                     ProgramRunner::Done done) {
  runner_.run({.program = {.argv = {options_.programs + "/" + program},
                           .environment = options_.environment,
                           .working_folder = options_.programs},
               .input = input,
               .budget = budget},
              std::move(done));
}

void ExecDriver::answered(NodeId node, Machine::Want asked, const Result<ProgramEnd>& end) {
  Machine& machine = machines_.at(node);
  machine.is_busy = false;
  std::string reason;
  Result<ExecAnswer> answer = ExecAnswer{};
  if (!end.ok()) {
    reason = end.error().text();
  } else {
    answer = parse_exec_answer(end->output);
    if (end->status.code == kTemporary && end->status.signal == 0 && answer.ok())
      answer->retry = true;
    if (!end->ok()) reason = why_failed(*end);
    if (answer.ok() && !answer->reason.empty()) reason = answer->reason;
    if (!answer.ok() && end->ok()) reason = answer.error().detail;
  }
  const bool is_without = asked == Machine::Want::kUp && answer.ok() && answer->no_capacity;
  const bool retry = answer.ok() && answer->retry && !is_without;
  const bool ok = end.ok() && end->ok() && answer.ok() && !retry && !is_without;
  if (is_without && reason.empty()) reason = "it gave no reason";
  const std::string name(program_of(static_cast<int>(asked)));
  if (!ok) spdlog::warn("{}: {}: {}", to_string(node), name, reason);
  if (machine.want != asked) return next(node);  // something else is wanted by now
  if (asked == Machine::Want::kGone) {
    if (!ok && ++machine.failed < kGiveBackTries)
      return try_again(node, machine, answer.ok() ? answer->after : Duration{});
    if (!ok)
      spdlog::error("{}: its machine could not be given back: look whether it is there: {}",
                    to_string(node), reason);
    const std::string because = machine.gone_because;
    const auto& tell = machine.is_without ? on_no_capacity_ : on_gone_;
    forget(node);
    return tell(node, because);
  }
  if (ok) {
    machine.want = Machine::Want::kUp;
    machine.is_up = true;
    machine.failed = machine.missed = 0;
    if (!is_polling_) poll();
    return;
  }
  machine.is_without = is_without;
  ++machine.failed;
  const bool has_time = machine.since_ns == 0
                            ? machine.failed < kGiveBackTries
                            : monotonic_ns() - machine.since_ns < options_.patience.ns;
  if (retry && has_time) return try_again(node, machine, answer->after);
  give_back(node, machine, name + ": " + reason);  // half of it may be there
}

void ExecDriver::try_again(NodeId node, Machine& machine, Duration at_least) {
  machine.is_busy = true;
  const Duration pause = retry_delay({options_.pause_min, options_.pause_max}, machine.failed,
                                     std::max(at_least, options_.pause_min), prng_);
  auto timer = std::make_shared<asio::steady_timer>(context_);
  timer->expires_after(std::chrono::nanoseconds(pause.ns));
  timer->async_wait([this, timer, node](const asio::error_code& error) {
    if (error) return;
    machines_.at(node).is_busy = false;
    next(node);
  });
}

void ExecDriver::forget(NodeId node) {
  machines_.erase(node);
  if (::unlink(mark(node).c_str()) != 0 && errno != ENOENT) spdlog::warn("{} stays", mark(node));
}

void ExecDriver::tell_gone(NodeId node, const std::string& reason) {
  ++untold_;
  asio::post(context_, [this, node, reason] {
    --untold_;
    on_gone_(node, reason);
  });
}

// Machines end by themselves too.
void ExecDriver::poll() {
  is_polling_ = true;
  poll_timer_.expires_after(std::chrono::nanoseconds(options_.poll.ns));
  poll_timer_.async_wait([this](const asio::error_code& error) {
    if (error) return;
    std::vector<NodeId> asked;
    json names = json::array();
    for (const auto& [node, machine] : machines_) {
      if (!machine.is_up || machine.want != Machine::Want::kUp) continue;
      asked.push_back(node);
      names.push_back(to_string(node));
    }
    if (asked.empty()) return poll();
    run("describe", json{{"cluster", options_.cluster}, {"nodes", names}}.dump() + "\n",
        options_.call_max, [this, asked](const Result<ProgramEnd>& end) {
          described(asked, end);
          poll();
        });
  });
}

void ExecDriver::described(const std::vector<NodeId>& asked, const Result<ProgramEnd>& end) {
  Result<std::vector<NodeId>> gone = Error{Errc::kIo, ""};
  if (!end.ok())
    gone = end.error();
  else if (!end->ok())
    gone = Error{Errc::kIo, why_failed(*end)};
  else
    gone = parse_exec_description(end->output, asked);
  if (!gone.ok()) return spdlog::warn("describe: {}", gone.error().detail);
  for (const NodeId node : asked) {
    const auto found = machines_.find(node);
    if (found == machines_.end() || !found->second.is_up) continue;
    Machine& machine = found->second;
    const bool is_gone = std::find(gone->begin(), gone->end(), node) != gone->end();
    machine.missed = is_gone ? machine.missed + 1 : 0;
    // What is left of it is cleaned up by the program that gives machines back.
    if (machine.missed >= kMissedMax && machine.want == Machine::Want::kUp)
      give_back(node, machine, "its machine is gone");
  }
}

bool ExecDriver::end_everything() {
  if (!std::exchange(has_read_marks_, true)) {
    if (DIR* folder = ::opendir(options_.nodes_folder.c_str())) {
      while (const dirent* entry = ::readdir(folder)) {
        const std::string name = entry->d_name;
        NodeId node;
        const char* end = name.data() + name.size();
        if (name.size() < 2 || name[0] != NodeTag::kPrefix ||
            std::from_chars(name.data() + 1, end, node.value).ptr != end)
          continue;
        if (::access(mark(node).c_str(), F_OK) == 0) terminate(node);
      }
      ::closedir(folder);
    }
  }
  for (auto& [node, machine] : machines_)
    if (machine.want != Machine::Want::kGone) give_back(node, machine, "the cluster ends");
  return machines_.empty() && untold_ == 0;
}

}  // namespace holdfast
