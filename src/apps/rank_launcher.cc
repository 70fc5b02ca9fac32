#include "apps/rank_launcher.h"

#include <signal.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>

#include <spdlog/spdlog.h>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <nlohmann/json.hpp>

#include "io/files.h"
#include "io/utf8.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

constexpr std::size_t kErrorFileMax = 256 * 1024;
constexpr std::size_t kLogTailBytes = 4096;
constexpr auto kSweep = std::chrono::milliseconds(2);

std::uint64_t machine_memory() {
  struct sysinfo info {};
  return ::sysinfo(&info) == 0 ? std::uint64_t{info.totalram} * info.mem_unit : 0;
}

std::string last_bytes(const std::string& path, std::size_t count) {
  const Result<UniqueFd> fd = open_file(path, O_RDONLY);
  if (!fd.ok()) return {};
  const off_t size = ::lseek(fd->get(), 0, SEEK_END);
  const off_t from = std::max<off_t>(0, size - static_cast<off_t>(count));
  std::string bytes(static_cast<std::size_t>(size - from), '\0');
  const ssize_t n = ::pread(fd->get(), bytes.data(), bytes.size(), from);
  bytes.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return valid_utf8(bytes);
}

// What holdfast._hooks wrote about an uncaught exception. The file is the user's program's:
// anything may be in it.
void read_error_file(const std::string& path, RankExit& exit) {
  const Result<std::string> text = read_file(path, kErrorFileMax);
  if (!text.ok()) return;
  const auto json = parse_json_text(*text);
  if (!json.is_object()) return;
  const auto field = [&](const char* name, std::size_t most) {
    const auto found = json.find(name);
    if (found == json.end() || !found->is_string()) return std::string();
    return valid_utf8(found->get<std::string>().substr(0, most));
  };
  exit.error_type = field("type", 200);
  exit.error_message = field("message", 2000);
  exit.traceback = field("traceback", 16 * 1024);
}

std::string request_id(const RankLauncher::Key& key) {
  return to_string(key.job) + "." + to_string(key.attempt) + ".r" + std::to_string(key.rank);
}

}  // namespace

RankLauncher::RankLauncher(asio::io_context& context, Options options, Listener& listener)
    : context_(context),
      options_(std::move(options)),
      listener_(listener),
      snapshots_(options_.folder + "/snapshots.sock", options_.folder + "/snapshots.log",
                 options_.identity, options_.environment) {
  Result<NodeCgroup> cgroup = NodeCgroup::open(options_.cluster, to_string(options_.node));
  if (cgroup.ok())
    cgroup_ = std::move(cgroup).value();
  else
    spdlog::info("no control groups: {}", cgroup.error().text());
}

RankPaths RankLauncher::paths(const Key& key) const {
  const std::string stem = options_.folder + "/jobs/" + to_string(key.job) + "/" +
                           to_string(key.attempt) + "/rank-" + std::to_string(key.rank);
  return {stem + ".log", stem + ".page", stem + ".error", stem + ".stacks",
          options_.folder + "/snapshots.sock"};
}

WarmParent* RankLauncher::warm_parent(JobId job, const JobSpec& spec) {
  const auto python = python_command(spec.command);
  if (!python) return nullptr;
  auto& parent = warm_[job];
  if (parent != nullptr && parent->alive()) return parent.get();
  const std::string log = options_.folder + "/jobs/" + to_string(job) + "/warm.log";
  if (!make_folder(log.substr(0, log.rfind('/')), 0700).ok()) return nullptr;
  auto started =
      WarmParent::start(context_, python->interpreter,
                        job_environment(spec, options_.python_folder, options_.environment), log,
                        [this](const std::string& id, pid_t pid, const std::string& reason) {
                          warm_answered(id, pid, reason);
                        });
  if (!started.ok()) {
    spdlog::warn("no warm start for {}: {}", to_string(job), started.error().text());
    return nullptr;
  }
  parent = std::move(started).value();
  return parent.get();
}

void RankLauncher::warm_up(JobId job, const JobSpec& spec) {
  warm_parent(job, spec);
}

void RankLauncher::cool_down(JobId job) {
  warm_.erase(job);
  snapshots_.forget(job);
}

void RankLauncher::start(const server_message::StartRanks& start, std::uint32_t local_rank) {
  const Key key{start.job, start.attempt, start.first_rank() + local_rank};
  Rank& rank = ranks_[key];
  rank.start = start;
  rank.local_rank = local_rank;
  if (const auto ready = prepare(key, rank); !ready.ok()) return failed(key, ready.error());
  if (!ask_warm(key)) start_cold(key);
}

