#include "apps/commands/check_views.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "apps/commands/control_plane.h"
#include "apps/commands/sim_views.h"
#include "model/codec.h"

namespace holdfast {
namespace {

using nlohmann::json;

Ink ink_of(const std::string& verdict) {
  return verdict == "Passed"                               ? Ink::kGreen
         : verdict == "Failed"                             ? Ink::kRed
         : verdict == "Skipped" || verdict == "InProgress" ? Ink::kYellow
                                                           : Ink::kPlain;
}

std::string step_text(const json& step) {
  const std::string test = text_at(step, "test");
  if (test != "link") return test;
  return list_at(step, "only").empty() ? fmt::format("link round {}", whole_at(step, "round") + 1)
                                       : "link again";
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return without_controls(text);
}

}  // namespace

json check_result_json(const CheckResult& result) {
  CheckRun run;
  run.results = {result};
  return to_json_value(run)["results"][0];
}

std::string check_number(std::int64_t thousandths, const std::string& unit) {
  if (unit.empty()) return "-";
  const double value = static_cast<double>(thousandths) / 1000;
  return fmt::format("{:.{}f} {}", value, value >= 100 ? 0 : value >= 10 ? 1 : 2, unit);
}

std::string check_result_table(const json& results, const Paint& paint) {
  std::vector<std::vector<std::string>> rows;
  for (const json& result : results) {
    const std::string verdict = text_at(result, "verdict");
    const std::string unit = without_controls(text_at(result, "unit"));
    std::string where = text_at(result, "node");
    if (const std::string peer = text_at(result, "peer"); !peer.empty()) where += " - " + peer;
    const bool less = at(result, "less_is_better") == true;
    rows.push_back({one_line(text_at(result, "test")), where.empty() ? "here" : where,
                    paint(ink_of(verdict), verdict), check_number(whole_at(result, "value"), unit),
                    has(result, "threshold")
                        ? (less ? "<= " : ">= ") + check_number(whole_at(result, "threshold"), unit)
                        : "-",
                    fmt::format("{:.1f} s", static_cast<double>(whole_at(result, "took_ns")) / 1e9),
                    clip(one_line(text_at(result, "reason")), 100)});
  }
  if (rows.empty()) return "no results\n";
  rows.insert(rows.begin(), {"TEST", "NODE", "VERDICT", ">NUMBER", ">THRESHOLD", ">TOOK", "WHY"});
  return render_table(rows, paint);
}

std::string check_page(const json& run, const std::set<std::string>& only, const Paint& paint) {
  std::string out;
  for (const json& member : list_at(run, "members")) {
    const std::string node = text_at(member, "node");
    if (!only.empty() && !only.contains(node)) continue;
    const std::string status = text_at(member, "status");
    out += fmt::format("{} {}", paint(Ink::kBold, node), paint(ink_of(status), status));
    if (at(member, "is_partner") == true) out += " (measured links only)";
    if (const std::string reason = text_at(member, "reason"); !reason.empty())
      out += ": " + one_line(reason);
    out += "\n";
  }
  json shown = json::array();
  for (const json& result : list_at(run, "results"))
    if (only.empty() || only.contains(text_at(result, "node")) ||
        only.contains(text_at(result, "peer")))
      shown.push_back(result);
  out += "\n" + check_result_table(shown, paint);
  for (const json& result : shown) {
    const std::string log = text_at(result, "log");
    if (text_at(result, "verdict") != "Failed" || log.empty()) continue;
    out +=
        fmt::format("\n{} on {}, the end of its output:\n",
                    paint(Ink::kBold, one_line(text_at(result, "test"))), text_at(result, "node"));
    std::string text = without_controls(log);
    while (text.ends_with('\n')) text.pop_back();
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      out += "  " + text.substr(begin, end - begin) + "\n";
      begin = end + 1;
    }
  }
  return out;
}

std::string check_progress_line(const json& run) {
  const json& steps = list_at(run, "steps");
  const auto step = static_cast<std::size_t>(std::max<std::int64_t>(0, whole_at(run, "step")));
  const std::string state = text_at(run, "state");
  const bool ended = state == "ended";
  const double share = ended ? 1
                       : steps.empty()
                           ? 0
                           : static_cast<double>(step) / static_cast<double>(steps.size());
  std::string line = fmt::format("{}  {}  ", text_at(run, "id"), progress_bar(share, 30));
  if (state == "waiting") return line + "waits until its nodes are there and have no ranks";
  if (ended || step >= steps.size()) return line + "done";
  line += fmt::format("step {} of {}, {}", step + 1, steps.size(), step_text(steps[step]));
  const json& waiting = list_at(run, "waiting_for");
  std::string names;
  for (std::size_t i = 0; i < waiting.size() && i < 8; ++i)
    names += (i == 0 ? ": " : ", ") + waiting[i].get<std::string>();
  if (waiting.size() > 8) names += fmt::format(" and {} more", waiting.size() - 8);
  return line + names;
}

}  // namespace holdfast
