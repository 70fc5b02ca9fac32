// `holdfast node check`

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "apps/check_report.h"
#include "apps/commands/check_views.h"
#include "apps/commands/commands.h"
#include "apps/commands/control_plane.h"
#include "apps/terminal.h"
#include "io/files.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr Duration kPoll = milliseconds(250);

struct CheckOptions {
  ClientOptions client;
  std::vector<std::string> nodes;
  std::vector<std::string> kinds;
  bool deep = false;
  bool drain = false;
  bool watch = false;
  std::string report;
};

bool concerns(const json& run, const std::set<std::string>& nodes) {
  if (nodes.empty()) return true;
  for (const json& member : list_at(run, "members"))
    if (nodes.contains(text_at(member, "node"))) return true;
  return false;
}

bool has_ended(const json& run) {
  return text_at(run, "state") == "ended";
}

// 1 when a node of it has failed.
int status_of(const json& run, const std::set<std::string>& nodes) {
  for (const json& member : list_at(run, "members"))
    if (text_at(member, "status") == "Failed" &&
        (nodes.empty() || nodes.contains(text_at(member, "node"))))
      return kExitJobFailed;
  return kExitOk;
}

// Draws a bar on a terminal and tells what was found, as it is found, elsewhere a line per step.
Result<json> watch(ControlPlane& plane, const std::string& id, bool show) {
  const Screen screen = standard_output();
  std::optional<LiveArea> area;
  if (show && screen.is_terminal) area.emplace(screen);
  plane.be_patient();
  std::size_t told = 0;
  std::string line;
  for (;;) {
    HF_TRY(json run, plane.get("/v1/checks/" + id));
    const json& results = list_at(run, "results");
    if (area) {
      const std::size_t shown = std::min<std::size_t>(screen.height / 2, results.size());
      json last = json::array();
      for (std::size_t i = results.size() - shown; i < results.size(); ++i)
        last.push_back(results[i]);
      std::vector<std::string> lines = {check_progress_line(run)};
      const std::string table = last.empty() ? "" : check_result_table(last, screen.paint);
      for (std::size_t begin = 0; begin < table.size();) {
        const std::size_t end = std::min(table.find('\n', begin), table.size());
        lines.push_back(table.substr(begin, end - begin));
        begin = end + 1;
      }
      area->draw(lines);
    } else if (show && (check_progress_line(run) != line || results.size() != told)) {
      line = check_progress_line(run);
      told = results.size();
      say(line);
    }
    if (has_ended(run)) {
      if (area) area->draw({});
      return run;
    }
    pause_for(kPoll);
    if (interrupts() > 0)
      return Error{Errc::kWrongState, "interrupted; the checks go on, see `holdfast node check`"};
  }
}

Result<std::string> start(ControlPlane& plane, const CheckOptions& options) {
  if (options.nodes.empty())
    return Error{Errc::kInvalidField, "NODE: missing; --deep needs at least one node"};
  json body{{"nodes", options.nodes}, {"drain", options.drain}};
  if (!options.kinds.empty()) body["checks"] = options.kinds;
  HF_TRY(const json answer, plane.post("/v1/checks", body.dump()));
  return text_at(answer, "check");
}

// The newest run of each of the nodes, newest last.
Result<json> newest_runs(ControlPlane& plane, const std::set<std::string>& nodes) {
  HF_TRY(const json answer, plane.get("/v1/checks"));
  json runs = json::array();
  std::set<std::string> seen;
  const json& all = list_at(answer, "checks");
  std::vector<const json*> ordered;
  for (const json& run : all) ordered.push_back(&run);
  // As text "c10" comes before "c2".
  std::sort(ordered.begin(), ordered.end(), [](const json* a, const json* b) {
    return std::stoul("0" + text_at(*a, "id").substr(1)) <
           std::stoul("0" + text_at(*b, "id").substr(1));
  });
  for (auto run = ordered.rbegin(); run != ordered.rend(); ++run) {
    bool is_news = false;
    for (const json& member : list_at(**run, "members"))
      if (nodes.empty() || nodes.contains(text_at(member, "node")))
        is_news = seen.insert(text_at(member, "node")).second || is_news;
    if (is_news) runs.insert(runs.begin(), **run);
  }
  return runs;
}

