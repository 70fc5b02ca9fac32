// `holdfast cluster ...` and `holdfast pool ...`: HyperPod's operations, through the control
// plane's own door.

#include <unistd.h>

#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/commands/timed_run.h"
#include "apps/terminal.h"
#include "core/health/drift.h"
#include "io/clock.h"
#include "io/files.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::size_t kFileMax = 2 << 20;
constexpr Duration kWaitMax = minutes(30);

struct ClusterOptions {
  ClientOptions client;
  std::string cluster, operation, file = "-", group, node;
  std::uint32_t spares = 0;
  bool wait = false;
};

Result<json> call(ControlPlane& plane, const std::string& operation, const json& request) {
  return plane.post("/v1/hyperpod/" + encode_segment(operation), request.dump());
}

Result<json> read_request(const std::string& file) {
  std::string text;
  if (file == "-")
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  else {
    HF_TRY(text, read_file(file, kFileMax));
  }
  json request = parse_json_text(text);
  if (!request.is_object())
    return Error{Errc::kUnparsable,
                 (file == "-" ? "standard input" : file) +
                     ": not a JSON object; write what `aws sagemaker` takes as --cli-input-json"};
  return request;
}

std::string dash(const std::string& text) {
  return text.empty() ? "-" : text;
}

struct Counts {
  std::int64_t current = 0, target = 0;
};
Counts counts_of(const json& cluster) {
  Counts counts;
  for (const json& group : list_at(cluster, "InstanceGroups")) {
    counts.current += whole_at(group, "CurrentCount");
    counts.target += whole_at(group, "TargetCount");
  }
  return counts;
}

// Until the cluster is in service, or has failed.
Result<int> wait_for(ControlPlane& plane, const std::string& name, bool show) {
  Progress progress("cluster " + name, show);
  const std::int64_t deadline = monotonic_ns() + kWaitMax.ns;
  while (monotonic_ns() < deadline && interrupts() == 0) {
    HF_TRY(const json cluster, call(plane, "DescribeCluster", {{"ClusterName", name}}));
    const std::string status = text_at(cluster, "ClusterStatus");
    const Counts counts = counts_of(cluster);
    progress.show(counts.target == 0
                      ? 1.0
                      : static_cast<double>(counts.current) / static_cast<double>(counts.target),
                  status + ", " + std::to_string(counts.current) + " of " +
                      std::to_string(counts.target) + " nodes");
    if (status == "InService" && counts.current >= counts.target) return kExitOk;
    if (status == "Failed")
      return Error{Errc::kWrongState,
                   "cluster: '" + name + "' has failed: " + text_at(cluster, "FailureMessage")};
    pause_for(milliseconds(200));
  }
  return Error{Errc::kUnavailable, "cluster: '" + name +
                                       "' is not in service yet; see `holdfast "
                                       "cluster describe " +
                                       name + "`"};
}

Result<int> send_file(const ClusterOptions& options, const std::string& operation) {
  HF_TRY(const json request, read_request(options.file));
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, call(plane, operation, request));
  if (options.wait)
    HF_TRY_VOID(wait_for(plane, text_at(request, "ClusterName"), !options.client.json));
  print(options.client.json ? answer.dump() + "\n" : text_at(answer, "ClusterArn") + "\n");
  return kExitOk;
}

Result<int> create(const ClusterOptions& options) {
  return send_file(options, "CreateCluster");
}
Result<int> update(const ClusterOptions& options) {
  return send_file(options, "UpdateCluster");
}

Result<int> call_any(const ClusterOptions& options) {
  json request = json::object();
  if (options.file != "-" || ::isatty(STDIN_FILENO) == 0) {
    HF_TRY(request, read_request(options.file));
  }
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, call(plane, options.operation, request));
  print(answer.dump(options.client.json ? -1 : 2) + "\n");
  return kExitOk;
}

Result<int> list(const ClusterOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, call(plane, "ListClusters", json::object()));
  if (options.client.json) {
    print(answer.dump() + "\n");
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows = {{"NAME", "STATUS", "ARN"}};
  for (const json& cluster : list_at(answer, "ClusterSummaries"))
    rows.push_back({text_at(cluster, "ClusterName"), text_at(cluster, "ClusterStatus"),
                    text_at(cluster, "ClusterArn")});
  print(render_table(rows, standard_output().paint));
  return kExitOk;
}

