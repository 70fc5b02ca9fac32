#include "apps/lifecycle_runner.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <utility>

#include <spdlog/spdlog.h>
#include <asio/post.hpp>

#include "io/clock.h"
#include "io/file_pack.h"
#include "io/files.h"
#include "io/link_codec.h"

namespace holdfast {
namespace {

constexpr Duration kAskAgain = seconds(10);  // an answer that has not come by then is lost
constexpr Duration kSweep = milliseconds(10);
constexpr int kSweepsMax = 500;
constexpr std::size_t kTailKept = 4096;
constexpr std::size_t kReportMax = 64 * 1024;

std::string tail_of(const std::string& path, std::int64_t begins) {
  const auto fd = open_file(path, O_RDONLY);
  struct stat status {};
  if (!fd.ok() || ::fstat(fd->get(), &status) != 0) return {};
  const std::int64_t from =
      std::max<std::int64_t>(begins, status.st_size - static_cast<std::int64_t>(kTailKept));
  std::string text(static_cast<std::size_t>(std::max<std::int64_t>(0, status.st_size - from)), ' ');
  const ssize_t n = ::pread(fd->get(), text.data(), text.size(), from);
  text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return text;
}

std::string how_ended(const ExitStatus& status) {
  if (status.signal != 0) return "was killed by signal " + std::to_string(status.signal);
  return "ended with exit status " + std::to_string(status.code);
}

}  // namespace

std::string lifecycle_config_folder(const std::string& node_folder, bool has_own_machine) {
  if (const char* given = ::getenv("HOLDFAST_ML_CONFIG"); given != nullptr && *given != '\0')
    return given;
  return has_own_machine && ::geteuid() == 0 ? "/opt/ml/config" : node_folder + "/opt/ml/config";
}

std::string LifecycleRunner::mark() const {
  return options_.cluster + "." + to_string(options_.node);
}

agent_event::LifecycleFound LifecycleRunner::found() const {
  agent_event::LifecycleFound found;
  if (const auto text = read_file(running_path(), 64); text.ok())
    std::from_chars(text->data(), text->data() + text->size(), found.cut_off);
  const auto bytes = read_file(report_path(), kReportMax);
  wire::AgentEnvelope envelope;
  if (!bytes.ok() || !envelope.ParseFromString(*bytes)) return found;
  const auto message = from_wire(envelope);
  if (!message.ok()) return found;
  if (const auto* report = std::get_if<agent_message::LifecycleReported>(&*message))
    found.done = *report;
  return found;
}

void LifecycleRunner::keep(const agent_message::LifecycleReported& report) {
  const auto written =
      write_file_atomic(report_path(), to_wire(AgentMessage(report)).SerializeAsString(), 0600);
  if (!written.ok()) spdlog::warn("{}", written.error().text());
  ::unlink(running_path().c_str());
}

void LifecycleRunner::log(const std::string& line) const {
  static_cast<void>(append_line(log_path(options_.folder), "holdfast: " + line));
}

void LifecycleRunner::start(const server_message::RunLifecycle& start) {
  stop();
  run_ = start;
  deadline_ns_ = monotonic_ns() + start.try_max.ns;
  pack_.clear();
  config_files_.clear();
  struct stat status {};
  log_begins_ = ::stat(log_path(options_.folder).c_str(), &status) == 0 ? status.st_size : 0;
  log("run " + std::to_string(start.run) + " of the lifecycle scripts");
  phase_ = Phase::kFetching;
  Result<void> ready = make_folder(options_.folder + "/lifecycle", 0700);
  if (ready.ok()) ready = write_file_atomic(running_path(), std::to_string(start.run), 0600);
  ::unlink(report_path().c_str());
  if (!ready.ok()) return fail(ready.error().text());
  clear_away(kSweepsMax);
}

// What a try before this one has left, perhaps of an agent that died in the middle. Again and
// again: a process that is just becoming another program is not seen.
void LifecycleRunner::clear_away(int rounds_left) {
  const std::size_t left = kill_marked({"HOLDFAST_LIFECYCLE=" + mark()}, SIGKILL);
  if (left == 0 || rounds_left == 0) return ask();
  arm(kSweep, [this, rounds_left] { clear_away(rounds_left - 1); });
}

void LifecycleRunner::stop() {
  timer_.cancel();
  if (phase_ != Phase::kIdle) kill_marked({"HOLDFAST_LIFECYCLE=" + mark()}, SIGKILL);
  phase_ = Phase::kIdle;
  pid_ = 0;
}

void LifecycleRunner::arm(Duration after, std::function<void()> then) {
  timer_.expires_after(std::chrono::nanoseconds(after.ns));
  timer_.async_wait([then = std::move(then)](const asio::error_code& error) {
    if (!error) then();
  });
}

// For what is missing of the files, until they are there.
void LifecycleRunner::ask() {
  if (monotonic_ns() > deadline_ns_) return fail("the files of the scripts did not come in time");
  listener_.send_to_server({run_.run, pack_.size()});
  arm(kAskAgain, [this] { ask(); });
}

void LifecycleRunner::take(server_message::LifecycleFiles files) {
  if (phase_ != Phase::kFetching || files.run != run_.run) return;
  if (files.offset == 0) pack_.clear();  // also from a control plane that has restarted meanwhile
  if (files.offset != pack_.size()) return;
  if (!files.error.empty()) return fail(files.error);
  if (files.bytes_in_all > kFilePackMax || pack_.size() + files.bytes.size() > files.bytes_in_all)
    return fail("the files of the scripts are larger than they may be");
  if (files.offset == 0) config_files_ = std::move(files.config);
  pack_ += files.bytes;
  if (pack_.size() < files.bytes_in_all) return ask();
  if (const Result<void> unpacked = unpack(); !unpacked.ok()) return fail(unpacked.error().text());
  programs_.clear();
  for (const std::string& program : {run_.on_init_complete, run_.on_create})
    if (!program.empty()) programs_.push_back(program);
  phase_ = Phase::kRunning;
  arm(Duration{deadline_ns_ - monotonic_ns()}, [this] {
    fail(program_ + " did not end within " + std::to_string(run_.try_max.ms() / 1000) + " s");
  });
  next_program();
}

Result<void> LifecycleRunner::unpack() {
  HF_TRY(const std::vector<PackedFile> files, unpack_files(pack_));
  pack_.clear();
  HF_TRY_VOID(write_folder(scripts(), files));
  HF_TRY_VOID(make_folder(options_.config, 0755));
  for (const auto& [name, text] : config_files_) {
    if (name.find('/') != std::string::npos || name.starts_with("."))
      return Error{Errc::kInvalidField, "config: '" + name + "' is no file name"};
    HF_TRY_VOID(write_file_atomic(options_.config + "/" + name, text, 0644));
  }
  for (const PackedFile& file : files)
    if (file.path == "provisioning_parameters.json")
      HF_TRY_VOID(write_file_atomic(options_.config + "/" + file.path, file.content, 0644));
  return {};
}

void LifecycleRunner::next_program() {
  if (programs_.empty()) return end(true, "");
  program_ = programs_.back();
  programs_.pop_back();
  const std::string path = scripts() + "/" + program_;
  log("running " + program_);
  ::chmod(path.c_str(), 0755);  // an object store knows no modes
  SpawnSpec spec{.argv = {path},
                 .environment = options_.environment,
                 .working_folder = scripts(),
                 .log_file = log_path(options_.folder),
                 .death_signal = SIGKILL};
  spec.environment["HOLDFAST_NODE"] = to_string(options_.node);
  spec.environment["HOLDFAST_CLUSTER"] = options_.cluster;
  spec.environment["HOLDFAST_LIFECYCLE"] = mark();
  spec.environment["HOLDFAST_ML_CONFIG"] = options_.config;
  // As HyperPod's own scripts look for it.
  spec.environment["SAGEMAKER_RESOURCE_CONFIG_PATH"] = options_.config + "/resource_config.json";
  const Result<pid_t> pid = spawn(spec);
  if (!pid.ok()) return fail(pid.error().text());
  pid_ = *pid;
  listener_.program_started(pid_);
}

void LifecycleRunner::program_ended(pid_t pid, const ExitStatus& status) {
  if (pid != pid_ || phase_ != Phase::kRunning) return;
  pid_ = 0;
  if (status.signal != 0 || status.code != 0) return fail(program_ + " " + how_ended(status));
  next_program();
}

void LifecycleRunner::fail(const std::string& reason) {
  timer_.cancel();
  phase_ = Phase::kEnding;
  log("failed: " + reason);
  asio::post(context_, [this, reason, run = run_.run] {
    if (phase_ == Phase::kEnding && run == run_.run) sweep(kSweepsMax, reason);
  });
}

// Nothing of a try that failed is in the way of the next one.
void LifecycleRunner::sweep(int rounds_left, const std::string& reason) {
  const std::size_t left = kill_marked({"HOLDFAST_LIFECYCLE=" + mark()}, SIGKILL);
  if (left == 0 || rounds_left == 0) return end(false, reason);
  arm(kSweep, [this, rounds_left, reason] { sweep(rounds_left - 1, reason); });
}

void LifecycleRunner::end(bool ok, const std::string& reason) {
  timer_.cancel();
  phase_ = Phase::kIdle;
  pid_ = 0;
  if (ok) log("succeeded");
  listener_.lifecycle_tried(
      {run_.run, ok, reason, tail_of(log_path(options_.folder), log_begins_)});
}

}  // namespace holdfast