Result<void> write_report(ControlPlane& plane, const CheckOptions& options) {
  HF_TRY(const json runs, plane.get("/v1/checks"));
  HF_TRY(const json nodes, plane.get("/v1/nodes"));
  const std::set<std::string> only(options.nodes.begin(), options.nodes.end());
  HF_TRY_VOID(write_file_atomic(
      options.report, check_report_page(list_at(runs, "checks"), list_at(nodes, "nodes"), only),
      0644));
  say("the report is in " + options.report);
  return {};
}

Result<int> check(const CheckOptions& options) {
  HF_TRY(ControlPlane plane, ControlPlane::open(options.client.state));
  const std::set<std::string> nodes(options.nodes.begin(), options.nodes.end());
  std::string id;
  if (options.deep) {
    HF_TRY(id, start(plane, options));
    if (!options.watch && options.report.empty()) {
      print(options.client.json
                ? json{{"check", id}}.dump() + "\n"
                : id + " has begun; follow it with `holdfast node check --watch`\n");
      return kExitOk;
    }
  }
  HF_TRY(json runs, newest_runs(plane, nodes));
  if (id.empty() && options.watch && !runs.empty()) id = text_at(runs.back(), "id");
  if (!id.empty()) {
    count_interrupts();
    HF_TRY(json run, watch(plane, id, !options.client.json));
    runs = json::array({std::move(run)});
  }
  if (options.client.json) {
    print((id.empty() ? json{{"checks", runs}} : runs[0]).dump() + "\n");
  } else if (runs.empty()) {
    print("no deep checks yet; begin some with `holdfast node check NODE --deep --watch`\n");
  }
  int status = kExitOk;
  for (const json& run : runs) {
    if (!concerns(run, nodes)) continue;
    status = std::max(status, status_of(run, nodes));
    if (options.client.json) continue;
    print(standard_output().paint(Ink::kBold, "deep checks " + text_at(run, "id")) + ", asked by " +
          text_at(run, "by") + "\n" + (has_ended(run) ? "" : check_progress_line(run) + "\n") +
          check_page(run, nodes, standard_output().paint) + "\n");
  }
  if (!options.report.empty()) HF_TRY_VOID(write_report(plane, options));
  return status;
}

}  // namespace

void add_node_check(CLI::App& group) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command =
      group.add_subcommand("check", "Deep checks: begin them, follow them, read what they found");
  command->add_option("NODE", options->nodes, "Ids (n3); without any, all nodes");
  command->add_flag("--deep", options->deep, "Begin deep checks of these nodes");
  command
      ->add_option("--checks", options->kinds,
                   "Which: InstanceStress, InstanceConnectivity, or both")
      ->delimiter(',')
      ->check(CLI::IsMember({"InstanceStress", "InstanceConnectivity"}));
  command->add_flag(
      "--drain", options->drain,
      "Also of nodes with ranks: their jobs go on from the last checkpoint on others");
  command->add_flag("--watch", options->watch, "Follow them to their end");
  command->add_option("--report", options->report,
                      "Write a page (HTML) that shows each node among its peers");
  add_state_option(*command, options->client.state);
  add_json_option(*command, options->client.json);
  command->footer(
      "\nWhile they run a node gets no work, and a spare takes its place where there is one. Ends\n"
      "with 1 when a node has failed.\n\nExamples:\n"
      "  holdfast node check n3 --deep --watch\n"
      "  holdfast node check n1 n2 n3 --deep --checks InstanceConnectivity --drain --watch\n"
      "  holdfast node check --report checks.html\n");
  command->callback([options] { finish([&] { return check(*options); }); });
}

}  // namespace holdfast
