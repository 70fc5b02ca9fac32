#include "apps/check_programs.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <map>
#include <thread>

#include <nlohmann/json.hpp>

#include "api/check_output.h"
#include "core/checks/plan.h"
#include "engine/checks/all_reduce.h"
#include "engine/checks/host_load.h"
#include "engine/checks/link_measure.h"
#include "io/captured_run.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/link_codec.h"

namespace holdfast {
namespace {

using nlohmann::json;
using server_message::StartCheck;

constexpr std::size_t kFileMax = 8 << 20;

// The cores that this node has: on a machine that several nodes share, its part of them.
unsigned threads_of_node() {
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  const char* share = ::getenv("OMP_NUM_THREADS");
  const long threads = share == nullptr ? 0 : std::strtol(share, nullptr, 10);
  return threads > 0 ? std::min(cores, static_cast<unsigned>(threads)) : cores;
}

// Its part of half the memory that is free, and no more than the time could be enough for.
std::uint64_t memory_to_test(Duration load) {
  constexpr std::uint64_t kPerSecond = 512 << 20;  // and thread, at most: four patterns take longer
  std::uint64_t available = 1 << 30;
  if (const auto text = read_file("/proc/meminfo", 64 * 1024); text.ok())
    if (const auto at = text->find("MemAvailable:"); at != std::string::npos)
      available = std::strtoull(text->c_str() + at + 13, nullptr, 10) << 10;
  const char* nodes_here = ::getenv("HOLDFAST_NODES_HERE");
  const std::uint64_t nodes =
      std::max(1ul, nodes_here == nullptr ? 1 : std::strtoul(nodes_here, nullptr, 10));
  const std::uint64_t wanted = kPerSecond * threads_of_node() *
                               static_cast<std::uint64_t>(std::max<std::int64_t>(1, load.ms())) /
                               1000;
  return std::max<std::uint64_t>(std::min(available / 2 / nodes, wanted), 16 << 20);
}

json number(std::string_view test, double value, const char* unit) {
  return {{"test", test}, {"value", value}, {"unit", unit}};
}

json failed(std::string_view test, const std::string& reason, const char* action) {
  return {{"test", test}, {"verdict", "Failed"}, {"action", action}, {"reason", reason}};
}

json load_results(std::string_view test, const char* what, const LoadReport& report,
                  const char* unit) {
  json results = json::array();
  if (!report.wrong.empty()) results.push_back(failed(test, report.wrong, "replace"));
  results.push_back(number(std::string(test) + what, report.rate, unit));
  return results;
}

json memory_results(Duration load) {
  const auto report = load_memory(threads_of_node(), memory_to_test(load), load);
  if (!report.ok()) return json::array({failed("memory", report.error().detail, "reboot")});
  json results = load_results("memory", "_bandwidth", *report, "GB/s");
  if (report->wrong.empty())
    results.push_back(
        {{"test", "memory"},
         {"reason", std::to_string(report->bytes_tested >> 20) + " MiB hold four patterns"}});
  return results;
}

json link_results(const StartCheck& step, NodeId node) {
  if (step.peers.size() != 2 || step.position > 1)
    return json::array({failed("link", "a link has two ends", "none")});
  const server_message::CheckPeer& peer = step.peers[1 - step.position];
  const server_message::CheckPeer& listener = step.peers[0];
  const LinkSession session{.check = step.check,
                            .step = step.step,
                            .self = node,
                            .peer = peer.node,
                            .address = listener.address,
                            .port = listener.port,
                            .load = step.load,
                            .budget = step.budget * 3 / 4};
  json results = json::array();
  const auto failed_link = [&](const Error& error) {
    json result = failed("link", error.detail, "reboot");
    result["peer"] = peer.node.value;
    results.push_back(std::move(result));
  };
  if (step.position == 0) {
    if (const auto served = serve_link(session); !served.ok()) failed_link(served.error());
    return results;
  }
  const auto report = measure_link(session);
  if (!report.ok()) {
    failed_link(report.error());
    return results;
  }
  results.push_back(number("link", report->bandwidth, "GB/s"));
  results.push_back(number("link_latency", report->latency_us, "us"));
  results.back()["less_is_better"] = true;
  for (json& result : results) result["peer"] = peer.node.value;
  return results;
}

json all_reduce_results(const StartCheck& step, NodeId node) {
  RingSession session{.check = step.check,
                      .step = step.step,
                      .position = step.position,
                      .load = step.load,
                      .budget = step.budget * 3 / 4};
  for (const server_message::CheckPeer& peer : step.peers)
    session.ring.push_back({peer.node, peer.address, peer.port});
  const RingReport report = run_all_reduce(session);
  if (report.problem.empty()) return json::array({number("all_reduce", report.bandwidth, "GB/s")});
  json result = failed("all_reduce", report.problem, "reboot");
  if (report.is_echo) result["verdict"] = "Skipped";
  if (report.culprit && *report.culprit != node) result["peer"] = report.culprit->value;
  return json::array({result});
}

CheckOutput output_of(const CapturedRun& run) {
  return {.code = run.status.code,
          .signal = run.status.signal,
          .timed_out = run.timed_out,
          .flooded = run.flooded,
          .text = run.output,
          .took = run.took};
}

// Programs of one step, within what is left of its budget.
class Step {
 public:
  Step(const StartCheck& step, NodeId node, const std::string& folder)
      : step_(step), folder_(folder), deadline_(monotonic_ns() + step.budget.ns) {
    environment_ = own_environment();
    environment_["HOLDFAST_NODE"] = to_string(node);
    environment_["HOLDFAST_CHECK_LOAD_S"] =
        std::to_string(std::max<std::int64_t>(1, step.load.ms() / 1000));
  }

