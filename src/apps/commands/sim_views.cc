#include "apps/commands/sim_views.h"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "apps/sim_report.h"

namespace holdfast {
namespace {

using nlohmann::json;
using sim::goodput_ppm;
using sim::Part;
using sim::sum;

std::string when(Duration at) {
  return at >= seconds(86'400)
             ? fmt::format("day {} {:02}:{:02}", at.ns / seconds(86'400).ns,
                           at.ns / minutes(60).ns % 24, at.ns / minutes(1).ns % 60)
             : duration_text(at);
}

std::string where_the_time_went(const sim::Totals& totals, const Paint& paint) {
  constexpr std::size_t kBar = 30;
  const double wanted = static_cast<double>(sum(totals) - at(totals, Part::kIdle));
  const double rest = wanted - static_cast<double>(at(totals, Part::kUseful));
  std::vector<std::vector<std::string>> rows = {
      {"part", ">accelerator-hours", ">share", "of what was not useful"}};
  for (std::size_t i = 0; i < sim::kParts; ++i) {
    const Part part = static_cast<Part>(i);
    const double time = static_cast<double>(totals[i]);
    const bool lost = part != Part::kUseful && part != Part::kIdle && rest > 0;
    const auto length = lost ? static_cast<std::size_t>(time / rest * kBar + 0.5) : 0;
    std::string bar;
    for (std::size_t k = 0; k < length; ++k) bar += "\u2588";
    rows.push_back({std::string(part_name(part)), number_text(accelerator_hours(totals[i])),
                    part == Part::kIdle || wanted == 0 ? "" : percent_text(time / wanted),
                    lost && time > 0 ? bar + " " + percent_text(time / rest) : ""});
  }
  return render_table(rows, paint);
}

// By what struck: medians of the seconds from the fault to each phase, of the recoveries that went
// through in one round.
json phases_json(const sim::Outcome& outcome) {
  std::map<std::string, std::array<std::vector<Duration>, kPhases>> took;
  for (const sim::IncidentTrace& incident : outcome.incidents) {
    if (incident.state != IncidentState::kRecovered || incident.rounds != 1) continue;
    for (std::size_t i = 0; i < kPhases; ++i)
      if (incident.phases[i])
        took[incident.fault][i].push_back(*incident.phases[i] - incident.fault_at);
  }
  json out = json::object();
  for (auto& [fault, phases] : took)
    for (std::size_t i = 0; i < kPhases; ++i) {
      std::sort(phases[i].begin(), phases[i].end());
      if (!phases[i].empty())
        out[fault][std::string(word_of(static_cast<Phase>(i)))] = percentile(phases[i], 50).s();
    }
  return out;
}

}  // namespace

json outcome_json(const sim::Outcome& outcome) {
  const double simulated_s = outcome.simulated().s();
  json hours = json::object();
  for (std::size_t i = 0; i < sim::kParts; ++i)
    hours[std::string(word_of(static_cast<Part>(i)))] = accelerator_hours(outcome.totals[i]);
  json violated = json::array();
  for (const sim::Violation& violation : outcome.violations)
    violated.push_back({{"checker", violation.checker},
                        {"text", violation.text},
                        {"at_s", (violation.at - outcome.start).s()},
                        {"repeat", violation.repeat}});
  json jobs = json::array();
  for (const sim::JobTrace& job : outcome.jobs)
    jobs.push_back({{"name", job.name},
                    {"state", word_of(job.state)},
                    {"attempts", job.attempts},
                    {"step", job.step},
                    {"committed_step", job.committed_step}});
  const std::vector<Duration> recoveries = recovery_times(outcome);
  json out = {{"scenario", outcome.scenario},
              {"seed", outcome.seed},
              {"goodput", goodput_ppm(outcome.totals) / 1e6},
              {"digest", fmt::format("{:016x}", outcome.digest)},
              {"last_draw", fmt::format("{:016x}", outcome.last_draw)},
              {"events", outcome.events},
              {"faults", outcome.faults},
              {"incidents", outcome.incidents.size()},
              {"recovery_p50_s", percentile(recoveries, 50).s()},
              {"recovery_p99_s", percentile(recoveries, 99).s()},
              {"phases_s", phases_json(outcome)},
              {"machines_replaced", outcome.machines_replaced},
              {"breaker_opened", outcome.breaker_opened},
              {"server_crashes", outcome.server_crashes},
              {"accelerator_hours", hours},
              {"jobs", jobs},
              {"wall_s", outcome.wall.s()},
              {"cpu_s", outcome.cpu.s()},
              {"simulated_s", simulated_s},
              {"decided_s", nullptr},
              {"violations", outcome.violations.size()},
              {"violated", violated}};
  if (const auto decided = outcome.decided()) out["decided_s"] = decided->s();
  if (outcome.wall.ns > 0) out["times_real_time"] = simulated_s / outcome.wall.s();
  return out;
}

std::string outcome_text(const sim::Scenario& scenario, const sim::Outcome& outcome,
                         const Paint& paint) {
  const double goodput = goodput_ppm(outcome.totals) / 1e6;
  std::string out =
      fmt::format("{}, seed {}: {} of {} nodes\n{}\n\n", paint(Ink::kBold, outcome.scenario),
                  outcome.seed, duration_text(outcome.simulated()), scenario.topology.nodes,
                  paint(Ink::kDim, scenario.about));
  out += fmt::format("goodput    {}\n", paint(Ink::kBold, percent_text(goodput)));
  const std::vector<Duration> recoveries = recovery_times(outcome);
  const auto open =
      std::ranges::count(outcome.incidents, IncidentState::kOpen, &sim::IncidentTrace::state);
  out += fmt::format("incidents  {}", outcome.incidents.size());
  if (!recoveries.empty())
    out += fmt::format(", to the next step: median {}, P99 {}",
                       duration_text(percentile(recoveries, 50)),
                       duration_text(percentile(recoveries, 99)));
  if (open > 0) out += fmt::format(", {} open at the end", open);
  out += fmt::format("\nmachines   {} replaced\n", outcome.machines_replaced);
  if (const auto decided = outcome.decided(); decided && outcome.simulated() < minutes(24 * 60))
    out += fmt::format("decided    {} from the first fault to the last decision\n",
                       duration_text(*decided));
  if (outcome.server_crashes > 0)
    out += fmt::format("server     died {} times\n", outcome.server_crashes);
  if (outcome.breaker_opened > 0)
    out += fmt::format("breaker    opened {} times\n", outcome.breaker_opened);
  out += "\n" + where_the_time_went(outcome.totals, paint) + "\n";
  if (outcome.wall.ns > 0)
    out +=
        fmt::format("{} events in {}: {} x real time; digest {:016x}\n",
                    number_text(static_cast<double>(outcome.events)), duration_text(outcome.wall),
                    number_text(outcome.simulated().s() / outcome.wall.s()), outcome.digest);
  if (outcome.violations.empty()) return out + paint(Ink::kGreen, "every property held") + "\n";
  out += paint(Ink::kRed, fmt::format("{} did not hold:", outcome.violations.size())) + "\n";
  for (const sim::Violation& violation : outcome.violations)
    out += fmt::format("  {} at {}: {}\n    {}\n", violation.checker,
                       when(violation.at - outcome.start), violation.text, violation.repeat);
  return out;
}

std::string progress_bar(double share, std::size_t columns) {
  share = std::clamp(share, 0.0, 1.0);
  const auto done = static_cast<std::size_t>(share * static_cast<double>(columns));
  return "[" + std::string(done, '#') + std::string(columns - done, '.') + "] " +
         fmt::format("{:3.0f} %", share * 100);
}

}  // namespace holdfast
