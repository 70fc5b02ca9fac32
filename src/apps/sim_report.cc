#include "apps/sim_report.h"

#include <algorithm>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "apps/svg.h"
#include "apps/terminal.h"
#include "sim/ledger.h"

namespace holdfast {
namespace {

using sim::goodput_ppm;
using sim::IncidentTrace;
using sim::Outcome;
using sim::Part;
using sim::sum;
using sim::Totals;

constexpr double kWidth = 1000;
constexpr std::size_t kLanesMax = 40;
constexpr std::size_t kRowsMax = 2000;

Part part_at(std::size_t index) {
  return static_cast<Part>(index);
}

std::string clock_text(Duration at) {
  const std::int64_t s = at.ns / 1'000'000'000;
  const std::string time = fmt::format("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60);
  return s >= 86'400 ? fmt::format("day {} {}", s / 86'400, time) : time;
}

std::string plural(std::uint64_t n, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", n, n == 1 ? one : many);
}

// A job that grows, or was moved by an operator: nothing broke.
std::string fault_name(const IncidentTrace& incident) {
  if (!incident.fault.empty()) return incident.fault;
  return incident.cause == CauseClass::kScheduling ? "(planned)" : "(no fault known)";
}

std::string tile(std::string_view value, std::string_view label) {
  return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", html_escaped(value),
                     html_escaped(label));
}

std::string header(const sim::Scenario& scenario, const Outcome& outcome) {
  const sim::Topology& t = scenario.topology;
  std::string out = fmt::format(
      "<h1>{}</h1>\n<p>{}</p>\n<p class=\"note\">{} nodes of {} accelerators, {}; {} "
      "simulated, seed {}.</p>\n",
      html_escaped(scenario.name), html_escaped(scenario.about), t.nodes, t.accelerators_per_node,
      plural(t.spares, "spare", "spares"), duration_text(outcome.simulated()), outcome.seed);
  if (outcome.violations.empty()) {
    out += "<p class=\"verdict\">Every property held in this run.</p>\n";
  } else {
    out += fmt::format("<div class=\"verdict bad\"><b>{} did not hold:</b><ul>\n",
                       plural(outcome.violations.size(), "property", "properties"));
    for (const sim::Violation& violation : outcome.violations)
      out += fmt::format("<li>{} at {}: {}<br><code>{}</code></li>\n",
                         html_escaped(violation.checker), clock_text(violation.at - outcome.start),
                         html_escaped(violation.text), html_escaped(violation.repeat));
    out += "</ul></div>\n";
  }
  const std::vector<Duration> recoveries = recovery_times(outcome);
  out += "<div class=\"tiles\">\n";
  out += tile(percent_text(goodput_ppm(outcome.totals) / 1e6), "goodput");
  out += tile(fmt::format("{}", outcome.incidents.size()), "incidents");
  if (!recoveries.empty())
    out +=
        tile(duration_text(percentile(recoveries, 50)),
             "fault to next step, median (P99 " + duration_text(percentile(recoveries, 99)) + ")");
  out += tile(fmt::format("{}", outcome.machines_replaced), "machines replaced");
  out += tile(number_text(accelerator_hours(at(outcome.totals, Part::kLostWork))),
              "accelerator-hours of lost work");
  if (outcome.server_crashes > 0)
    out += tile(fmt::format("{}", outcome.server_crashes), "deaths of the control plane");
  if (outcome.breaker_opened > 0)
    out += tile(fmt::format("{}", outcome.breaker_opened), "times the breaker opened");
  return out + "</div>\n";
}

// Parts of `totals` from `first` on as one bar; labels where they fit.
void stacked_bar(Svg& svg, double y, double height, const Totals& totals, std::size_t first,
                 std::size_t end, double whole) {
  double x = 0;
  for (std::size_t i = first; i < end; ++i) {
    const double share = static_cast<double>(totals[i]) / whole;
    const double width = share * kWidth;
    const std::string name(part_name(part_at(i)));
    const std::string label = name + " " + percent_text(share);
    // A gap between neighbours tells them apart without their colours.
    svg.rect(x, y, std::max(width - 1.5, 0.5), height, word_of(part_at(i)),
             fmt::format("{}: {}, {} accelerator-hours", name, percent_text(share),
                         number_text(accelerator_hours(totals[i]))));
    const bool light = part_at(i) == Part::kPlacement || part_at(i) == Part::kDetection ||
                       part_at(i) == Part::kCheckpointStall || part_at(i) == Part::kRestore ||
                       part_at(i) == Part::kIdle;
    const std::string_view css = light ? "dark" : "inside";
    if (text_width(label) + 12 < width)
      svg.text(x + 7, y + height / 2 + 4, label, css);
    else if (text_width(name) + 12 < width)
      svg.text(x + 7, y + height / 2 + 4, name, css);
    x += width;
  }
}

std::string part_table(const Totals& totals, double wanted) {
  std::string out =
      "<table><tr><th>part</th><th class=\"n\">accelerator-hours</th><th class=\"n\">share</th>"
      "<th>what it is</th></tr>\n";
  for (std::size_t i = 0; i < sim::kParts; ++i) {
    const bool idle = part_at(i) == Part::kIdle;
    out += fmt::format(
        "<tr><td><span class=\"key {}\"></span>{}</td><td class=\"n\">{}</td>"
        "<td class=\"n\">{}</td><td>{}</td></tr>\n",
        word_of(part_at(i)), part_name(part_at(i)), number_text(accelerator_hours(totals[i])),
        idle || wanted == 0 ? "" : percent_text(static_cast<double>(totals[i]) / wanted),
        part_about(part_at(i)));
  }
  return out + "</table>\n";
}

std::string where_the_time_went(const Outcome& outcome) {
  const Totals& totals = outcome.totals;
  const double wanted = static_cast<double>(sum(totals) - at(totals, Part::kIdle));
  std::string out = "<h2>Where the time went</h2>\n";
  if (wanted == 0) return out + "<p>No job wanted an accelerator.</p>\n";
  const double useful = static_cast<double>(at(totals, Part::kUseful));
  const double rest = wanted - useful;
  out +=
      "<p class=\"note\">All the time in which jobs wanted accelerators" +
      std::string(rest > 0 && rest < wanted / 2 ? "; below it, larger, the part that was not useful"
                                                : "") +
      ". Spares and places without a job are idle and not in it.</p>\n";
  const bool zoom = rest > 0 && rest < wanted / 2;
  Svg svg(kWidth, zoom ? 118 : 40, "Where the time of the accelerators went");
  constexpr auto kIdle = static_cast<std::size_t>(Part::kIdle);
  stacked_bar(svg, 2, 34, totals, 0, kIdle, wanted);
  if (zoom) {
    const double from = useful / wanted * kWidth;
    svg.path(fmt::format("M{:.1f} 36 L{:.1f} 36 L{:.1f} 78 L0 78 Z", from, kWidth, kWidth),
             "wedge");
    svg.text(kWidth / 2, 62,
             fmt::format("{} not useful, {} accelerator-hours", percent_text(rest / wanted),
                         number_text(rest / 3.6e12)),
             "dim", Svg::Anchor::kMiddle);
    stacked_bar(svg, 78, 34, totals, 1, kIdle, rest);
  }
  return out + std::move(svg).done() + part_table(totals, wanted);
}

struct Frame {
  double left = 76, top = 8, right = kWidth - 8, bottom = 200;
  double low = 0, high = 1;
  Duration end;

