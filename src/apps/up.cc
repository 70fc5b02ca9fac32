#include "apps/up.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/keeper_watch.h"
#include "apps/key_views.h"
#include "apps/providers.h"
#include "apps/server_config.h"
#include "io/certificates.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/process.h"
#include "io/random.h"
#include "io/sockets.h"

namespace holdfast {
namespace {

constexpr Duration kOperatorCertificateLifetime = seconds(365ll * 24 * 3600);
constexpr std::uint16_t kPortFirst = 14000;

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::set<std::string> entries_of(const std::string& folder) {
  std::set<std::string> entries;
  DIR* stream = ::opendir(folder.c_str());
  if (stream == nullptr) return entries;
  while (const dirent* entry = ::readdir(stream)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") entries.insert(name);
  }
  ::closedir(stream);
  return entries;
}

// The folder must be new, or what an interrupted `up` left.
Result<void> claim_folder(const std::string& state) {
  HF_TRY_VOID(make_folder(state, 0700));
  for (const std::string& entry : entries_of(state)) {
    if (entry == "ca" || entry == "client" || entry == "client.json" || entry == "server.log" ||
        entry == "checks.yaml" || entry == "topology.conf" || entry == "lock" ||
        entry == "access_keys.json" || entry == "access_keys.key")
      continue;
    return Error{Errc::kStateCorrupt, "state: " + state + " holds '" + entry +
                                          "' and is no Holdfast state folder; give an empty or a "
                                          "new folder with --state"};
  }
  for (const char* made : {"/ca", "/access_keys.json", "/access_keys.key"})
    HF_TRY_VOID(remove_tree(state + made));
  return remove_tree(state + "/client");
}

Result<void> write_client(const std::string& state, const ServerConfig& config,
                          const ClusterCa& ca) {
  HF_TRY(const Credentials operator_credentials,
         ca.issue("operator", Role::kOperator, {}, kOperatorCertificateLifetime, wall_now()));
  HF_TRY_VOID(make_folder(state + "/client", 0700));
  HF_TRY_VOID(write_file_atomic(state + "/client/operator.crt",
                                operator_credentials.certificate_pem, 0600));
  HF_TRY_VOID(
      write_file_atomic(state + "/client/operator.key", operator_credentials.key_pem, 0600));
  const nlohmann::json client{
      {"api", "https://" + config.host + ":" + std::to_string(config.api_port)},
      {"ca", "ca/ca.crt"},
      {"cert", "client/operator.crt"},
      {"key", "client/operator.key"},
      {"cluster", config.spec.name}};
  return write_file_atomic(state + "/client.json", client.dump(2) + "\n", 0600);
}

Result<void> check_same(const UpRequest& request, const ServerConfig& config) {
  const auto differs = [&](const char* field, std::uint32_t has, std::uint32_t asked) {
    return Error{Errc::kWrongState,
                 std::string(field) + ": the cluster in " + request.state + " has " +
                     std::to_string(has) + ", not " + std::to_string(asked) +
                     "; leave the option out to use it, or give another --state"};
  };
  if (request.api_port != 0 && request.api_port != config.api_port)
    return differs("port", config.api_port, request.api_port);
  if (request.provider_given && request.provider != config.provider)
    return Error{Errc::kWrongState,
                 "provider: the machines of the cluster in " + request.state + " come from '" +
                     config.provider + "', not '" + request.provider +
                     "'; leave the option out to use it, or give another --state"};
  if (!request.spec_given) return {};
  if (request.spec.nodes() != config.spec.nodes())
    return differs("nodes", config.spec.nodes(), request.spec.nodes());
  if (request.spec.spares() != config.spec.spares())
    return differs("spares", config.spec.spares(), request.spec.spares());
  return {};
}

// Starting again would give the same error.
bool is_final(const ExitStatus& status) {
  return status.signal == 0 && (status.code == kExitOk || status.code == kExitBadInput ||
                                status.code == kExitMachine || status.code == kExitDenied);
}

}  // namespace

Result<void> prepare_state(const UpRequest& request) {
  if (exists(request.state + "/cluster.json")) {
    HF_TRY(const ServerConfig config, read_server_config(request.state));
    return check_same(request, config);
  }
  ServerConfig config;
  HF_TRY_VOID(check_provider(request.provider));
  config.provider = request.provider;
  if (!request.address.empty()) config.host = request.address;
  if (request.api_port != 0) HF_TRY_VOID(check_port(config.host, request.api_port));
  HF_TRY_VOID(claim_folder(request.state));
  config.uuid = new_uuid();
  config.spec = request.spec;
  config.spec.id = new_arn_id();
  config.spec.created = wall_now();
  config.devices = request.devices;
  config.host_root = request.host;
  const auto hint = static_cast<std::uint16_t>(kPortFirst + (::getpid() * 13) % 5000);
  HF_TRY(config.link_port, free_server_port(config.host, hint));
  config.api_port = request.api_port;
  if (config.api_port == 0) {
    const auto next = static_cast<std::uint16_t>(config.link_port + 1);
    HF_TRY(config.api_port, free_server_port(config.host, next));
  }
  const auto last = static_cast<std::uint16_t>(std::max(config.link_port, config.api_port) + 1);
  HF_TRY(config.hyperpod_port, free_server_port(config.host, last));
  HF_TRY_VOID(make_folder(request.state + "/ca", 0700));
  HF_TRY(const ClusterCa ca, ClusterCa::create(request.state + "/ca", config.uuid, wall_now()));
  HF_TRY_VOID(write_client(request.state, config, ca));
  HF_TRY_VOID(make_first_key(request.state, wall_now()));
  if (!request.checks.empty())
    HF_TRY_VOID(write_file_atomic(request.state + "/checks.yaml", request.checks, 0600));
  if (!request.topology.empty())
    HF_TRY_VOID(write_file_atomic(request.state + "/topology.conf", request.topology, 0600));
  return write_server_config(request.state, config);
}

Result<int> keep_serving(const std::string& state, int running_fd) {
  // Agents outlive a server that dies; they become ours, and are reaped.
  HF_TRY_VOID(become_subreaper());
  if (running_fd >= 0) {
    const int word = last_word(running_fd);
    if (word >= 0 && is_final({.code = word})) return word;
  }
  auto pause = std::chrono::milliseconds(50);
  for (;;) {
    const std::int64_t started = monotonic_ns();
    HF_TRY(const pid_t server, spawn({.argv = {"/proc/self/exe", "server", "--keeper",
                                               std::to_string(::getpid()), "--state", state},
                                      .environment = own_environment(),
                                      .log_file = state + "/server.log"}));
    std::optional<Reaped> ended;
    do {
      ended = wait_for_child();
    } while (ended && ended->pid != server);
    if (!ended) return Error{Errc::kIo, "the server process cannot be waited for"};
    if (is_final(ended->status)) return ended->status.code;
    spdlog::warn("the server ended ({} {}); it is started again",
                 ended->status.signal != 0 ? "signal" : "status",
                 ended->status.signal != 0 ? ended->status.signal : ended->status.code);
    // At once the first time: training has noticed nothing yet. Slower while it keeps dying.
    if (monotonic_ns() - started > 10'000'000'000) pause = std::chrono::milliseconds(50);
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(5000));
  }
}

}  // namespace holdfast
