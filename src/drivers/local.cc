#include "drivers/local.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <charconv>
#include <chrono>
#include <memory>

#include <spdlog/spdlog.h>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include "io/cgroup.h"
#include "io/files.h"

namespace holdfast {
namespace {

constexpr auto kSweep = std::chrono::milliseconds(5);
constexpr int kSweeps = 400;  // what SIGKILL has not ended by then hangs in the kernel

}  // namespace

LocalDriver::LocalDriver(asio::io_context& context, Options options, MakeToken make_token,
                         OnGone on_gone)
    : context_(context),
      options_(std::move(options)),
      make_token_(std::move(make_token)),
      on_gone_(std::move(on_gone)) {}

std::string LocalDriver::folder(NodeId node) const {
  return options_.nodes_folder + "/" + to_string(node);
}

// agent.pid holds "PID START_TIME": a pid alone may be another process's by now.
pid_t LocalDriver::find_agent(NodeId node) const {
  const Result<std::string> text = read_file(folder(node) + "/agent.pid", 64);
  if (!text.ok()) return 0;
  const char* end = text->data() + text->size();
  pid_t pid = 0;
  const auto [space, error] = std::from_chars(text->data(), end, pid);
  std::uint64_t started = 0;
  if (error != std::errc() || space == end ||
      std::from_chars(space + 1, end, started).ec != std::errc())
    return 0;
  const auto state = process_state(pid);
  if (state.empty() || state.starts_with("Z")) return 0;
  return start_time(pid) == started ? pid : 0;
}

void LocalDriver::start(NodeId node) {
  if (const pid_t pid = find_agent(node); pid != 0) {
    watch(node, pid);
    return;
  }
  const std::string home = folder(node);
  const auto fail = [&](const Error& error) { report_gone(node, error.text()); };
  if (const auto made = make_folder(home, 0700); !made.ok()) return fail(made.error());
  // The token is a password: in a file that only we may read, not on a command line.
  if (const auto written = write_file_atomic(home + "/join.token", make_token_(node), 0600);
      !written.ok())
    return fail(written.error());
  SpawnSpec spec{.argv = options_.agent_command,
                 .environment = options_.environment,
                 .working_folder = home,
                 .log_file = home + "/agent.log"};
  spec.argv.push_back(home);
  spec.environment["HOLDFAST_CLUSTER"] = options_.cluster;
  spec.environment["HOLDFAST_NODE"] = to_string(node);
  const Result<pid_t> pid = spawn(spec);
  if (!pid.ok()) return fail(pid.error());
  const std::string identity =
      std::to_string(*pid) + " " + std::to_string(start_time(*pid).value_or(0));
  if (const auto written = write_file_atomic(home + "/agent.pid", identity, 0600); !written.ok()) {
    kill(*pid, SIGKILL);  // it could not be found again
    return fail(written.error());
  }
  watch(node, *pid);
}

void LocalDriver::adopt(NodeId node) {
  const pid_t pid = find_agent(node);
  if (pid != 0)
    watch(node, pid);
  else
    report_gone(node, "its agent process is gone");
}

void LocalDriver::watch(NodeId node, pid_t pid) {
  if (watched_.contains(node)) return;
  Result<UniqueFd> fd = open_pidfd(pid);
  if (!fd.ok()) return report_gone(node, "its agent process is gone");
  auto [entry, added] = watched_.emplace(
      node, asio::posix::stream_descriptor(context_, std::move(fd).value().release()));
  entry->second.async_wait(asio::posix::stream_descriptor::wait_read,
                           [this, node](const asio::error_code& error) {
                             if (error) return;
                             const auto found = watched_.find(node);
                             // Ours if we started it.
                             static_cast<void>(reap_one(found->second.native_handle()));
                             watched_.erase(found);
                             ++sweeps_;
                             sweep(node, "its agent process ended", kSweeps);
                           });
}

void LocalDriver::terminate(NodeId node) {
  rebooting_.erase(node);
  const pid_t pid = find_agent(node);
  if (pid == 0) return report_gone(node, "its agent process is gone");
  watch(node, pid);
  kill(pid, SIGKILL);
}

void LocalDriver::reboot(NodeId node) {
  rebooting_.insert(node);
  const pid_t pid = find_agent(node);
  if (pid == 0) return report_gone(node, "its agent process is gone");
  watch(node, pid);
  kill(pid, SIGKILL);
}

Result<void> LocalDriver::thaw(NodeId node) {
  const pid_t pid = find_agent(node);
  if (pid == 0)
    return Error{Errc::kWrongState, "node: " + to_string(node) + " has no agent process any more"};
  kill(pid, SIGCONT);
  return {};
}

void LocalDriver::report_gone(NodeId node, std::string reason) {
  ++sweeps_;
  asio::post(context_, [this, node, reason = std::move(reason)] { sweep(node, reason, kSweeps); });
}

void LocalDriver::sweep(NodeId node, const std::string& reason, int rounds_left) {
  const std::size_t left = kill_marked(
      {"HOLDFAST_CLUSTER=" + options_.cluster, "HOLDFAST_NODE=" + to_string(node)}, SIGKILL);
  if (left > 0 && rounds_left > 0) {
    auto timer = std::make_shared<asio::steady_timer>(context_, kSweep);
    timer->async_wait([this, timer, node, reason, rounds_left](const asio::error_code& error) {
      if (!error) sweep(node, reason, rounds_left - 1);
    });
    return;
  }
  if (left > 0)
    spdlog::warn("{}: {} processes cannot be killed; they hang in the kernel", to_string(node),
                 left);
  // Ends what has cleared its environment, where the machine has control groups for us.
  if (auto groups = NodeCgroup::open(options_.cluster, to_string(node)); groups.ok())
    static_cast<void>(groups->remove());
  --sweeps_;
  if (rebooting_.erase(node) > 0) return start(node);
  on_gone_(node, reason);
}

bool LocalDriver::end_everything() {
  const std::size_t left = kill_marked({"HOLDFAST_CLUSTER=" + options_.cluster}, SIGKILL);
  return left == 0 && watched_.empty() && sweeps_ == 0;
}

}  // namespace holdfast