  [[nodiscard]] double x(Duration at) const {
    return left + (right - left) * static_cast<double>(at.ns) / static_cast<double>(end.ns);
  }
  [[nodiscard]] double y(double value) const {
    return bottom - (bottom - top) * (value - low) / (high - low);
  }
};

void time_axis(Svg& svg, const Frame& frame) {
  svg.line(frame.left, frame.bottom, frame.right, frame.bottom, "axis");
  for (const Duration at : round_time_ticks(frame.end, 9)) {
    svg.line(frame.x(at), frame.bottom, frame.x(at), frame.bottom + 4, "axis");
    const bool last = frame.x(at) > frame.right - 20;
    svg.text(frame.x(at), frame.bottom + 18, tick_text(at), "tick",
             last ? Svg::Anchor::kEnd : Svg::Anchor::kMiddle);
  }
}

// Between two samples; nullopt: no job wanted anything.
std::optional<double> goodput_between(const sim::Sample& before, const sim::Sample& after) {
  Totals between{};
  for (std::size_t i = 0; i < sim::kParts; ++i)
    // Work that turned out lost is taken from useful time: a part may shrink.
    between[i] = after.totals[i] > before.totals[i] ? after.totals[i] - before.totals[i] : 0;
  if (sum(between) == at(between, Part::kIdle)) return std::nullopt;
  return goodput_ppm(between) / 1e6;
}

struct Step {
  Duration from, to;
  std::optional<double> goodput;
};

std::vector<Step> goodput_steps(const Outcome& outcome) {
  const auto& samples = outcome.samples;
  // At most 250: more is a blur.
  const std::size_t stride = std::max<std::size_t>(1, samples.size() / 250);
  std::vector<Step> steps;
  for (std::size_t i = 0; i + 1 < samples.size(); i += stride) {
    const sim::Sample& after = samples[std::min(i + stride, samples.size() - 1)];
    steps.push_back({samples[i].at - outcome.start, after.at - outcome.start,
                     goodput_between(samples[i], after)});
  }
  return steps;
}

void goodput_curve(Svg& svg, const Frame& frame, const std::vector<Step>& steps) {
  for (const double tick : round_ticks(frame.low * 100, 100, 5)) {
    svg.line(frame.left, frame.y(tick / 100), frame.right, frame.y(tick / 100), "grid");
    svg.text(frame.left - 8, frame.y(tick / 100) + 4, fmt::format("{:g} %", tick), "tick",
             Svg::Anchor::kEnd);
  }
  std::string edge, area;
  bool open = false;
  for (const Step& step : steps) {
    if (step.goodput) {
      const double from = frame.x(step.from), to = frame.x(step.to);
      const double y = frame.y(std::max(*step.goodput, frame.low));
      edge += fmt::format("{}{:.1f} {:.1f}H{:.1f}", open ? "L" : "M", from, y, to);
      area += fmt::format("M{:.1f} {:.1f}V{:.1f}H{:.1f}V{:.1f}Z", from, frame.bottom, y, to,
                          frame.bottom);
    }
    open = step.goodput.has_value();
  }
  svg.path(area, "area");
  svg.path(edge, "edge");
  for (const Step& step : steps)
    if (step.goodput)
      svg.rect(frame.x(step.from), frame.top, frame.x(step.to) - frame.x(step.from),
               frame.bottom - frame.top, "hit",
               fmt::format("{} to {}: {}", clock_text(step.from), clock_text(step.to),
                           percent_text(*step.goodput)));
}

// Below the curve, on its axis: incidents as ticks, spares as an area.
void beside_goodput(Svg& svg, const Frame& frame, const Outcome& outcome, std::uint32_t spares) {
  const double marks = frame.bottom + 30;
  svg.text(frame.left - 8, marks + 10, "incidents", "tick", Svg::Anchor::kEnd);
  for (const IncidentTrace& incident : outcome.incidents) {
    const double x = frame.x(incident.fault_at - outcome.start);
    svg.line(x, marks, x, marks + 12, "mark");
  }
  if (spares == 0) return;
  const auto& samples = outcome.samples;
  const double floor = marks + 50;
  svg.text(frame.left - 8, floor - 10, "spares", "tick", Svg::Anchor::kEnd);
  for (std::size_t i = 0, next = 0; i + 1 < samples.size(); i = next) {
    for (next = i + 1; next + 1 < samples.size(); ++next)
      if (samples[next].spares_ready != samples[i].spares_ready) break;
    const double x = frame.x(samples[i].at - outcome.start);
    const double height = 28.0 * std::min(samples[i].spares_ready, spares) / spares;
    svg.rect(x, floor - height, frame.x(samples[next].at - outcome.start) - x, height, "spares",
             fmt::format("{} of {} spares ready", samples[i].spares_ready, spares));
  }
  svg.line(frame.left, floor, frame.right, floor, "axis");
}

std::string goodput_over_time(const Outcome& outcome, std::uint32_t spares) {
  if (outcome.samples.size() < 3 || outcome.simulated().ns <= 0) return "";
  const std::vector<Step> steps = goodput_steps(outcome);
  double least = 1;
  for (const Step& step : steps) least = std::min(least, step.goodput.value_or(1));
  Frame frame;
  frame.end = outcome.simulated();
  frame.low = least > 0.95 ? 0.9 : least > 0.55 ? 0.5 : 0;
  Svg svg(kWidth, spares == 0 ? 246 : 282, "Goodput over time");
  goodput_curve(svg, frame, steps);
  time_axis(svg, frame);
  beside_goodput(svg, frame, outcome, spares);
  return "<h2>Goodput over time</h2>\n<p class=\"note\">Useful time over the time that jobs "
         "wanted, in " +
         duration_text(steps.front().to - steps.front().from) +
         " steps. A step in which a fault undid earlier work shows that loss.</p>\n" +
         std::move(svg).done();
}

struct Segment {
  Phase phase;
  Duration from, to;
};

// The phases of a recovery since its fault, in the order in which they were reached.
std::vector<Segment> segments_of(const IncidentTrace& incident) {
  std::vector<Segment> segments;
  Duration reached;
  for (std::size_t i = 0; i < kPhases; ++i) {
    if (!incident.phases[i]) continue;
    const Duration until = std::max(*incident.phases[i] - incident.fault_at, reached);
    segments.push_back({static_cast<Phase>(i), reached, until});
    reached = until;
  }
  return segments;
}

constexpr std::string_view kPhaseLabels[] = {"until noticed",  "until drained",
                                             "until decided",  "until ranks started",
                                             "until restored", "until the first step"};

void draw_lane(Svg& svg, const Frame& frame, double y, const Outcome& outcome,
               const IncidentTrace& incident) {
  const std::string story =
      fmt::format("{}: {} ({}); {}", to_string(incident.id), word_of(incident.cause),
                  word_of(incident.action), incident.summary);
  svg.text(0, y + 12, to_string(incident.id), "dim");
  svg.text(42, y + 12, clock_text(incident.fault_at - outcome.start), "dim");
  std::string name = fault_name(incident);
  if (name.size() > 24) name = name.substr(0, 23) + "\u2026";
  svg.text(150, y + 12, name);
  for (const Segment& segment : segments_of(incident)) {
    if (segment.from >= frame.end) break;
    const double x = frame.x(segment.from);
    const double to = frame.x(std::min(segment.to, frame.end));
    svg.rect(x, y, std::max(to - x - 0.8, 0.4), 15, word_of(segment.phase),
             fmt::format("{} {}\n{}", kPhaseLabels[static_cast<std::size_t>(segment.phase)],
                         duration_text(segment.to - segment.from), story));
  }
  const Duration took = recovery_time(incident, outcome.end);
  if (incident.state == IncidentState::kOpen) {
    const auto segments = segments_of(incident);
    const Duration reached = segments.empty() ? Duration{} : segments.back().to;
    const double x = frame.x(std::min(reached, frame.end));
    svg.rect(x, y + 5, frame.x(std::min(took, frame.end)) - x, 5, "open", "open: " + story);
  }
  std::string end = duration_text(took);
  if (took > frame.end) end = "\u2192 " + end;
  if (incident.state == IncidentState::kOpen) end += ", open";
  if (incident.state == IncidentState::kFailed) end += ", gave up";
  svg.text(std::min(frame.x(std::min(took, frame.end)), frame.right) + 6, y + 12, end, "dim");
}

std::string incident_rows(const Outcome& outcome) {
  std::string out = fmt::format(
      "<details><summary>All {} as a "
      "table</summary>\n<table><tr><th>id</th><th>at</th><th>fault</th>"
      "<th>verdict</th><th>action</th><th class=\"n\">to next step</th><th class=\"n\">rounds</th>"
      "<th class=\"n\">steps lost</th><th>why</th></tr>\n",
      outcome.incidents.size());
  for (std::size_t i = 0; i < std::min(outcome.incidents.size(), kRowsMax); ++i) {
    const IncidentTrace& incident = outcome.incidents[i];
    out += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}{}</td>"
        "<td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>\n",
        to_string(incident.id), clock_text(incident.fault_at - outcome.start),
        html_escaped(fault_name(incident)), word_of(incident.cause), word_of(incident.action),
        duration_text(recovery_time(incident, outcome.end)),
        incident.state == IncidentState::kRecovered ? ""
                                                    : ", " + std::string(word_of(incident.state)),
        incident.rounds, incident.steps_lost ? fmt::format("{}", *incident.steps_lost) : "",
        html_escaped(incident.summary.substr(0, 160)));
  }
  return out + "</table></details>\n";
}

