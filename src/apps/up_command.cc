// `holdfast up`, `down`, `server` and `agent`.

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "api/check_file.h"
#include "api/topology_file.h"
#include "apps/agent.h"
#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/key_views.h"
#include "apps/server.h"
#include "apps/server_config.h"
#include "apps/terminal.h"
#include "apps/up.h"
#include "drivers/recorded_machine.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/process.h"
#include "io/s3_config.h"

namespace holdfast {
namespace {

constexpr Duration kUpTimeout = seconds(60);
constexpr Duration kTellEvery = seconds(15);
constexpr std::size_t kSuspectsWidth = 500;  // there may be thousands
constexpr const char* kAllChecks =
    "on_start: [InstanceStress, InstanceConnectivity]\n"
    "after_repair: [InstanceStress, InstanceConnectivity]\n";
constexpr std::size_t kChecksFileMax = 64 * 1024;
constexpr Duration kDownTimeout = seconds(75);  // the server's own limit is shorter
constexpr auto kPoll = std::chrono::milliseconds(50);

std::string absolute(const std::string& path) {
  if (path.starts_with("/")) return path;
  char buffer[4096];
  return ::getcwd(buffer, sizeof buffer) == nullptr ? path : std::string(buffer) + "/" + path;
}

void log_to_stderr() {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("holdfast"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  spdlog::flush_on(spdlog::level::info);
}

// The last error that a server which did not come up has left.
Error why_not_up(const std::string& state) {
  const Result<std::string> log = read_file(state + "/server.log", 64 << 20);
  constexpr std::string_view kMark = "holdfast: HF";
  if (log.ok())
    if (const auto at = log->rfind(kMark); at != std::string::npos) {
      const std::string line = log->substr(at + 10, log->find('\n', at) - at - 10);
      for (const Errc errc :
           {Errc::kPortInUse, Errc::kStateLocked, Errc::kStateCorrupt, Errc::kIo, Errc::kDiskFull})
        if (line.starts_with(code_of(errc))) return {errc, line.substr(line.find(": ") + 2)};
      return {Errc::kUnavailable, line};
    }
  return {Errc::kUnavailable,
          "the control plane did not come up; look at " + state + "/server.log"};
}

Result<pid_t> start_keeper(const std::string& state) {
  return spawn({.argv = {"/proc/self/exe", "server", "--keep", "--state", state},
                .environment = own_environment(),
                .log_file = state + "/server.log"});
}

struct Members {
  std::size_t ready = 0;
  std::size_t checked = 0;   // now
  std::size_t scripted = 0;  // likewise
  std::size_t coming = 0;    // their machine is being got
  std::size_t without = 0;   // there is none for them now
  std::size_t suspect = 0;   // up, and kept from work: it may last until a person has looked
  std::size_t all = 0;
  std::string suspects;  // and what is wrong with them
};

Members members_of(const nlohmann::json& status) {
  Members members;
  for (const auto& node : at(status, "nodes")) {
    ++members.all;
    if (text_at(node, "state") == "healthy") ++members.ready;
    if (text_at(node, "state") == "suspect") {
      members.suspects += (members.suspect++ == 0 ? "" : "; ") + text_at(node, "id") + ": " +
                          text_at(node, "reason");
    }
    if (text_at(node, "state") == "deep_health_check") ++members.checked;
    if (text_at(node, "state") == "provisioning")
      ++(at(node, "no_capacity") == true ? members.without : members.coming);
    if (text_at(node, "state") == "lifecycle_script" &&
        text_at(at(node, "lifecycle"), "status") == "InProgress")
      ++members.scripted;
  }
  return members;
}

volatile std::sig_atomic_t interrupted = 0;

// What `up` waits for, and for how long.
//
// Machines from elsewhere come when they come: as long as their provider is at work on one, it is
// waited for. The control plane itself gives up when three in a row have failed, or after 3 hours,
// and deep checks and lifecycle scripts have budgets of their own. What is left, an agent that has
// been started and does not join, has kUpTimeout from the last time that any node got further.
class Awaited {
 public:
  explicit Awaited(const std::string& provider)
      : has_slow_provider_(provider != "local" && provider != "external") {}

  [[nodiscard]] bool is_overdue() const { return monotonic_ns() > deadline_; }
  // A machine is being got.
  [[nodiscard]] bool is_coming() const { return is_coming_; }
  void look(const nlohmann::json& status, bool show) {
    const Members members = members_of(status);
    is_coming_ = members.coming > 0;
    std::string states, coming;
    for (const auto& node : at(status, "nodes")) {
      const std::string state = text_at(node, "state");
      states += text_at(node, "id") + state + " ";
      if (state != "healthy")
        coming += (coming.empty() ? "" : ", ") + text_at(node, "id") + " (" + state + ")";
    }
    const bool has_moved = std::exchange(states_, states) != states;
    if (has_moved) told_at_ = monotonic_ns();
    if (has_moved || members.checked > 0 || members.scripted > 0 ||
        (has_slow_provider_ && is_coming()))
      deadline_ = monotonic_ns() + kUpTimeout.ns;
    if (!show) return;
    if (std::exchange(shown_, members.ready) != members.ready)
      say(std::to_string(members.ready) + " of " + std::to_string(members.all) + " nodes are up");
    if (members.checked > 0 && !std::exchange(told_of_checks_, true))
      say("deep checks run; see `holdfast node check --watch`");
    if (monotonic_ns() - told_at_ < kTellEvery.ns) return;
    told_at_ = monotonic_ns();
    say("waiting for " + coming);
  }

 private:
  const bool has_slow_provider_;
  std::int64_t deadline_ = monotonic_ns() + kUpTimeout.ns;
  std::int64_t told_at_ = monotonic_ns();
  std::string states_;
  std::size_t shown_ = 0;
  bool told_of_checks_ = false;
  bool is_coming_ = false;
};

// Until every node has joined, those included that are kept from work; null: the person has
// interrupted it. `keeper` 0: the control plane was running already.
Result<nlohmann::json> wait_until_up(const std::string& state, pid_t keeper, bool show) {
  HF_TRY(const ServerConfig config, read_server_config(state));
  Awaited awaited(config.provider);
  while (!awaited.is_overdue()) {
    HF_TRY(ControlPlane control_plane, ControlPlane::open(state));
    const Result<nlohmann::json> status = control_plane.get("/v1/status", seconds(5));
    if (status.ok()) {
      awaited.look(*status, show);
      const Members members = members_of(*status);
      if (members.all > 0 && members.ready == members.all) return *status;
      const std::string phase = text_at(*status, "phase");
      if (phase == word_of(ClusterPhase::kDeleting))
        return Error{Errc::kWrongState,
                     "cluster: '" + config.spec.name +
                         "' was deleted, and its server goes on: `holdfast cluster create` makes "
                         "another one; `holdfast down` and then `holdfast up` make this one anew"};
      const bool is_settled = phase == word_of(ClusterPhase::kInService) &&
                              members.ready + members.suspect + members.without == members.all;
      if (is_settled && members.without == 0 && members.all > 0) return *status;
      if (is_settled && members.without > 0)
        return Error{Errc::kUnavailable,
                     "cluster: '" + config.spec.name + "' is up with " +
                         std::to_string(members.ready) + " of " + std::to_string(members.all) +
                         " nodes; its provider has no machines for the others, and is asked for "
                         "them again: `holdfast status`"};
      if (phase == word_of(ClusterPhase::kFailed) && !awaited.is_coming())
        return Error{Errc::kUnavailable, "cluster: '" + config.spec.name +
                                             "' has failed: " + text_at(*status, "failure")};
    } else if (status.error().code != Errc::kUnavailable && keeper == 0) {
      return status.error();  // else it is somebody else's answer: our server will say so and end
    }
    for (const Reaped& ended : reap())
      if (ended.pid == keeper) return why_not_up(state);
    if (interrupted != 0) return nlohmann::json();
    std::this_thread::sleep_for(kPoll);
  }
  return Error{Errc::kUnavailable, "no node got further within " +
                                       std::to_string(kUpTimeout.ms() / 1000) + " s; look at " +
                                       state + "/nodes/*/agent.log"};
}

// What its nodes watch: files that they find wherever they start, and that can be read now.
Result<void> settle_watched(UpRequest& request) {
  constexpr std::string_view kRecorded = "recorded:";
  if (request.devices.starts_with(kRecorded)) {
    const std::string file = absolute(request.devices.substr(kRecorded.size()));
    HF_TRY(const std::string text, read_file(file, 1 << 20));
    HF_TRY_VOID(parse_recorded_machine(text, file));
    request.devices = std::string(kRecorded) + file;
  } else if (request.devices != "auto" && request.devices != "none") {
    return Error{Errc::kInvalidField, "devices: '" + request.devices +
                                          "' is not known; give auto, none or recorded:FILE"};
  }
  // A machine of its own is watched whole, one that nodes share is not.
  if (request.host.empty()) request.host = request.provider == "local" ? "none" : "/";
  if (request.host != "none") request.host = absolute(request.host);
  for (const std::string kind : {"exec:", "ssh:"})
    if (request.provider.starts_with(kind))
      request.provider = kind + absolute(request.provider.substr(kind.size()));
  std::string& source = request.spec.groups.front().lifecycle.source;
  if (!source.empty() && !is_s3_url(source)) source = absolute(source);
  return {};
}

// What `up` has left in client/credentials, a file of AWS's tools.
Result<AwsCredentials> read_first_key(const std::string& state) {
  const std::string path = state + "/client/credentials";
  HF_TRY(const std::string text, read_file(path, kChecksFileMax));
  HF_TRY(AwsFile file, parse_aws_file(text, path));
  auto& section = file["default"];
  return AwsCredentials{section["aws_access_key_id"], section["aws_secret_access_key"], ""};
}

Result<int> up(const UpRequest& request, bool json) {
  HF_TRY_VOID(prepare_state(request));
  HF_TRY(ControlPlane control_plane, ControlPlane::open(request.state));
  const bool running = control_plane.get("/v1/status", seconds(5)).ok();
  pid_t keeper = 0;
  if (!running) {
    HF_TRY(keeper, start_keeper(request.state));
  }
  // Its control plane has a session of its own, and goes on.
  ::signal(SIGINT, [](int) { interrupted = 1; });
  HF_TRY(const nlohmann::json status, wait_until_up(request.state, keeper, !json));
  if (status.is_null()) {
    say("interrupted; the cluster is still being made. Watch it with `holdfast status --state " +
        request.state + "`, end it with `holdfast down --state " + request.state + "`");
    return 128 + SIGINT;
  }
  if (json) {
    HF_TRY(const ServerConfig config, read_server_config(request.state));
    HF_TRY(const AwsCredentials key, read_first_key(request.state));
    nlohmann::json nodes = nlohmann::json::array();
    for (const auto& node : at(status, "nodes")) nodes.push_back(text_at(node, "id"));
    print(nlohmann::json{
              {"state", request.state},
              {"cluster", text_at(status, "cluster")},
              {"api", "https://" + config.host + ":" + std::to_string(config.api_port)},
              {"api_endpoint", std::string(config.host == "127.0.0.1" ? "http" : "https") + "://" +
                                   config.host + ":" + std::to_string(config.hyperpod_port)},
              {"region", kRegion},
              {"access_key_id", key.access_key_id},
              {"secret_access_key", key.secret_access_key},
              {"server_pid", whole_at(status, "server_pid")},
              {"nodes", nodes},
              {"was_running", running}}
              .dump() +
          "\n");
    return 0;
  }
  const Members members = members_of(status);
  print("cluster '" + text_at(status, "cluster") + "' is up: " + std::to_string(members.ready) +
        " nodes, state in " + request.state + "\n");
  if (members.suspect > 0)
    say(std::to_string(members.suspect) + " of " + std::to_string(members.all) +
        " nodes are kept from work: " + clip(without_controls(members.suspects), kSuspectsWidth) +
        "; see `holdfast node list`");
  return 0;
}

Result<void> wait_for_end(const std::string& state, pid_t server) {
  const auto started = start_time(server);
  const std::int64_t deadline = monotonic_ns() + kDownTimeout.ns;
  while (start_time(server) == started && !process_state(server).starts_with("Z")) {
    if (monotonic_ns() > deadline)
      return Error{Errc::kUnavailable, "the control plane (pid " + std::to_string(server) +
                                           ") does not end; look at " + state + "/server.log"};
    std::this_thread::sleep_for(kPoll);
  }
  return {};
}

// A control plane that is dead cannot end its nodes, which live on without it.
Result<void> end_without_server(const std::string& state) {
  say("the control plane does not run; ending what is left of the cluster");
  HF_TRY(const pid_t ending, spawn({.argv = {"/proc/self/exe", "server", "--end", "--state", state},
                                    .environment = own_environment(),
                                    .log_file = state + "/server.log"}));
  const auto ended = wait_for_child();
  if (!ended || ended->pid != ending || ended->status.signal != 0 || ended->status.code != 0)
    return why_not_up(state);
  return {};
}

Result<int> down(const std::string& state) {
  HF_TRY(ControlPlane control_plane, ControlPlane::open(state));
  const std::int64_t deadline = monotonic_ns() + kDownTimeout.ns;
  for (;;) {
    const Result<nlohmann::json> status = control_plane.get("/v1/status");
    if (status.ok()) {
      HF_TRY(const nlohmann::json accepted, control_plane.post("/v1/down"));
      HF_TRY_VOID(wait_for_end(state, static_cast<pid_t>(whole_at(*status, "server_pid"))));
      break;
    }
    if (status.error().code != Errc::kUnavailable) return status.error();
    const Result<void> ended = end_without_server(state);
    if (ended.ok()) break;
    // It is being started again at this moment.
    if (ended.error().code != Errc::kStateLocked || monotonic_ns() > deadline) return ended.error();
    std::this_thread::sleep_for(kPoll);
  }
  say("the cluster is down; its state stays in " + state);
  return 0;
}

// What its machines are, and what makes them nodes: the scripts, once the line is parsed.
std::shared_ptr<LifecycleScripts> add_machine_options(CLI::App& command, UpRequest& request) {
  command
      .add_option("--devices", request.devices,
                  "What the nodes take for their accelerators: auto (NVIDIA's library, where it is "
                  "installed), none, or recorded:FILE, a recorded machine behind a test double of "
                  "that library, which `holdfast chaos gpu` changes")
      ->capture_default_str();
  command.add_option(
      "--host-root", request.host,
      "What the nodes take for their host: none (they share this one: the default for "
      "local machines), / or a folder with a recorded /proc and /sys");
  command
      .add_option("--provider", request.provider,
                  "Where machines come from: local (each node is a process of this host), "
                  "exec:FOLDER (programs of yours get them), ssh:INVENTORY (machines that you "
                  "have), external (you start the agents)")
      ->capture_default_str();
  command.add_option("--listen", request.address,
                     "Address of this host that the nodes reach it at (default: 127.0.0.1)");
  auto scripts = std::make_shared<LifecycleScripts>();
  auto* source = command.add_option("--lifecycle", scripts->source,
                                    "Folder, or s3://BUCKET/PREFIX, of the lifecycle scripts that "
                                    "make a machine a node: docs/lifecycle.md");
  command.add_option("--on-create", scripts->on_create, "The one that runs")->needs(source);
  command
      .add_option("--on-init-complete", scripts->on_init_complete, "The one that runs afterwards")
      ->needs(source);
  return scripts;
}

}  // namespace

void add_up(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("up", "Start a cluster on this machine");
  auto request = std::make_shared<UpRequest>();
  auto json = std::make_shared<bool>(false);
  request->spec = {.name = "default", .groups = one_group(4, 1)};
  add_state_option(command, request->state);
  add_json_option(command, *json);
  command.add_option("--name", request->spec.name, "The cluster's name")->capture_default_str();
  auto* nodes =
      command.add_option("--nodes", request->spec.groups[0].count, "Nodes that jobs may use")
          ->check(CLI::Range(1, 256))
          ->capture_default_str();
  auto* spares =
      command.add_option("--spares", request->spec.groups[0].spares, "Nodes held in the warm pool")
          ->check(CLI::Range(0, 256))
          ->capture_default_str();
  command
      .add_option("--machines", request->spec.machines_max,
                  "Machines that there are in all: when they are used up, a lost node is not "
                  "replaced until `holdfast node add` (0: no end)")
      ->capture_default_str();
  command
      .add_option("--breaker-percent", request->spec.breaker_percent,
                  "When more than this share of the nodes looks bad at once, nothing is cordoned "
                  "and the operator is asked")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  const auto scripts = add_machine_options(command, *request);
  const auto* provider = command.get_option("--provider");
  auto deep_checks = std::make_shared<bool>(false);
  auto checks_file = std::make_shared<std::string>();
  auto topology_file = std::make_shared<std::string>();
  command.add_flag("--deep-checks", *deep_checks,
                   "No machine works before it has passed deep checks");
  command.add_option("--checks", *checks_file, "The same, as a file says: docs/checks.md");
  command.add_option("--port", request->api_port, "Port of the control API (0: a free one)");
  command.footer(
      "\nExamples:\n  holdfast up --nodes 4 --spares 1\n"
      "  holdfast up --nodes 3 --spares 1 --state /tmp/c1 --json\n");
  command.add_option("--topology", *topology_file,
                     "Slurm's topology.conf: which rack and spine each host hangs on");
  command.callback(
      [request, json, nodes, spares, provider, deep_checks, checks_file, topology_file, scripts] {
        if (!scripts->source.empty()) {
          if (scripts->on_create.empty() && scripts->on_init_complete.empty())
            scripts->on_create = "on_create.sh";
          request->spec.groups[0].lifecycle = *scripts;
        }
        request->spec_given = nodes->count() + spares->count() > 0;
        request->provider_given = provider->count() > 0;
        request->state = absolute(request->state);
        finish([&]() -> Result<int> {
          HF_TRY_VOID(settle_watched(*request));
          if (*deep_checks) request->checks = kAllChecks;
          if (!topology_file->empty()) {
            HF_TRY(request->topology, read_file(*topology_file, kTopologyFileMax));
            const auto topology = parse_topology_file(request->topology, *topology_file);
            if (!topology.ok()) return topology.error();
          }
          if (!checks_file->empty()) {
            HF_TRY(request->checks, read_file(*checks_file, kChecksFileMax));
            if (const auto read = parse_check_file(request->checks, *checks_file); !read.ok())
              return read.error();
          }
          return up(*request, *json);
        });
      });
}

void add_down(CLI::App& app) {
  CLI::App& command =
      *app.add_subcommand("down", "End the cluster of a state folder, and its jobs");
  auto state = std::make_shared<std::string>();
  add_state_option(command, *state);
  command.footer(
      "\nThe state folder stays: `holdfast up` makes the cluster anew with its history.\n");
  command.callback([state] { finish([&]() -> Result<int> { return down(absolute(*state)); }); });
}

void add_server(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("server", "Run the control plane (`up` does it for you)");
  auto state = std::make_shared<std::string>();
  auto keep = std::make_shared<bool>(false);
  auto end = std::make_shared<bool>(false);
  auto running_fd = std::make_shared<int>(-1);
  auto keeper = std::make_shared<int>(0);
  add_state_option(command, *state);
  command.add_flag("--keep", *keep, "Start it again when it dies");
  // What keepers, servers and `down` say to each other.
  command.add_flag("--end", *end)->group("");
  command.add_option("--running-fd", *running_fd)->group("");
  command.add_option("--keeper", *keeper)->group("");
  command.footer(
      "\nExample (under systemd, which restarts it):\n"
      "  holdfast server --state /var/lib/holdfast\n");
  command.callback([state, keep, end, running_fd, keeper] {
    log_to_stderr();
    finish([&]() -> Result<int> {
      if (*end) return end_clusters(absolute(*state));
      return *keep ? keep_serving(absolute(*state), *running_fd) : serve(absolute(*state), *keeper);
    });
  });
}

void add_agent(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("agent", "Run a node's agent");
  auto config = std::make_shared<AgentConfig>();
  command.add_option("--server", config->server, "Control plane, HOST:PORT")->required();
  command.add_option("--ca", config->ca, "The cluster's CA certificate")->required();
  command.add_option("--cluster", config->cluster, "The cluster's uuid")->required();
  command.add_option("--folder", config->folder, "This node's folder; holds join.token")
      ->required();
  command.add_option("--instance-type", config->instance_type,
                     "What machines of this kind are called: floors of deep checks go by it");
  command.add_option("--spine", config->spine, "The spine switch that it hangs on")
      ->envname("HOLDFAST_SPINE");
  command.add_option("--rack", config->rack, "Its rack: what fails together, and is near")
      ->envname("HOLDFAST_RACK");
  command.add_option("--address", config->address, "Where other nodes reach this one")
      ->capture_default_str();
  command.add_option(
      "--kernel-log", config->kernel_log,
      "Kernel log to watch (default: FOLDER/kernel.log; a machine of its own: /dev/kmsg)");
  command
      .add_option("--devices", config->devices,
                  "auto (NVIDIA's library, where it is installed), none, or recorded:FILE")
      ->capture_default_str();
  command
      .add_option("--host-root", config->host_root,
                  "The host that is watched: /, none, or a folder with a recorded /proc and /sys")
      ->capture_default_str();
  command
      .add_option("--probe-interval", config->probe_interval_s,
                  "Seconds from one look at devices and host to the next")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  command.footer(
      "\nExample:\n  holdfast agent --server 10.0.0.1:14000 --ca ca.crt --cluster UUID "
      "--folder /var/lib/holdfast-node --kernel-log /dev/kmsg\n");
  command.callback([config] {
    log_to_stderr();
    finish([&]() -> Result<int> { return run_agent(*config); });
  });
}

}  // namespace holdfast