  // A program that was killed by somebody is no proof against the node: it is run once more.
  std::vector<CheckResult> run(
      const std::string& name, const std::vector<std::string>& argv,
      const std::function<std::vector<CheckResult>(const CheckOutput&)>& reader) {
    for (int attempt = 0;; ++attempt) {
      const Duration left{deadline_ - monotonic_ns()};
      if (left <= Duration{})
        return {{.test = name,
                 .verdict = CheckVerdict::kFailed,
                 .reason = "not begun: the step's budget was used up"}};
      const auto ran = run_captured({.program = {.argv = argv,
                                                 .environment = environment_,
                                                 .working_folder = folder_,
                                                 .death_signal = SIGKILL},
                                     .budget = left});
      if (!ran.ok())
        return {{.test = name, .verdict = CheckVerdict::kFailed, .reason = ran.error().detail}};
      const bool was_killed = ran->status.signal == SIGKILL && !ran->timed_out && !ran->flooded;
      if (!was_killed || attempt == 1) return reader(output_of(*ran));
    }
  }

  std::vector<CheckResult> builtin() {
    const std::string& test = step_.test;
    return run(test, {"/proc/self/exe", "check", "builtin", folder_},
               [&](const CheckOutput& output) { return read_check_output(test, output); });
  }

  std::vector<CheckResult> disk();
  std::vector<CheckResult> accelerator();
  std::vector<CheckResult> scripts();

 private:
  [[nodiscard]] std::string program(const std::string& name) const;

  const StartCheck& step_;
  const std::string folder_;
  const std::int64_t deadline_;
  std::map<std::string, std::string> environment_;
};

CheckResult skipped(const std::string& test, const std::string& reason) {
  return {.test = test, .verdict = CheckVerdict::kSkipped, .reason = reason};
}

// Where it is; empty: not on PATH.
std::string Step::program(const std::string& name) const {
  const auto found = environment_.find("PATH");
  std::string path = found == environment_.end() ? "/usr/bin:/bin" : found->second;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    const std::string candidate = path.substr(begin, end - begin) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    begin = end + 1;
  }
  return {};
}

std::vector<CheckResult> Step::disk() {
  const std::string fio = program("fio");
  if (fio.empty()) return {skipped("disk", "fio is not installed (Debian's package: fio)")};
  const std::string file = folder_ + "/fio.data";
  const std::int64_t mib = std::max<std::int64_t>(16, step_.load.ms() * 32 / 1000);
  std::vector<CheckResult> results;
  // Some file systems know no direct access (tmpfs): then the page cache is measured with it.
  for (const char* direct : {"--direct=1", "--direct=0"}) {
    results = run("disk",
                  {fio, "--name=deep-check", "--filename=" + file, "--rw=write", "--bs=1M",
                   "--size=" + std::to_string(mib) + "M", "--verify=crc32c", "--verify_fatal=1",
                   "--end_fsync=1", "--ioengine=psync", "--output-format=json", direct},
                  read_fio_output);
    const bool refused = std::any_of(results.begin(), results.end(), [](const CheckResult& result) {
      return result.log.find("direct=1") != std::string::npos ||
             result.log.find("Invalid argument") != std::string::npos;
    });
    if (!refused) break;
  }
  ::unlink(file.c_str());
  return results;
}

std::vector<CheckResult> Step::accelerator() {
  int devices = 0;
  while (::access(("/dev/nvidia" + std::to_string(devices)).c_str(), F_OK) == 0) ++devices;
  if (devices == 0)
    return {skipped("accelerator", "no NVIDIA accelerator: there is no /dev/nvidia0")};
  std::vector<CheckResult> results;
  const auto add = [&](std::vector<CheckResult> found) {
    std::move(found.begin(), found.end(), std::back_inserter(results));
  };
  char self[4096];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self - 1);
  std::string gemm(self, static_cast<std::size_t>(std::max<ssize_t>(0, length)));
  gemm = gemm.substr(0, gemm.rfind('/') + 1) + "holdfast-gemm-cuda";
  if (::access(gemm.c_str(), X_OK) == 0)
    add(run(
        "accelerator_gemm",
        {gemm, std::to_string(std::max<std::int64_t>(1, step_.load.ms() / 1000))},
        [](const CheckOutput& output) { return read_check_output("accelerator_gemm", output); }));
  else
    add({skipped("accelerator_gemm", gemm + " is not there: it is built where there is nvcc")});
  if (const std::string dcgmi = program("dcgmi"); !dcgmi.empty()) {
    // Each level takes longer than the one before it; the budget chooses.
    const std::int64_t s = step_.budget.ms() / 1000;
    const char* level = s < 300 ? "1" : s < 1800 ? "2" : s < 9000 ? "3" : "4";
    add(run("accelerator", {dcgmi, "diag", "-r", level, "-j"}, read_dcgmi_output));
  } else {
    add({skipped("accelerator", "dcgmi is not on PATH")});
  }
  if (const std::string nccl = program("all_reduce_perf"); !nccl.empty())
    add(run("nccl", {nccl, "-b", "8M", "-e", "256M", "-f", "2", "-g", std::to_string(devices)},
            read_nccl_output));
  else
    add({skipped("nccl", "all_reduce_perf of nccl-tests is not on PATH")});
  return results;
}

