#include "apps/providers.h"

#include <unistd.h>

#include <cstdlib>
#include <utility>
#include <vector>

#include "api/inventory_file.h"
#include "drivers/exec.h"
#include "drivers/external.h"
#include "drivers/local.h"
#include "drivers/ssh.h"
#include "io/clock.h"
#include "io/files.h"

namespace holdfast {
namespace {

constexpr std::string_view kExec = "exec:", kSsh = "ssh:";
constexpr std::size_t kInventoryMax = 1 << 20;
constexpr std::size_t kCaMax = 64 * 1024;

Result<Inventory> read_inventory(const std::string& file) {
  HF_TRY(const std::string text, read_file(file, kInventoryMax));
  const std::size_t slash = file.rfind('/');
  HF_TRY(Inventory inventory,
         parse_inventory_file(text, file, slash == file.npos ? "." : file.substr(0, slash)));
  if (::access(inventory.known_hosts.c_str(), R_OK) != 0)
    return Error{Errc::kNotFound, file + ": known_hosts: " + inventory.known_hosts +
                                      " cannot be read; write it with `ssh-keyscan` and check the "
                                      "keys, for no other machine is trusted"};
  return inventory;
}

// What every agent is told; a machine of its own is watched whole.
std::vector<std::string> agent_arguments(const ProviderSetting& setting) {
  std::vector<std::string> arguments = {"agent",         "--server",      setting.server,
                                        "--cluster",     setting.cluster, "--devices",
                                        setting.devices, "--host-root",   setting.host_root};
  if (setting.host_root == "/" && setting.provider != "local")
    arguments.insert(arguments.end(), {"--kernel-log", "/dev/kmsg"});
  return arguments;
}

// This program as a file: what /proc/self/exe is to others.
std::string own_program() {
  char path[4096];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  return n <= 0 ? "/proc/self/exe" : std::string(path, static_cast<std::size_t>(n));
}

std::map<std::string, std::string> program_environment(const ProviderSetting& setting) {
  auto environment = setting.environment;
  for (const char* name : {"SSH_AUTH_SOCK", "https_proxy", "HTTPS_PROXY", "no_proxy"})
    if (const char* value = ::getenv(name)) environment[name] = value;
  return environment;
}

}  // namespace

Result<void> check_provider(const std::string& provider) {
  if (provider == "local" || provider == "external") return {};
  if (provider.starts_with(kExec)) return ExecDriver::check(provider.substr(kExec.size()));
  if (provider.starts_with(kSsh)) {
    const auto inventory = read_inventory(provider.substr(kSsh.size()));
    if (!inventory.ok()) return inventory.error();
    return {};
  }
  return Error{Errc::kInvalidField,
               "provider: '" + provider +
                   "' is not known; give local, external, exec:FOLDER or ssh:INVENTORY"};
}

Result<std::unique_ptr<MachineProvider>> make_provider(asio::io_context& context,
                                                       const ProviderSetting& setting,
                                                       MachineProvider::MakeToken make_token,
                                                       MachineProvider::OnGone on_gone,
                                                       MachineProvider::OnNoCapacity no_capacity) {
  HF_TRY_VOID(check_provider(setting.provider));
  using Made = std::unique_ptr<MachineProvider>;
  const auto seed = static_cast<std::uint64_t>(monotonic_ns());
  std::vector<std::string> agent = agent_arguments(setting);
  if (setting.provider == "external")
    return Made(std::make_unique<ExternalDriver>(context, setting.nodes_folder,
                                                 std::move(make_token), std::move(on_gone)));
  if (setting.provider == "local") {
    agent.insert(agent.begin(), "/proc/self/exe");
    agent.insert(agent.end(), {"--ca", setting.ca_file, "--folder"});
    return Made(
        std::make_unique<LocalDriver>(context,
                                      LocalDriver::Options{.cluster = setting.cluster,
                                                           .nodes_folder = setting.nodes_folder,
                                                           .agent_command = std::move(agent),
                                                           .environment = setting.environment},
                                      std::move(make_token), std::move(on_gone)));
  }
  HF_TRY(const std::string ca_pem, read_file(setting.ca_file, kCaMax));
  if (setting.provider.starts_with(kExec))
    return Made(std::make_unique<ExecDriver>(
        context,
        ExecDriver::Options{.cluster = setting.cluster,
                            .programs = setting.provider.substr(kExec.size()),
                            .nodes_folder = setting.nodes_folder,
                            .server = setting.server,
                            .ca_pem = ca_pem,
                            .agent = std::move(agent),
                            .environment = program_environment(setting),
                            .jitter_seed = seed},
        std::move(make_token), std::move(on_gone), std::move(no_capacity)));
  const std::string file = setting.provider.substr(kSsh.size());
  HF_TRY(Inventory inventory, read_inventory(file));
  auto ssh = std::make_unique<SshDriver>(
      context, std::move(inventory),
      SshDriver::Options{.cluster = setting.cluster,
                         .hosts_file = setting.hosts_file,
                         .claims = setting.claims,
                         .server = setting.server,
                         .ca_pem = ca_pem,
                         .program = own_program(),
                         .agent = std::move(agent),
                         .environment = program_environment(setting),
                         .read_inventory = [file] { return read_inventory(file); },
                         .jitter_seed = seed},
      std::move(make_token), std::move(on_gone), std::move(no_capacity));
  HF_TRY_VOID(ssh->load());
  return Made(std::move(ssh));
}

}  // namespace holdfast
