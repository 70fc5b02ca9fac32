// `holdfast node ...`

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/commands/views.h"
#include "apps/health_views.h"
#include "apps/terminal.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct NodeOptions {
  ClientOptions client;
  std::string node;
  bool follow = false;
};
constexpr auto kFollowPause = std::chrono::milliseconds(250);

Result<int> list(const NodeOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, plane.get("/v1/nodes"));
  print(options.client.json
            ? answer.dump() + "\n"
            : node_table(list_at(answer, "nodes"), clocks_of(answer), standard_output().paint));
  return 0;
}

Result<int> describe(const NodeOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json node, plane.get("/v1/nodes/" + encode_segment(options.node)));
  if (options.client.json) {
    print(node.dump() + "\n");
    return 0;
  }
  HF_TRY(const json status, plane.get("/v1/status"));
  print(node_page(node, clocks_of(status), standard_output().paint));
  return 0;
}

// Of all nodes, or of one.
Result<int> health(const NodeOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json all, plane.get("/v1/nodes"));
  if (options.node.empty()) {
    print(options.client.json
              ? all.dump() + "\n"
              : health_table(list_at(all, "nodes"), clocks_of(all), standard_output().paint));
    return 0;
  }
  HF_TRY(const json node, plane.get("/v1/nodes/" + encode_segment(options.node)));
  print(options.client.json ? node.dump() + "\n"
                            : health_page(node, clocks_of(all), standard_output().paint));
  return 0;
}

Result<int> replace(const NodeOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, plane.post("/v1/nodes/" + encode_segment(options.node) + "/replace"));
  print(options.client.json ? answer.dump() + "\n"
                            : options.node + " is being replaced; a spare takes its place\n");
  return 0;
}

Result<int> add(const NodeOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, plane.post("/v1/nodes"));
  print(options.client.json ? answer.dump() + "\n" : "one machine more is on its way\n");
  return 0;
}

// What its lifecycle scripts print.
Result<int> logs(const NodeOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  const std::string address = "/v1/nodes/" + encode_segment(options.node) + "/logs?offset=";
  for (std::int64_t offset = 0;;) {
    const Result<json> chunk = plane.get(address + std::to_string(offset));
    // Somebody who follows is not sent away by a restart of the control plane.
    if (!chunk.ok() && !(options.follow && chunk.error().code == Errc::kUnavailable && offset > 0))
      return chunk.error();
    if (chunk.ok()) {
      print(text_at(*chunk, "bytes"));
      const std::int64_t next = whole_at(*chunk, "next_offset");
      if (next > offset) {
        offset = next;
        continue;
      }
      if (!options.follow || at(*chunk, "end") == true) return 0;
    }
    std::this_thread::sleep_for(kFollowPause);
  }
}

using Command = Result<int> (*)(const NodeOptions&);

CLI::App* add(CLI::App& group, const std::shared_ptr<NodeOptions>& options, const char* name,
              const char* what, Command command) {
  CLI::App* app = group.add_subcommand(name, what);
  add_state_option(*app, options->client.state);
  add_json_option(*app, options->client.json);
  app->callback([options, command] { finish([&] { return command(*options); }); });
  return app;
}

}  // namespace

void add_node(CLI::App& app) {
  auto options = std::make_shared<NodeOptions>();
  CLI::App* group = app.add_subcommand("node", "List, describe, replace and add nodes");
  group->require_subcommand(1);
  group->footer("Example:\n  holdfast node list");
  const auto node_argument = [options](CLI::App* command) {
    command->add_option("NODE", options->node, "Its id (n3)")->required();
  };
  add(*group, options, "list", "All nodes, by place", list)
      ->footer("Example:\n  holdfast node list");
  CLI::App* command = add(*group, options, "describe", "One node", describe);
  node_argument(command);
  command->alias("show");
  command->footer("Example:\n  holdfast node describe n3");
  command = add(*group, options, "health", "What was found on the nodes, and what is done about it",
                health);
  command->add_option("NODE", options->node, "One of them (n3)");
  command->footer("Examples:\n  holdfast node health\n  holdfast node health n3");
  command = add(*group, options, "logs", "What a node's lifecycle scripts print", logs);
  node_argument(command);
  command->add_flag("--follow", options->follow, "Go on until they have ended");
  command->footer("Examples:\n  holdfast node logs n3\n  holdfast node logs n3 --follow");
  command =
      add(*group, options, "replace", "Take a node away and put a spare in its place", replace);
  node_argument(command);
  command->footer(
      "A job on it goes on from its last checkpoint.\n\n"
      "Example:\n  holdfast node replace n3");
  add_node_check(*group);
  add(*group, options, "add", "Get one machine more from the provider", add)
      ->footer("Example:\n  holdfast node add");
}

}  // namespace holdfast
