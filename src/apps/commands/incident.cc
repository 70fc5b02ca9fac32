// `holdfast incident ...` and `holdfast events`

#include <filesystem>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/commands/views.h"
#include "apps/terminal.h"

namespace holdfast {
namespace {

using nlohmann::json;

struct IncidentOptions {
  ClientOptions client;
  std::string incident;
};

Result<int> list(const IncidentOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json answer, plane.get("/v1/incidents"));
  print(options.client.json ? answer.dump() + "\n"
                            : incident_table(list_at(answer, "incidents"), clocks_of(answer),
                                             standard_output().paint));
  return 0;
}

Result<int> show(const IncidentOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  HF_TRY(const json incident, plane.get("/v1/incidents/" + encode_segment(options.incident)));
  if (options.client.json) {
    print(incident.dump() + "\n");
    return 0;
  }
  HF_TRY(const json status, plane.get("/v1/status"));
  print(incident_report(incident, clocks_of(status), standard_output().paint));
  const std::string kept = plane.state_folder() + "/incidents/" + options.incident;
  if (std::filesystem::is_directory(kept))
    print("\nEvidence: " + kept + ", a folder for each attempt that ended in it; read one with " +
          "`holdfast diagnose --job`\n");
  return 0;
}

struct EventsOptions {
  ClientOptions client;
  std::uint32_t limit = 50;
  bool follow = false;
};

Result<int> events(const EventsOptions& options) {
  constexpr Duration kPoll = seconds(10);
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  const Paint paint = standard_output().paint;
  std::string target = fmt::format("/v1/events?limit={}", options.limit);
  if (options.follow) plane.be_patient();
  while (true) {
    HF_TRY(const json answer, plane.get(target, kPoll + seconds(10)));
    if (options.client.json && !options.follow) {
      print(answer.dump() + "\n");
      return 0;
    }
    for (const json& event : list_at(answer, "events"))
      print((options.client.json ? event.dump() : event_line(event, paint)) + "\n");
    if (!options.follow) return 0;
    target = fmt::format("/v1/events?after={}&limit=1000&wait_ms={}", whole_at(answer, "next"),
                         kPoll.ms());
  }
}

}  // namespace

void add_incident(CLI::App& app) {
  auto options = std::make_shared<IncidentOptions>();
  CLI::App* group = app.add_subcommand("incident", "What broke, why, and what it cost");
  group->require_subcommand(1);
  group->footer("Example:\n  holdfast incident show i1");
  CLI::App* command = group->add_subcommand("list", "All incidents");
  add_state_option(*command, options->client.state);
  add_json_option(*command, options->client.json);
  command->footer("Example:\n  holdfast incident list");
  command->callback([options] { finish([&] { return list(*options); }); });
  command = group->add_subcommand("show", "The report: verdict, evidence, timeline, story");
  command->add_option("INCIDENT", options->incident, "Its id (i1)")->required();
  add_state_option(*command, options->client.state);
  add_json_option(*command, options->client.json);
  command->footer("Example:\n  holdfast incident show i1");
  command->callback([options] { finish([&] { return show(*options); }); });
}

void add_events(CLI::App& app) {
  auto options = std::make_shared<EventsOptions>();
  CLI::App* command = app.add_subcommand("events", "What happened in the cluster, newest last");
  add_state_option(*command, options->client.state);
  command->add_flag("--json", options->client.json, "Print JSON; with --follow one line per event");
  command->add_option("--limit", options->limit, "How many of the newest")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--follow", options->follow, "Wait for more");
  command->footer("Examples:\n  holdfast events --limit 200\n  holdfast events --follow");
  command->callback([options] { finish([&] { return events(*options); }); });
}

}  // namespace holdfast
