// `holdfast cluster ...`

#include <memory>
#include <string>

#include <fmt/format.h>

#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/terminal.h"
#include "core/health/drift.h"

namespace holdfast {
namespace {

using nlohmann::json;

std::vector<Fingerprint> fingerprints_of(const json& nodes) {
  std::vector<Fingerprint> found;
  for (const json& node : nodes) {
    const std::string id = text_at(node, "id");
    if (text_at(node, "state") == "gone" || at(node, "software").empty()) continue;
    Fingerprint one{.group = text_at(node, "instance_type")};
    one.node.value = static_cast<std::uint32_t>(std::strtoul(id.c_str() + 1, nullptr, 10));
    for (const auto& [what, version] : at(node, "software").items())
      one.software[what] = version.is_string() ? version.get<std::string>() : version.dump();
    found.push_back(std::move(one));
  }
  return found;
}

std::string shown(const std::string& version) {
  return version.empty() ? "none" : version;
}

Result<int> drift(const ClientOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.state));
  HF_TRY(const json answer, plane.get("/v1/nodes"));
  const std::vector<Fingerprint> nodes = fingerprints_of(list_at(answer, "nodes"));
  const std::vector<Drift> found = find_drift(nodes);
  if (options.json) {
    json list = json::array();
    for (const Drift& one : found)
      list.push_back({{"node", to_string(one.node)},
                      {"instance_type", one.group},
                      {"what", one.what},
                      {"has", one.has},
                      {"others", one.others},
                      {"is_split", one.is_split},
                      {"alike", one.alike},
                      {"of", one.of}});
    print(json{{"nodes", nodes.size()}, {"drift", list}}.dump() + "\n");
    return 0;
  }
  if (found.empty())
    print(fmt::format("{} nodes, and each has the software of its kind\n", nodes.size()));
  for (const Drift& one : found)
    print(fmt::format("{:<6} {:<16} {} where {} of {}{}{} have {}\n", to_string(one.node), one.what,
                      shown(one.has), one.alike, one.of, one.group.empty() ? "" : " ", one.group,
                      shown(one.others)));
  return 0;
}

}  // namespace

void add_cluster(CLI::App& app) {
  auto options = std::make_shared<ClientOptions>();
  CLI::App* group = app.add_subcommand("cluster", "What concerns all nodes");
  group->require_subcommand(1);
  group->footer("Example:\n  holdfast cluster drift");
  CLI::App* command = group->add_subcommand(
      "drift", "Nodes whose software differs from that of most nodes of their instance type");
  add_state_option(*command, options->state);
  add_json_option(*command, options->json);
  command->footer("Example:\n  holdfast cluster drift --json");
  command->callback([options] { finish([&] { return drift(*options); }); });
}

}  // namespace holdfast
