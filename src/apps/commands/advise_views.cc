#include "apps/commands/advise_views.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "apps/sim_report.h"
#include "apps/svg.h"
#include "apps/text_chart.h"

namespace holdfast {
namespace {

using nlohmann::json;

Duration of_seconds(double s) {
  return {static_cast<std::int64_t>(std::llround(std::min(s, 1e9) * 1e9))};
}

std::string time_text(double s) {
  return duration_text(of_seconds(s));
}

// The curve's floor for a picture: what is far below the best is of no interest.
double curve_floor(const Advice& advice) {
  double least = advice.goodput;
  for (const PlanPoint& point : advice.curve) least = std::min(least, point.goodput);
  const double floor = std::max(least, advice.goodput - 0.2);
  return std::floor(floor * 100) / 100;
}

std::string signed_text(double number) {
  return (number < 0 ? "-" : "+") + number_text(std::abs(number));
}

struct Worth {
  std::string what;
  PlanGain gain;
};

std::vector<Worth> worths_of(const AdviceShown& shown) {
  const Advice& a = shown.advice;
  std::vector<Worth> worths = {{"one more spare", a.one_more_spare}};
  if (a.spares > 0) worths.push_back({"one spare less", a.one_spare_less});
  if (a.restart_faster_s > 0)
    worths.push_back({"restart " + time_text(a.restart_faster_s) + " faster", a.restart_faster});
  if (shown.inputs.stall_s > 0)
    worths.push_back({"half the checkpoint stall, saving more often", a.stall_halved});
  if (shown.inputs.repair_s > 0)
    worths.push_back({"machines back in half the time, as many spares", a.repair_halved});
  return worths;
}

std::string headline(const AdviceShown& shown) {
  return fmt::format(
      "{} nodes of {} accelerators; each node interrupts the job once in {}, so "
      "something does every {}",
      shown.inputs.nodes, shown.inputs.accelerators_per_node, time_text(shown.inputs.node_mtbf_s),
      time_text(shown.advice.job_mtbf_s));
}

std::string interval_reason(const Advice& advice) {
  return fmt::format("Young {}, Daly {}; within 0.1 % of the best from {} to {}",
                     time_text(advice.young_s), time_text(advice.daly_s),
                     time_text(advice.interval_least_s), time_text(advice.interval_most_s));
}

std::string spares_reason(const AdviceShown& shown) {
  return fmt::format(
      "{} machines away on average, {} each; {} are enough 99 % of the time, one more than {} "
      "costs "
      "more than it brings",
      number_text(shown.advice.away), time_text(shown.inputs.repair_s), shown.advice.spares_p99,
      shown.advice.spares);
}

std::string simulated_text(const SimulatedPoint& point) {
  return fmt::format("{} simulated ({} interruptions in {})", percent_text(point.goodput),
                     point.incidents, duration_text(point.simulated));
}

double y_of(double goodput, double low, double high) {
  constexpr double kTop = 12, kBottom = 240;
  return kBottom - (kBottom - kTop) * std::clamp((goodput - low) / (high - low), 0.0, 1.0);
}

std::string curve_picture(const AdviceShown& shown) {
  constexpr double kLeft = 60, kRight = 985, kTop = 12, kBottom = 240;
  const Advice& a = shown.advice;
  const double low = curve_floor(a), high = 1;
  const double from = std::log(a.curve.front().interval_s);
  const double to = std::log(a.curve.back().interval_s);
  const auto x = [&](double s) {
    return kLeft + (kRight - kLeft) * (std::log(s) - from) / (to - from);
  };
  Svg svg(1000, 290, "Expected goodput by checkpoint interval");
  for (const double tick : round_ticks(low * 100, high * 100, 5)) {
    svg.line(kLeft, y_of(tick / 100, low, high), kRight, y_of(tick / 100, low, high), "grid");
    svg.text(kLeft - 8, y_of(tick / 100, low, high) + 4, fmt::format("{:g} %", tick), "tick",
             Svg::Anchor::kEnd);
  }
  for (const double s : {1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0,
                         7200.0, 21'600.0, 43'200.0, 86'400.0}) {
    if (s < a.curve.front().interval_s || s > a.curve.back().interval_s) continue;
    svg.line(x(s), kBottom, x(s), kBottom + 4, "axis");
    svg.text(x(s), kBottom + 18, tick_text(of_seconds(s)), "tick", Svg::Anchor::kMiddle);
  }
  svg.line(kLeft, kBottom, kRight, kBottom, "axis");
  svg.text((kLeft + kRight) / 2, kBottom + 40, "work between two checkpoints (logarithmic)", "dim",
           Svg::Anchor::kMiddle);
  std::string path;
  for (const PlanPoint& point : a.curve)
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x(point.interval_s),
                        y_of(point.goodput, low, high));
  svg.path(path, "line");
  svg.line(x(a.interval_s), kTop, x(a.interval_s), kBottom, "best");
  svg.text(x(a.interval_s) + 8, kBottom - 10,
           fmt::format("best: {}, {}", time_text(a.interval_s), percent_text(a.goodput)));
  for (const SimulatedPoint& point : shown.simulated)
    svg.circle(x(point.interval_s), y_of(point.goodput, low, high), 5, "dot2",
               simulated_text(point));
  return std::move(svg).done();
}

std::string worth_rows(const AdviceShown& shown) {
  std::string rows;
  for (const Worth& worth : worths_of(shown))
    rows += fmt::format("<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
                        worth.what, signed_text(worth.gain.accelerator_hours),
                        worth.gain.costs == 0 ? "" : signed_text(worth.gain.costs));
  return rows;
}

}  // namespace

sim::Scenario advised_scenario(const PlanInputs& inputs, double interval_s, std::uint32_t spares,
                               Duration length) {
  sim::Scenario scenario;
  scenario.name = "advise";
  scenario.about = "What `holdfast advise` was asked.";
  scenario.duration = length;
  scenario.topology.nodes = inputs.nodes;
  scenario.topology.spares = spares;
  scenario.topology.accelerators_per_node = inputs.accelerators_per_node;
  sim::JobShape job;
  job.name = "train";
  job.nodes_min = job.nodes_max = inputs.nodes;
  job.step_time = std::clamp(of_seconds(interval_s / 20), milliseconds(50), seconds(5));
  job.checkpoint_interval = std::max(of_seconds(interval_s), milliseconds(50));
  job.checkpoint_stall = of_seconds(inputs.stall_s);
  job.checkpoint_write = of_seconds(inputs.write_s);
  scenario.jobs = {job};
  sim::FaultSource fault;
  fault.name = "node";
  fault.extent = sim::Extent::kNode;
  fault.per_billion_hours = static_cast<std::uint64_t>(std::llround(3.6e12 / inputs.node_mtbf_s));
  fault.shows.symptom = sim::Symptom::kNodeSilent;
  fault.shows.cause = CauseClass::kHost;
  scenario.faults = {fault};
  sim::Costs& costs = scenario.costs;
  costs = {};
  costs.drain = costs.place = costs.process_start = costs.process_start_cold = {};
  costs.rendezvous = costs.first_step = {};
  // The rest of the restart is the protocol's: silence (2.25 s on average) and the first step.
  const Duration protocol = milliseconds(2400) + job.step_time;
  const Duration restore = std::max(of_seconds(inputs.restart_s) - protocol, Duration{});
  costs.restore = {restore, restore};
  const Duration repair = std::max(of_seconds(inputs.repair_s), seconds(1));
  costs.replacement = {repair, repair};
  return scenario;
}

std::string advice_text(const AdviceShown& shown, const Paint& paint) {
  const Advice& a = shown.advice;
  std::string out = headline(shown) + "\n";
  for (const std::string& note : shown.notes) out += paint(Ink::kDim, note) + "\n";
  const auto row = [&](std::string_view name, const std::string& value, const std::string& why) {
    out += pad_right(name, 20) + paint(Ink::kBold, pad_right(value, 12)) + paint(Ink::kDim, why) +
           "\n";
  };
  out += "\n";
  row("checkpoint every", time_text(a.interval_s), interval_reason(a));
  row("spares", std::to_string(a.spares), spares_reason(shown));
  row("expected goodput", percent_text(a.goodput),
      "closed form (Meta's first-order ETTR: " + percent_text(a.goodput_meta) + ")");
  if (!shown.simulated.empty())
    row("", percent_text(shown.simulated[0].goodput), simulated_text(shown.simulated[0]));
  TextChart chart;
  for (const PlanPoint& point : a.curve) chart.points.emplace_back(point.interval_s, point.goodput);
  chart.mark_x = a.interval_s;
  chart.low = curve_floor(a);
  chart.x_text = time_text;
  chart.y_text = percent_text;
  out += "\nexpected goodput by checkpoint interval\n" + render(chart, paint);
  std::vector<std::vector<std::string>> rows = {
      {"in 30 days, accelerator-hours", ">useful ones", ">it takes"}};
  for (const Worth& worth : worths_of(shown))
    rows.push_back({worth.what, signed_text(worth.gain.accelerator_hours),
                    worth.gain.costs == 0 ? "" : signed_text(worth.gain.costs)});
  return out + "\nwhat it would be worth\n" + render_table(rows, paint);
}

json advice_json(const AdviceShown& shown) {
  const Advice& a = shown.advice;
  json curve = json::array(), simulated = json::array(), worth = json::array();
  for (const PlanPoint& point : a.curve)
    curve.push_back({{"interval_s", point.interval_s}, {"goodput", point.goodput}});
  for (const SimulatedPoint& point : shown.simulated)
    simulated.push_back({{"interval_s", point.interval_s},
                         {"goodput", point.goodput},
                         {"goodput_closed_form", point.closed_form},
                         {"simulated_s", point.simulated.s()},
                         {"incidents", point.incidents}});
  for (const Worth& one : worths_of(shown))
    worth.push_back({{"what", one.what},
                     {"accelerator_hours_30d", one.gain.accelerator_hours},
                     {"costs_accelerator_hours_30d", one.gain.costs}});
  json out = {{"nodes", shown.inputs.nodes},
              {"accelerators_per_node", shown.inputs.accelerators_per_node},
              {"node_mtbf_s", shown.inputs.node_mtbf_s},
              {"job_mtbf_s", a.job_mtbf_s},
              {"checkpoint_stall_s", shown.inputs.stall_s},
              {"restart_s", shown.inputs.restart_s},
              {"repair_s", shown.inputs.repair_s},
              {"interval_s", a.interval_s},
              {"interval_young_s", a.young_s},
              {"interval_daly_s", a.daly_s},
              {"interval_least_s", a.interval_least_s},
              {"interval_most_s", a.interval_most_s},
              {"spares", a.spares},
              {"spares_p99", a.spares_p99},
              {"goodput", a.goodput},
              {"goodput_meta_ettr", a.goodput_meta},
              {"goodput_simulated", nullptr},
              {"worth", worth},
              {"simulated", simulated},
              {"notes", shown.notes},
              {"curve", curve}};
  if (!shown.simulated.empty()) out["goodput_simulated"] = shown.simulated[0].goodput;
  return out;
}

std::string advice_page(const AdviceShown& shown) {
  const Advice& a = shown.advice;
  const auto tile = [](const std::string& value, const std::string& label) {
    return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", html_escaped(value),
                       html_escaped(label));
  };
  std::string body =
      "<h1>Checkpoints and spares</h1>\n<p>" + html_escaped(headline(shown)) + ".</p>\n";
  for (const std::string& note : shown.notes)
    body += "<p class=\"note\">" + html_escaped(note) + "</p>\n";
  body += "<div class=\"tiles\">\n" + tile(time_text(a.interval_s), "of work between checkpoints") +
          tile(std::to_string(a.spares), "spares") +
          tile(percent_text(a.goodput), "expected goodput, closed form");
  if (!shown.simulated.empty())
    body += tile(percent_text(shown.simulated[0].goodput),
                 "simulated, " + duration_text(shown.simulated[0].simulated));
  body += "</div>\n<p class=\"note\">" + html_escaped(interval_reason(a)) + ". " +
          html_escaped(spares_reason(shown)) + ".</p>\n";
  body += "<h2>Expected goodput by checkpoint interval</h2>\n" + curve_picture(shown);
  if (!shown.simulated.empty())
    body +=
        "<p class=\"note\">Line: closed form. Circles: simulated with the same control plane "
        "that runs clusters.</p>\n";
  body +=
      "<h2>What it would be worth</h2>\n<table><tr><th>change</th><th class=\"n\">useful "
      "accelerator-hours in 30 days</th><th class=\"n\">accelerator-hours it takes</th></tr>\n" +
      worth_rows(shown) + "</table>\n";
  return html_page("Checkpoints and spares", body);
}

}  // namespace holdfast