std::string by_fault(const Outcome& outcome) {
  std::map<std::string, std::vector<Duration>> times;
  for (const IncidentTrace& incident : outcome.incidents)
    times[fault_name(incident)].push_back(recovery_time(incident, outcome.end));
  if (times.size() < 2) return "";
  std::vector<std::pair<std::string, std::vector<Duration>>> rows(times.begin(), times.end());
  for (auto& [name, all] : rows) std::ranges::sort(all);
  std::ranges::stable_sort(
      rows, [](const auto& a, const auto& b) { return a.second.size() > b.second.size(); });
  std::string out =
      "<table><tr><th>fault</th><th class=\"n\">incidents</th><th class=\"n\">median to next step"
      "</th><th class=\"n\">P99</th></tr>\n";
  for (const auto& [name, all] : rows)
    out += fmt::format(
        "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td "
        "class=\"n\">{}</td></tr>\n",
        html_escaped(name), all.size(), duration_text(percentile(all, 50)),
        duration_text(percentile(all, 99)));
  return out + "</table>\n";
}

std::string incidents(const Outcome& outcome) {
  std::string out = "<h2>Incidents</h2>\n";
  if (outcome.incidents.empty()) return out + "<p>None.</p>\n";
  std::vector<const IncidentTrace*> lanes;
  for (const IncidentTrace& incident : outcome.incidents) lanes.push_back(&incident);
  const bool some = lanes.size() > kLanesMax;
  if (some) {
    std::ranges::stable_sort(lanes, [&](const IncidentTrace* a, const IncidentTrace* b) {
      return recovery_time(*a, outcome.end) > recovery_time(*b, outcome.end);
    });
    lanes.resize(kLanesMax);
  }
  std::vector<Duration> times;
  for (const IncidentTrace* incident : lanes)
    times.push_back(recovery_time(*incident, outcome.end));
  std::ranges::sort(times);
  Frame frame;
  frame.left = 320;
  frame.right = kWidth - 120;
  frame.top = 4;
  frame.bottom = 8 + 22 * static_cast<double>(lanes.size());
  // A few that waited for hours must not make all others a hair wide.
  frame.end = std::max(std::min(times.back(), percentile(times, 80) * 3 / 2), milliseconds(100));
  Svg svg(kWidth, frame.bottom + 26, "One lane per incident, its phases since the fault");
  for (const Duration at : round_time_ticks(frame.end, 8))
    svg.line(frame.x(at), frame.top, frame.x(at), frame.bottom, "grid");
  for (std::size_t i = 0; i < lanes.size(); ++i)
    draw_lane(svg, frame, 6 + 22 * static_cast<double>(i), outcome, *lanes[i]);
  time_axis(svg, frame);
  std::string legend = "<div class=\"legend\">";
  for (std::size_t i = 0; i < kPhases; ++i)
    legend += fmt::format("<span><span class=\"key {}\"></span>{}</span>\n",
                          word_of(static_cast<Phase>(i)), kPhaseLabels[i]);
  legend += "</div>\n";
  out += fmt::format(
      "<p class=\"note\">{}, from the fault (left edge) to the next step of "
      "training.</p>\n",
      some ? fmt::format("The {} longest of {}", kLanesMax, outcome.incidents.size())
           : std::string("One lane each"));
  return out + legend + std::move(svg).done() + by_fault(outcome) + incident_rows(outcome);
}

