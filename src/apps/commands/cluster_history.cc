#include "apps/commands/cluster_history.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "apps/commands/control_plane.h"
#include "apps/terminal.h"
#include "model/fault.h"
#include "model/incident.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::uint64_t kEnough = 10;  // interruptions: their rate is then known within a third

bool is_the_jobs_own(const json& incident) {
  const json& verdicts = list_at(incident, "verdicts");
  if (verdicts.empty()) return false;
  const std::string cause = text_at(verdicts.front(), "cause");
  return cause == word_of(CauseClass::kApplication) || cause == word_of(CauseClass::kOutOfMemory);
}

}  // namespace

ClusterHistory history_of(const json& status, const json& incidents) {
  ClusterHistory history;
  history.nodes = static_cast<std::uint32_t>(whole_at(at(status, "spec"), "nodes"));
  history.node_s = static_cast<double>(whole_at(status, "now_ns")) / 1e9 * history.nodes;
  std::vector<double> restarts;
  const std::string noticed = std::string(word_of(Phase::kNoticed)) + "_ns";
  const std::string first_step = std::string(word_of(Phase::kFirstStep)) + "_ns";
  for (const json& incident : list_at(incidents, "incidents")) {
    if (is_the_jobs_own(incident)) continue;
    ++history.interruptions;
    const json& phases = at(incident, "phases");
    if (!has(phases, noticed.c_str()) || !has(phases, first_step.c_str())) continue;
    restarts.push_back(static_cast<double>(whole_at(phases, first_step.c_str()) -
                                           whole_at(phases, noticed.c_str())) /
                       1e9);
  }
  history.recovered = restarts.size();
  std::ranges::sort(restarts);
  if (!restarts.empty()) history.restart_s = restarts[restarts.size() / 2];
  return history;
}

std::string history_text(const ClusterHistory& history) {
  const double s = history.nodes == 0 ? 0 : history.node_s / history.nodes;
  std::string text =
      fmt::format("this cluster: {} nodes over {}: {} interruption{} that were not a job's own",
                  history.nodes, duration_text({static_cast<std::int64_t>(s * 1e9)}),
                  history.interruptions, history.interruptions == 1 ? "" : "s");
  if (history.recovered > 0)
    text += fmt::format("; from the first sign to the next step {} (median)",
                        duration_text({static_cast<std::int64_t>(history.restart_s * 1e9)}));
  if (history.interruptions < kEnough)
    text += "; too few to know a rate from, so give --mtbf if you know better";
  return text;
}

}  // namespace holdfast