Result<void> RankLauncher::prepare(const Key& key, Rank& rank) {
  rank.paths = paths(key);
  HF_TRY_VOID(make_folder(rank.paths.log.substr(0, rank.paths.log.rfind('/')), 0700));
  HF_TRY(rank.page, ProgressPage::create(rank.paths.page, key.rank));
  rank.memory_limit_bytes = rank.start.spec.memory_limit_bytes;
  if (!rank.start.spec.checkpoint.folder.empty()) snapshots_.ensure();
  if (!cgroup_) return {};
  auto group = cgroup_->make(request_id(key), rank.memory_limit_bytes);
  if (group.ok())
    rank.cgroup = std::move(group).value();
  else
    spdlog::warn("no control group for {}: {}", request_id(key), group.error().text());
  return {};
}

std::optional<RankCgroup> RankLauncher::make_group(const std::string& name) {
  if (!cgroup_) return std::nullopt;
  auto group = cgroup_->make(name, 0);
  if (group.ok()) return std::move(group).value();
  spdlog::warn("no control group for {}: {}", name, group.error().text());
  return std::nullopt;
}

bool RankLauncher::ask_warm(const Key& key) {
  Rank& rank = ranks_.at(key);
  const JobSpec& spec = rank.start.spec;
  WarmParent* parent = warm_parent(key.job, spec);
  if (parent == nullptr) return false;
  const std::string id = request_id(key);
  asked_[id] = key;
  const bool asked = parent->ask(
      {.id = id,
       .command = *python_command(spec.command),
       .environment = rank_environment(rank.start, rank.local_rank, spec.name, options_.node,
                                       rank.paths, options_.python_folder, options_.environment),
       .working_folder = spec.working_folder,
       .log_file = rank.paths.log,
       .procs_files = rank.cgroup ? rank.cgroup->procs_files() : std::vector<std::string>{}});
  if (!asked) asked_.erase(id);
  return asked;
}

void RankLauncher::warm_answered(const std::string& id, pid_t pid, const std::string& reason) {
  const auto found = asked_.find(id);
  if (found == asked_.end()) return;
  const Key key = found->second;
  asked_.erase(found);
  if (pid > 0) return started(key, pid);
  spdlog::warn("{} is started cold: {}", id, reason);
  start_cold(key);
}

void RankLauncher::start_cold(const Key& key) {
  Rank& rank = ranks_.at(key);
  const JobSpec& spec = rank.start.spec;
  const Result<pid_t> pid = spawn(
      {.argv = spec.command,
       .environment = rank_environment(rank.start, rank.local_rank, spec.name, options_.node,
                                       rank.paths, options_.python_folder, options_.environment),
       .working_folder = spec.working_folder,
       .log_file = rank.paths.log,
       .death_signal = SIGKILL,
       .procs_files = rank.cgroup ? rank.cgroup->procs_files() : std::vector<std::string>{}});
  if (pid.ok())
    started(key, *pid);
  else
    failed(key, pid.error());
}

void RankLauncher::started(const Key& key, pid_t pid) {
  ranks_.at(key).pid = pid;
  listener_.rank_started(key, pid);
  const auto early = unclaimed_.find(pid);
  if (early == unclaimed_.end()) return;
  const Reaped reaped = early->second;
  unclaimed_.erase(early);
  ended(key, reaped);
}

// Told on a later turn: whoever asked for the start is still in the middle of it.
void RankLauncher::failed(const Key& key, const Error& error) {
  RankExit exit{
      .rank = key.rank, .code = 127, .error_type = "start_failed", .error_message = error.detail};
  asio::post(context_, [this, key, exit] {
    if (const auto found = ranks_.find(key); found != ranks_.end()) {
      if (found->second.cgroup) static_cast<void>(found->second.cgroup->remove());
      ranks_.erase(found);
    }
    listener_.rank_ended(key, exit);
  });
}

void RankLauncher::kill(JobId job, Attempt attempt, int signal) {
  for (auto& [key, rank] : ranks_) {
    if (key.job != job || key.attempt != attempt) continue;
    if (rank.pid == 0) {
      withdraw(key);
      continue;
    }
    kill_session(rank.pid, signal);
    if (signal == SIGKILL && rank.cgroup) rank.cgroup->kill_all();
  }
}

// An import may take minutes; nobody waits for it to end only to kill what comes of it.
void RankLauncher::withdraw(const Key& key) {
  const std::string id = request_id(key);
  const auto parent = warm_.find(key.job);
  if (parent == warm_.end() || !parent->second->withdraw(id)) return;
  asked_.erase(id);
  failed(key, {Errc::kWrongState, "stopped before it was started"});
}