std::string job_table(const Outcome& outcome) {
  std::string out =
      "<h2>Jobs</h2>\n<table><tr><th>job</th><th>state</th><th class=\"n\">attempts</th>"
      "<th class=\"n\">step</th><th class=\"n\">committed</th><th>why</th></tr>\n";
  for (std::size_t i = 0; i < std::min<std::size_t>(outcome.jobs.size(), 200); ++i) {
    const sim::JobTrace& job = outcome.jobs[i];
    out += fmt::format(
        "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>"
        "<td class=\"n\">{}</td><td>{}</td></tr>\n",
        html_escaped(job.name), word_of(job.state), job.attempts, job.step, job.committed_step,
        html_escaped(job.reason.substr(0, 200)));
  }
  return out + "</table>\n";
}

}  // namespace

std::string_view part_name(Part part) {
  constexpr std::string_view kNames[] = {"useful",           "lost work",         "detection",
                                         "placement",        "restart",           "restore",
                                         "checkpoint stall", "waiting for nodes", "idle"};
  return kNames[static_cast<std::size_t>(part)];
}

std::string_view part_about(Part part) {
  constexpr std::string_view kAbout[] = {
      "training that counted",
      "training that a fault undid, or that waited for a slow rank",
      "training stood still and nobody had noticed",
      "noticed; ranks drained, verdict, decision, new nodes",
      "processes start, find each other, make their first step",
      "the checkpoint is read",
      "all stand still while a checkpoint is taken",
      "a job wants more nodes than there are",
      "wanted by no job: spares, and places without one"};
  return kAbout[static_cast<std::size_t>(part)];
}