Result<int> describe(const ClusterOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json cluster, call(plane, "DescribeCluster", {{"ClusterName", options.cluster}}));
  if (options.client.json) {
    print(cluster.dump() + "\n");
    return kExitOk;
  }
  std::string out = text_at(cluster, "ClusterName") + "  " + text_at(cluster, "ClusterStatus") +
                    "  " + text_at(cluster, "ClusterArn") + "\n";
  if (const std::string failure = text_at(cluster, "FailureMessage"); !failure.empty())
    out += "why: " + failure + "\n";
  std::vector<std::vector<std::string>> rows = {
      {"GROUP", "STATUS", ">NODES", ">WANTED", "INSTANCE TYPE"}};
  for (const json& group : list_at(cluster, "InstanceGroups"))
    rows.push_back({text_at(group, "InstanceGroupName"), text_at(group, "Status"),
                    std::to_string(whole_at(group, "CurrentCount")),
                    std::to_string(whole_at(group, "TargetCount")),
                    dash(text_at(group, "InstanceType"))});
  print(out + "\n" + render_table(rows, standard_output().paint));
  return kExitOk;
}

Result<int> nodes(const ClusterOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  json all = json::array();
  json request{{"ClusterName", options.cluster}, {"IncludeNodeLogicalIds", true}};
  for (;;) {
    HF_TRY(const json page, call(plane, "ListClusterNodes", request));
    for (const json& node : list_at(page, "ClusterNodeSummaries")) all.push_back(node);
    if (text_at(page, "NextToken").empty()) break;
    request["NextToken"] = text_at(page, "NextToken");
  }
  if (options.client.json) {
    print(json{{"ClusterNodeSummaries", all}}.dump() + "\n");
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"INSTANCE", "GROUP", "LOGICAL ID", "STATUS", "WHY"}};
  for (const json& node : all) {
    const json& status = at(node, "InstanceStatus");
    rows.push_back({text_at(node, "InstanceId"), text_at(node, "InstanceGroupName"),
                    dash(text_at(node, "NodeLogicalId")), text_at(status, "Status"),
                    dash(text_at(status, "Message"))});
  }
  print(render_table(rows, standard_output().paint));
  return kExitOk;
}

Result<int> remove(const ClusterOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, call(plane, "DeleteCluster", {{"ClusterName", options.cluster}}));
  print(options.client.json ? answer.dump() + "\n" : options.cluster + " is being ended\n");
  return kExitOk;
}

Result<int> set_pool(const ClusterOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  json request{{"group", options.group}, {"spares", options.spares}};
  HF_TRY(const json answer, plane.post("/v1/pool", request.dump()));
  print(options.client.json ? answer.dump() + "\n"
                            : "group '" + options.group + "' holds " +
                                  std::to_string(options.spares) + " spares\n");
  return kExitOk;
}

constexpr const char* kGroupLabel = "sagemaker.amazonaws.com/instance-group-name";

std::vector<Fingerprint> fingerprints_of(const json& nodes) {
  std::vector<Fingerprint> found;
  for (const json& node : nodes) {
    const std::string id = text_at(node, "id");
    if (text_at(node, "state") == "gone" || at(node, "software").empty()) continue;
    const std::string type = text_at(node, "instance_type");
    Fingerprint one{.group = text_at(at(node, "labels"), kGroupLabel) +
                             (type.empty() ? "" : " " + type)};
    one.node.value = static_cast<std::uint32_t>(std::strtoul(id.c_str() + 1, nullptr, 10));
    for (const auto& [what, version] : at(node, "software").items())
      one.software[what] = version.is_string() ? version.get<std::string>() : version.dump();
    found.push_back(std::move(one));
  }
  return found;
}

