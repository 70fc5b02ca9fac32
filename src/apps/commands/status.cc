// `holdfast status` and `holdfast breaker`

#include <memory>
#include <string>

#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/commands/views.h"
#include "apps/terminal.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::int64_t kAlertAgeMaxNs = 3600ll * 1'000'000'000;

// The last hour's.
std::string alert_lines(const json& events, const Clocks& clocks, const Paint& paint) {
  std::string lines;
  for (const json& event : events)
    if (text_at(event, "severity") == "alert" &&
        clocks.wall_unix_ns - whole_at(event, "wall_unix_ns") < kAlertAgeMaxNs)
      lines += event_line(event, paint) + "\n";
  return lines.empty() ? "" : "\nalerts of the last hour\n" + lines;
}

Result<int> status(const ClientOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.state));
  HF_TRY(const json status, plane.get("/v1/status"));
  if (options.json) {
    print(status.dump() + "\n");
    return 0;
  }
  const Paint paint = standard_output().paint;
  HF_TRY(const json events, plane.get("/v1/events?limit=200"));
  print(status_page(status, paint) +
        alert_lines(list_at(events, "events"), clocks_of(status), paint));
  return 0;
}

Result<int> close_breaker(const ClientOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.state));
  HF_TRY(const json answer, plane.post("/v1/breaker/close"));
  print(options.json ? answer.dump() + "\n"
                     : "the circuit breaker is closed; bad nodes are cordoned again\n");
  return 0;
}

}  // namespace

void add_status(CLI::App& app) {
  auto options = std::make_shared<ClientOptions>();
  CLI::App* command = app.add_subcommand("status", "The cluster on one page");
  add_state_option(*command, options->state);
  add_json_option(*command, options->json);
  command->footer("Examples:\n  holdfast status\n  watch -n1 holdfast status");
  command->callback([options] { finish([&] { return status(*options); }); });
}

void add_breaker(CLI::App& app) {
  auto options = std::make_shared<ClientOptions>();
  CLI::App* group = app.add_subcommand(
      "breaker", "The circuit breaker: stops cordoning when too many nodes look bad at once");
  group->require_subcommand(1);
  group->footer("Example:\n  holdfast breaker close");
  CLI::App* command = group->add_subcommand("close", "Let bad nodes be cordoned again");
  add_state_option(*command, options->state);
  add_json_option(*command, options->json);
  command->footer("Example:\n  holdfast breaker close");
  command->callback([options] { finish([&] { return close_breaker(*options); }); });
}

}  // namespace holdfast