void RankLauncher::kill_all(int signal) {
  for (auto& [key, rank] : ranks_)
    if (rank.pid != 0) kill_session(rank.pid, signal);
}

std::set<pid_t> RankLauncher::helpers() const {
  std::set<pid_t> pids;
  for (const auto& [pid, ended] : helpers_) pids.insert(pid);
  if (snapshots_.pid() != 0) pids.insert(snapshots_.pid());
  for (const auto& [job, parent] : warm_)
    if (parent != nullptr) pids.insert(parent->pid());
  return pids;
}

void RankLauncher::signal_everything(int signal) {
  kill_all(signal);
  if (signal == SIGKILL)
    for (auto& [key, rank] : ranks_)
      if (rank.cgroup) rank.cgroup->kill_all();
  for (auto& [job, parent] : warm_)
    if (parent->alive()) ::kill(parent->pid(), signal);
  if (snapshots_.pid() != 0) ::kill(snapshots_.pid(), signal);
}

void RankLauncher::reap_children() {
  for (const Reaped& reaped : reap()) {
    snapshots_.ended(reaped.pid);
    if (const auto helper = helpers_.extract(reaped.pid); !helper.empty()) {
      if (helper.mapped()) helper.mapped()(reaped.status);
      continue;
    }
    const auto found = std::find_if(ranks_.begin(), ranks_.end(), [&](const auto& entry) {
      return entry.second.pid == reaped.pid;
    });
    if (found != ranks_.end())
      ended(found->first, reaped);
    else if (!asked_.empty())
      unclaimed_[reaped.pid] = reaped;
  }
  if (asked_.empty()) unclaimed_.clear();
}

void RankLauncher::ended(const Key& key, const Reaped& reaped) {
  auto node = ranks_.extract(key);
  report_when_empty(node.key(), std::make_shared<Rank>(std::move(node.mapped())), reaped);
}

// A rank has ended when its data loaders and shells are dead too: whoever hears of it may start the
// next attempt at once.
void RankLauncher::report_when_empty(const Key& key, std::shared_ptr<Rank> rank,
                                     const Reaped& reaped) {
  const bool session_empty = kill_session(reaped.pid, SIGKILL) == 0;
  const bool group_empty = !rank->cgroup || rank->cgroup->kill_all();
  // What left its session and its parent came to us; whose it was shows only when no rank is left.
  const bool no_orphans = !ranks_.empty() || kill_children(helpers(), SIGKILL) == 0;
  if (!session_empty || !group_empty || !no_orphans) {
    auto timer = std::make_shared<asio::steady_timer>(context_, kSweep);
    timer->async_wait([this, key, rank, reaped, timer](const asio::error_code& error) {
      if (!error) report_when_empty(key, rank, reaped);
    });
    return;
  }
  RankExit exit{.rank = key.rank,
                .code = reaped.status.code,
                .signal = reaped.status.signal,
                .log_tail = last_bytes(rank->paths.log, kLogTailBytes),
                .memory_peak_bytes = std::max(reaped.memory_peak_bytes, rank->memory_seen_bytes),
                .memory_limit_bytes =
                    rank->memory_limit_bytes != 0 ? rank->memory_limit_bytes : machine_memory(),
                .out_of_memory = rank->over_limit};
  if (rank->page) exit.progress = rank->page->read().progress;
  if (rank->cgroup) {
    exit.out_of_memory = exit.out_of_memory || rank->cgroup->oom_kills() > 0;
    exit.memory_peak_bytes = std::max(exit.memory_peak_bytes, rank->cgroup->memory_peak_bytes());
    static_cast<void>(rank->cgroup->remove());
  }
  if (!exit.clean()) read_error_file(rank->paths.error, exit);
  listener_.rank_ended(key, exit);
}

void RankLauncher::watch_memory() {
  for (auto& [key, rank] : ranks_) {
    if (rank.pid == 0 || rank.memory_limit_bytes == 0 || rank.cgroup) continue;
    rank.memory_seen_bytes = std::max(rank.memory_seen_bytes, resident_bytes(rank.pid));
    if (rank.over_limit || rank.memory_seen_bytes <= rank.memory_limit_bytes) continue;
    rank.over_limit = true;
    kill_session(rank.pid, SIGKILL);
  }
}

pid_t RankLauncher::training_pid(const Rank& rank) {
  if (rank.pid == 0 || !rank.page) return rank.pid;
  const pid_t writer = rank.page->read().pid;
  return writer > 0 && ::getsid(writer) == rank.pid ? writer : rank.pid;
}

}  // namespace holdfast