std::vector<CheckResult> Step::scripts() {
  std::vector<std::string> names;
  DIR* stream = ::opendir(step_.scripts.c_str());
  if (stream == nullptr)
    return {{.test = "scripts",
             .verdict = CheckVerdict::kFailed,
             .reason = "the folder " + step_.scripts + " cannot be read on this node"}};
  while (const dirent* entry = ::readdir(stream)) {
    struct stat status {};
    const std::string path = step_.scripts + "/" + entry->d_name;
    if (::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
        ::access(path.c_str(), X_OK) == 0)
      names.push_back(entry->d_name);
  }
  ::closedir(stream);
  std::sort(names.begin(), names.end());
  std::vector<CheckResult> results;
  for (const std::string& name : names)
    for (CheckResult& result :
         run(name, {step_.scripts + "/" + name},
             [&](const CheckOutput& output) { return read_check_output(name, output); }))
      results.push_back(std::move(result));
  if (results.empty()) results.push_back(skipped("scripts", "no program in " + step_.scripts));
  return results;
}

}  // namespace

std::vector<CheckResult> run_check_step(const StartCheck& step, NodeId node,
                                        const std::string& folder) {
  Step programs(step, node, folder);
  std::vector<CheckResult> results;
  if (step.test == check_test::kDisk)
    results = programs.disk();
  else if (step.test == check_test::kAccelerator)
    results = programs.accelerator();
  else if (step.test == check_test::kScripts)
    results = programs.scripts();
  else
    results = programs.builtin();
  // The end that listens has nothing to tell when all went well.
  std::erase_if(results, [&](const CheckResult& result) {
    return step.test == check_test::kLink && result.verdict == CheckVerdict::kPassed &&
           !result.peer;
  });
  for (CheckResult& result : results) result.node = node;
  return results;
}

std::string run_builtin_check(const StartCheck& step, NodeId node) {
  json results;
  if (step.test == check_test::kCpu)
    results = load_results("cpu", "_rate", load_cpu(threads_of_node(), step.load), "blocks/s");
  else if (step.test == check_test::kMemory)
    results = memory_results(step.load);
  else if (step.test == check_test::kGemm)
    results = load_results("gemm", "_rate", load_gemm(threads_of_node(), step.load), "GFLOP/s");
  else if (step.test == check_test::kLink)
    results = link_results(step, node);
  else if (step.test == check_test::kAllReduce)
    results = all_reduce_results(step, node);
  else
    results = json::array(
        {{{"verdict", "Skipped"}, {"reason", "this version of the agent does not know the test"}}});
  return json{{"results", results}}.dump();
}

Result<void> write_check_step(const std::string& folder, const StartCheck& step) {
  HF_TRY_VOID(make_folder(folder, 0700));
  return write_file_atomic(folder + "/step", to_wire(ServerMessage(step)).SerializeAsString(),
                           0600);
}

Result<StartCheck> read_check_step(const std::string& folder) {
  HF_TRY(const std::string bytes, read_file(folder + "/step", kFileMax));
  wire::ServerEnvelope envelope;
  if (!envelope.ParseFromString(bytes)) return Error{Errc::kUnparsable, folder + ": no step"};
  HF_TRY(const ServerMessage message, from_wire(envelope));
  const auto* step = std::get_if<StartCheck>(&message);
  if (step == nullptr) return Error{Errc::kUnparsable, folder + ": no step"};
  return *step;
}

Result<void> write_check_report(const std::string& folder,
                                const agent_message::CheckReport& report) {
  return write_file_atomic(folder + "/report", to_wire(AgentMessage(report)).SerializeAsString(),
                           0600);
}

Result<agent_message::CheckReport> read_check_report(const std::string& folder) {
  HF_TRY(const std::string bytes, read_file(folder + "/report", kFileMax));
  wire::AgentEnvelope envelope;
  if (!envelope.ParseFromString(bytes)) return Error{Errc::kUnparsable, folder + ": no report"};
  HF_TRY(AgentMessage message, from_wire(envelope));
  auto* report = std::get_if<agent_message::CheckReport>(&message);
  if (report == nullptr) return Error{Errc::kUnparsable, folder + ": no report"};
  return std::move(*report);
}

}  // namespace holdfast