double accelerator_hours(sim::AcceleratorTime time) {
  return static_cast<double>(time) / 3.6e12;
}

std::string number_text(double number) {
  if (number == 0) return "0";
  if (number < 1) return fmt::format("{:.2g}", number);
  if (number < 100) return fmt::format("{:.1f}", number);
  std::string digits = fmt::format("{:.0f}", number);
  for (std::size_t i = digits.size(); i > 3;) {
    i -= 3;
    digits.insert(i, ",");
  }
  return digits;
}

std::string percent_text(double share) {
  const double percent = share * 100;
  if (percent == 0 || percent == 100) return fmt::format("{:.0f} %", percent);
  const double distance = std::min(percent, 100 - percent);
  return fmt::format("{:.{}f} %", percent, distance < 0.1 ? 3 : distance < 10 ? 2 : 1);
}

Duration recovery_time(const IncidentTrace& incident, Instant end) {
  Instant until = end;
  if (incident.state != IncidentState::kOpen) {
    until = incident.fault_at;
    for (const auto& phase : incident.phases)
      if (phase) until = std::max(until, *phase);
  }
  return until - incident.fault_at;
}

std::vector<Duration> recovery_times(const Outcome& outcome) {
  std::vector<Duration> times;
  for (const IncidentTrace& incident : outcome.incidents)
    if (incident.state == IncidentState::kRecovered && incident.cause != CauseClass::kScheduling)
      times.push_back(recovery_time(incident, outcome.end));
  std::ranges::sort(times);
  return times;
}

Duration percentile(const std::vector<Duration>& sorted, std::size_t percent) {
  if (sorted.empty()) return {};
  return sorted[std::min(sorted.size() - 1, sorted.size() * percent / 100)];
}

std::string sim_report(const sim::Scenario& scenario, const Outcome& outcome) {
  std::string body = header(scenario, outcome);
  body += where_the_time_went(outcome);
  body += goodput_over_time(outcome, scenario.topology.spares);
  body += incidents(outcome);
  body += job_table(outcome);
  body += fmt::format(
      "<p class=\"note\">Again: <code>holdfast sim run {} --seed {}</code> &middot; digest "
      "{:016x}, {} events.</p>\n",
      html_escaped(scenario.name), outcome.seed, outcome.digest, outcome.events);
  return html_page(scenario.name + ", seed " + std::to_string(outcome.seed), body);
}

}  // namespace holdfast
