// `holdfast key ...`

#include <memory>
#include <string>
#include <vector>

#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/commands/views.h"
#include "apps/terminal.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct KeyOptions {
  ClientOptions client;
  std::string role;
  std::string id;
};

std::string when(const json& key, const char* field) {
  return has(key, field) ? wall_text(whole_at(key, field)) : "never";
}

Result<int> list(const KeyOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, plane.get("/v1/keys"));
  if (options.client.json) {
    print(answer.dump() + "\n");
    return 0;
  }
  std::vector<std::vector<std::string>> rows{{"KEY", "ROLE", "STATE", "CREATED", "LAST USED"}};
  for (const json& key : list_at(answer, "keys"))
    rows.push_back({text_at(key, "id"), text_at(key, "role"), text_at(key, "state"),
                    when(key, "created_unix_ns"), when(key, "last_used_unix_ns")});
  print(rows.size() == 1 ? "no access keys\n" : render_table(rows, standard_output().paint));
  return 0;
}

Result<int> create(const KeyOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, plane.post("/v1/keys", json{{"role", options.role}}.dump()));
  if (options.client.json) {
    print(answer.dump() + "\n");
    return 0;
  }
  print("AWS_ACCESS_KEY_ID=" + text_at(at(answer, "key"), "id") +
        "\nAWS_SECRET_ACCESS_KEY=" + text_at(answer, "secret") + "\n");
  say("keep the secret; it is not shown again");
  return 0;
}

Result<int> change(const KeyOptions& options, const char* how, const char* said) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, plane.post("/v1/keys/" + encode_segment(options.id) + "/" + how));
  print(options.client.json ? answer.dump() + "\n" : options.id + said + "\n");
  return 0;
}

Result<int> disable(const KeyOptions& options) {
  return change(options, "disable", " is disabled");
}

Result<int> remove(const KeyOptions& options) {
  return change(options, "delete", " is deleted");
}

using Command = Result<int> (*)(const KeyOptions&);

CLI::App* add(CLI::App& group, const std::shared_ptr<KeyOptions>& options, const char* name,
              const char* what, Command command) {
  CLI::App* app = group.add_subcommand(name, what);
  add_state_option(*app, options->client.state);
  add_json_option(*app, options->client.json);
  app->callback([options, command] { finish([&] { return command(*options); }); });
  app->footer("Example:\n  holdfast key " + std::string(name));
  return app;
}

}  // namespace

void add_key(CLI::App& app) {
  auto options = std::make_shared<KeyOptions>();
  CLI::App* group = app.add_subcommand("key", "Make, list and take back keys of the HyperPod API");
  group->require_subcommand(1);
  group->footer("Example:\n  holdfast key create --role operator");
  add(*group, options, "list", "All access keys, without their secrets", list);
  CLI::App* command = add(*group, options, "create", "A new access key", create);
  command
      ->add_option("--role", options->role,
                   "viewer (look), operator (and keep it running) or admin (and make and delete)")
      ->required();
  command->footer(
      "Prints the key and its secret as environment variables of AWS's tools.\n\n"
      "Example:\n  holdfast key create --role viewer");
  const auto id_argument = [options](CLI::App* of) {
    of->add_option("KEY", options->id, "Its id (AKIA...)")->required();
  };
  command =
      add(*group, options, "disable", "Refuse a key from now on, and keep it listed", disable);
  id_argument(command);
  command->footer("Example:\n  holdfast key disable AKIA0123456789ABCDEF");
  command = add(*group, options, "delete", "Forget a key", remove);
  id_argument(command);
  command->footer("Example:\n  holdfast key delete AKIA0123456789ABCDEF");
}

}  // namespace holdfast
