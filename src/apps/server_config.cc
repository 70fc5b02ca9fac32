#include "apps/server_config.h"

#include <nlohmann/json.hpp>

#include "api/check_file.h"
#include "io/files.h"
#include "io/random.h"
#include "io/sockets.h"
#include "model/codec.h"

namespace holdfast {
namespace {

constexpr std::size_t kConfigMax = 16 << 20;
constexpr std::uint16_t kPortFirst = 14000, kPortLast = 19999;

}  // namespace

Result<ServerConfig> read_server_config(const std::string& state) {
  HF_TRY(const std::string text, read_file(state + "/cluster.json", kConfigMax));
  try {
    const auto json = nlohmann::json::parse(text);
    ServerConfig config;
    config.uuid = json.at("uuid");
    Result<ClusterSpec> spec = decode_cluster_spec(json.at("spec").dump());
    if (!spec.ok() || spec->groups.empty())
      return Error{Errc::kStateCorrupt,
                   state + "/cluster.json: " +
                       (spec.ok() ? "spec.groups: there are none" : spec.error().detail) +
                       "; restore it, or start anew with another --state"};
    config.spec = std::move(spec).value();
    config.devices = json.value("devices", config.devices);
    config.host_root = json.value("host_root", config.host_root);
    config.provider = json.value("driver", config.provider);
    config.host = json.at("host");
    config.link_port = json.at("link_port");
    config.api_port = json.at("api_port");
    config.hyperpod_port = json.at("hyperpod_port");
    config.deleted = json.value("deleted", false);
    if (const auto checks = read_file(state + "/checks.yaml", kConfigMax); checks.ok()) {
      HF_TRY(config.spec.checks, parse_check_file(*checks, state + "/checks.yaml"));
    }
    return config;
  } catch (const nlohmann::json::exception& error) {
    return Error{Errc::kStateCorrupt, state + "/cluster.json: " + error.what() +
                                          "; restore it, or start anew with another --state"};
  }
}

Result<void> write_server_config(const std::string& state, const ServerConfig& config) {
  nlohmann::json json{{"uuid", config.uuid},
                      {"spec", nlohmann::json::parse(encode(config.spec))},
                      {"devices", config.devices},
                      {"host_root", config.host_root},
                      {"driver", config.provider},
                      {"host", config.host},
                      {"link_port", config.link_port},
                      {"api_port", config.api_port},
                      {"hyperpod_port", config.hyperpod_port}};
  if (config.deleted) json["deleted"] = true;
  return write_file_atomic(state + "/cluster.json", json.dump(2) + "\n", 0600);
}

std::string new_arn_id() {
  return random_hex(6);
}

Result<std::uint16_t> free_server_port(const std::string& host, std::uint16_t hint) {
  return free_port(host, kPortFirst, kPortLast, std::max(hint, kPortFirst));
}

}  // namespace holdfast
