#include "apps/check_launcher.h"

#include <signal.h>

#include <chrono>
#include <utility>

#include <spdlog/spdlog.h>
#include <asio/post.hpp>

#include "apps/check_programs.h"
#include "io/files.h"
#include "io/process.h"

namespace holdfast {
namespace {

constexpr auto kSweep = std::chrono::milliseconds(5);
constexpr int kSweepsMax = 1000;
// The process ends its programs within the budget by itself, and needs a moment to tell.
constexpr std::chrono::seconds kTellGrace{7};

std::string name_of(const server_message::StartCheck& step) {
  return to_string(step.check) + ".s" + std::to_string(step.step);
}

}  // namespace

void CheckLauncher::start(const server_message::StartCheck& step) {
  stop();
  running_ = std::make_shared<Running>(context_);
  running_->step = step;
  running_->folder = folder_ + "/checks/" + name_of(step);
  running_->mark = "HOLDFAST_CHECK=" + to_string(node_) + "." + name_of(step);
  running_->group = make_group_(name_of(step));
  launch(running_);
}

void CheckLauncher::stop() {
  const Shared running = std::exchange(running_, nullptr);
  if (running == nullptr) return;
  asio::error_code ignored;
  running->ended.cancel(ignored);
  running->timer.cancel();
  kill_all(*running);
  sweep(running, kSweepsMax);
}

void CheckLauncher::launch(const Shared& running) {
  const auto fail = [&](const Error& error) {
    running->problem = error.detail;
    asio::post(context_, [this, running] { finish(running); });
  };
  static_cast<void>(remove_tree(running->folder));
  if (const auto written = write_check_step(running->folder, running->step); !written.ok())
    return fail(written.error());
  auto environment = own_environment();
  const std::size_t equals = running->mark.find('=');
  environment[running->mark.substr(0, equals)] = running->mark.substr(equals + 1);
  const Result<pid_t> pid = spawn(
      {.argv = {"/proc/self/exe", "check", "exec", running->folder, to_string(node_)},
       .environment = std::move(environment),
       .log_file = running->folder + "/log",
       .death_signal = SIGKILL,
       .procs_files = running->group ? running->group->procs_files() : std::vector<std::string>{}});
  if (!pid.ok()) return fail(pid.error());
  Result<UniqueFd> ended = open_pidfd(*pid);
  if (!ended.ok()) return fail(ended.error());
  running->ended.assign(ended->release());
  running->ended.async_wait(asio::posix::stream_descriptor::wait_read,
                            [this, running](const asio::error_code& error) {
                              if (error || running != running_) return;
                              running->timer.cancel();
                              sweep(running, kSweepsMax);
                            });
  running->timer.expires_after(std::chrono::nanoseconds(running->step.budget.ns) + kTellGrace);
  running->timer.async_wait([this, running](const asio::error_code& error) {
    if (error || running != running_) return;
    running->is_late = true;
    kill_all(*running);  // its end is seen like any other
  });
}

// True: nothing is left.
bool CheckLauncher::kill_all(Running& running) {
  const bool group_empty = !running.group || running.group->kill_all();
  return kill_marked({running.mark}, SIGKILL) == 0 && group_empty;
}

void CheckLauncher::sweep(const Shared& running, int sweeps_left) {
  if (!kill_all(*running) && sweeps_left > 0) {
    auto timer = std::make_shared<asio::steady_timer>(context_, kSweep);
    timer->async_wait([this, running, sweeps_left, timer](const asio::error_code& error) {
      if (!error) sweep(running, sweeps_left - 1);
    });
    return;
  }
  if (running->ended.is_open()) running->ended.close();
  if (running == running_) return finish(running);
  if (running->group) static_cast<void>(running->group->remove());
}

void CheckLauncher::finish(const Shared& running) {
  if (running != running_) return;
  const server_message::StartCheck& step = running->step;
  Result<agent_message::CheckReport> report = read_check_report(running->folder);
  // Killed by somebody before it could tell: once more, as its programs are.
  if (!report.ok() && running->problem.empty() && !running->is_late && running->attempt == 0) {
    ++running->attempt;
    return launch(running);
  }
  if (!report.ok() || report->check != step.check || report->step != step.step) {
    std::string reason = running->problem;
    if (reason.empty())
      reason = running->is_late
                   ? "did not end within its budget and was killed"
                   : "its process ended twice without a result; see " + running->folder + "/log";
    report = agent_message::CheckReport{.check = step.check,
                                        .step = step.step,
                                        .results = {{.test = step.test,
                                                     .node = node_,
                                                     .verdict = CheckVerdict::kFailed,
                                                     .action = Action::kRebootNode,
                                                     .reason = reason}}};
  }
  if (running->group) static_cast<void>(running->group->remove());
  running_ = nullptr;
  done_(std::move(report).value());
}

}  // namespace holdfast