Result<int> drift(const ClusterOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, plane.get("/v1/nodes"));
  const std::vector<Fingerprint> nodes = fingerprints_of(list_at(answer, "nodes"));
  const std::vector<Drift> found = find_drift(nodes);
  if (options.client.json) {
    json list = json::array();
    for (const Drift& one : found)
      list.push_back({{"node", to_string(one.node)},
                      {"kind", one.group},
                      {"what", one.difference.what},
                      {"has", one.difference.has},
                      {"others", one.difference.others},
                      {"is_split", one.difference.is_split},
                      {"alike", one.difference.alike},
                      {"of", one.difference.of}});
    print(json{{"nodes", nodes.size()}, {"drift", list}}.dump() + "\n");
    return 0;
  }
  if (found.empty())
    print(fmt::format("{} nodes, and each has the software of its kind\n", nodes.size()));
  for (const Drift& one : found)
    print(fmt::format("{:<6} {:<24} {}{}\n", to_string(one.node), one.group, one.difference.text(),
                      one.difference.is_split ? " (no version has more than half)" : ""));
  return 0;
}

using Command = Result<int> (*)(const ClusterOptions&);

CLI::App* add(CLI::App& group, const std::shared_ptr<ClusterOptions>& options, const char* name,
              const char* what, Command command) {
  CLI::App* app = group.add_subcommand(name, what);
  add_state_option(*app, options->client.state);
  add_json_option(*app, options->client.json);
  app->callback([options, command] { finish([&] { return command(*options); }); });
  return app;
}

}  // namespace

void add_cluster(CLI::App& app) {
  auto options = std::make_shared<ClusterOptions>();
  CLI::App* group = app.add_subcommand("cluster", "Make, list, change and end clusters");
  group->require_subcommand(1);
  group->footer("Example:\n  holdfast cluster list");
  const auto name = [options](CLI::App* command) {
    command->add_option("CLUSTER", options->cluster, "Its name or ARN")->required();
  };
  const auto file = [options](CLI::App* command, bool needed) {
    CLI::Option* option =
        command->add_option("-f,--file", options->file, "The request in JSON; -: standard input");
    if (needed) option->required();
  };
  CLI::App* command = add(*group, options, "create", "Make a cluster of instance groups", create);
  file(command, true);
  command->add_flag("--wait", options->wait, "Until it is in service");
  command->footer(
      "The file is what HyperPod's CreateCluster takes.\n\nExample:\n"
      "  holdfast cluster create -f cluster.json --wait");
  command = add(*group, options, "update", "Change its instance groups", update);
  file(command, true);
  command->add_flag("--wait", options->wait, "Until it is in service again");
  command->footer("Example:\n  holdfast cluster update -f wanted.json");
  add(*group, options, "list", "All clusters of this server", list)
      ->footer("Example:\n  holdfast cluster list --json");
  command = add(*group, options, "describe", "One cluster and its groups", describe);
  name(command);
  command->alias("show");
  command->footer("Example:\n  holdfast cluster describe ml-1");
  command = add(*group, options, "nodes", "Its nodes, as HyperPod's API names them", nodes);
  name(command);
  command->footer("Example:\n  holdfast cluster nodes ml-1");
  add(*group, options, "drift",
      "Nodes whose software differs from that of most nodes of their group and type", drift)
      ->footer(
          "A job gets such a node only if its file says allow_drifted: true.\n\nExample:\n  "
          "holdfast cluster drift --json");
  command = add(*group, options, "delete", "End a cluster, and its jobs", remove);
  name(command);
  command->footer("Example:\n  holdfast cluster delete ml-1");
  command = add(*group, options, "call", "Any operation of HyperPod's API", call_any);
  command->add_option("OPERATION", options->operation, "ListClusterEvents, for one")->required();
  file(command, false);
  command->footer(
      "Example:\n  echo '{\"ClusterName\": \"ml-1\"}' | holdfast cluster call ListClusterEvents");
}

void add_pool(CLI::App& app) {
  auto options = std::make_shared<ClusterOptions>();
  CLI::App* group = app.add_subcommand("pool", "The warm pool of an instance group");
  group->require_subcommand(1);
  CLI::App* command = add(*group, options, "set", "How many spares a group holds", set_pool);
  command->add_option("GROUP", options->group, "Its name")->required();
  command->add_option("--spares", options->spares, "Healthy nodes held besides its own")
      ->required()
      ->check(CLI::Range(0, 6758));
  command->footer(
      "Spares have passed their checks and lifecycle scripts: one takes a bad node's place at "
      "once.\n\nExample:\n  holdfast --cluster ml-1 pool set workers --spares 2");
}

}  // namespace holdfast
