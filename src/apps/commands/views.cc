#include "apps/commands/views.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <optional>

#include <fmt/format.h>

#include "apps/commands/control_plane.h"
#include "model/enum_text.h"
#include "model/incident.h"

namespace holdfast {
namespace {

using nlohmann::json;

Ink ink_of_severity(const std::string& severity) {
  if (severity == "alert") return Ink::kRed;
  return severity == "warning" ? Ink::kYellow : Ink::kPlain;
}

Ink ink_of_state(const std::string& state) {
  for (std::string_view good : {"healthy", "running", "done", "succeeded", "recovered"})
    if (state == good) return Ink::kGreen;
  for (std::string_view bad : {"cordoned", "failed", "open", "gone"})
    if (state == bad) return Ink::kRed;
  return Ink::kYellow;
}

std::string state_text(const json& thing, const Paint& paint) {
  const std::string state = text_at(thing, "state");
  return paint(ink_of_state(state), state);
}

// Free text from a rank or a kernel log, on one line.
std::string line_of(const std::string& text) {
  std::string line = without_controls(text);
  std::ranges::replace(line, '\n', ' ');
  return line;
}

// Free text of several lines, a traceback perhaps, in a column of its own.
std::string indented(const std::string& text, std::size_t column) {
  std::string out;
  for (const char letter : without_controls(text)) {
    out += letter;
    if (letter == '\n') out += std::string(column, ' ');
  }
  out.erase(out.find_last_not_of(" \n") + 1);
  return out;
}

std::string age_text(const json& thing, const char* key, const Clocks& clocks) {
  return has(thing, key) ? duration_text({clocks.now_ns - whole_at(thing, key)}) : "";
}

std::string or_dash(std::string text) {
  return text.empty() ? "-" : std::move(text);
}

std::string whole_or_dash(const json& thing, const char* key) {
  return has(thing, key) ? std::to_string(whole_at(thing, key)) : "-";
}

std::string number_or_dash(const json& thing, const char* key, const char* format) {
  const json& value = at(thing, key);
  return value.is_number() ? fmt::format(fmt::runtime(format), value.get<double>()) : "-";
}

std::string list_text(const json& values) {
  std::string out;
  for (const json& value : values) {
    if (!out.empty()) out += ' ';
    out += value.is_string() ? value.get<std::string>() : value.dump();
  }
  return without_controls(out);
}

std::string bytes_text(std::int64_t bytes) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, unit == 0 ? 0 : 1, kUnits[unit]);
}

// "+0.120 s", from the first sign of the incident
std::string offset_text(std::int64_t ns, std::int64_t from_ns) {
  return fmt::format("{:+.3f} s", static_cast<double>(ns - from_ns) / 1e9);
}

struct PhaseTime {
  std::string name;
  std::int64_t at_ns = 0;
};

std::vector<PhaseTime> phases_of(const json& incident) {
  std::vector<PhaseTime> times;
  const json& phases = at(incident, "phases");
  for (std::string_view word : kWords<Phase>) {
    const std::string key = std::string(word) + "_ns";
    if (!has(phases, key.c_str())) continue;
    const std::int64_t at_ns = whole_at(phases, key.c_str());
    // Earlier than the one before: of an earlier round, and not reached again in the last one.
    if (!times.empty() && at_ns < times.back().at_ns) continue;
    times.push_back({std::string(word), at_ns});
  }
  return times;
}

const json& last_verdict(const json& incident) {
  static const json kNull;
  const json& verdicts = list_at(incident, "verdicts");
  return verdicts.empty() ? kNull : verdicts.back();
}

// Each phase as a bar on one common axis: where the time went.
std::string timeline(const std::vector<PhaseTime>& phases, const Paint& paint) {
  constexpr std::int64_t kColumns = 48;
  std::string out;
  const std::int64_t begin = phases.front().at_ns;
  const std::int64_t total = std::max<std::int64_t>(phases.back().at_ns - begin, 1);
  const auto column = [&](std::int64_t at_ns) {
    return std::clamp<std::int64_t>((at_ns - begin) * kColumns / total, 0, kColumns);
  };
  for (std::size_t i = 1; i < phases.size(); ++i) {
    const std::int64_t from = std::min(column(phases[i - 1].at_ns), kColumns - 1);
    const std::int64_t to = std::max(column(phases[i].at_ns), from + 1);
    std::string bar;
    for (std::int64_t k = from; k < to; ++k) bar += "█";
    out += fmt::format("  {:<12}{:>7} ms  {}{}\n", phases[i].name,
                       (phases[i].at_ns - phases[i - 1].at_ns) / 1'000'000,
                       std::string(static_cast<std::size_t>(from), ' '), paint(Ink::kCyan, bar));
  }
  return out + fmt::format("  {:<12}{:>7} ms\n", "total", total / 1'000'000);
}

std::string evidence_lines(const json& verdict, std::int64_t from_ns) {
  std::string out;
  for (const json& evidence : list_at(verdict, "evidence")) {
    std::string where = text_at(evidence, "node");
    if (has(evidence, "rank"))
      where += fmt::format("{}rank {}", where.empty() ? "" : " ", whole_at(evidence, "rank"));
    out += fmt::format("  {:>10}  {:<12}  {}\n", offset_text(whole_at(evidence, "at_ns"), from_ns),
                       or_dash(where), indented(text_at(evidence, "what"), 28));
  }
  return out;
}

std::string steps_lost_text(const json& incident) {
  const std::int64_t steps = whole_at(incident, "steps_lost");
  return fmt::format("{} step{}", steps, steps == 1 ? "" : "s");
}

std::string lost_text(const json& incident) {
  if (!has(incident, "steps_lost"))
    return fmt::format("not known (step {} was reached)", whole_at(incident, "step_reached"));
  return fmt::format("{} (step {} was reached, {} restored)", steps_lost_text(incident),
                     whole_at(incident, "step_reached"), whole_or_dash(incident, "restored_step"));
}

std::string incident_headline(const json& incident, const Clocks& clocks, const Paint& paint) {
  const auto phases = phases_of(incident);
  std::string took;
  if (!phases.empty()) {
    const bool open = text_at(incident, "state") == "open";
    const std::int64_t end = open ? clocks.now_ns : phases.back().at_ns;
    took = duration_text({end - phases.front().at_ns}) +
           (open ? " since the first sign"
            : phases.back().name == word_of(Phase::kFirstStep)
                ? " from the first sign to the next step"
                : " from the first sign to the end");
  }
  return fmt::format("{}  {}  {}  {}\n", paint(Ink::kBold, "incident " + text_at(incident, "id")),
                     "job " + text_at(incident, "job"), state_text(incident, paint), took);
}

// ---- the live view

std::string spark(const std::deque<double>& values) {
  constexpr std::array kLevels = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  double most = 0;
  for (double value : values) most = std::max(most, value);
  std::string out;
  for (double value : values) {
    const double share = most > 0 ? value / most : 0;
    out += kLevels[static_cast<std::size_t>(std::clamp(std::lround(share * 7), 0l, 7l))];
  }
  return out;
}

std::string live_header(const json& job, const Paint& paint) {
  const json& ranks = list_at(job, "ranks");
  const json& first = ranks.empty() ? json() : ranks.front();
  const json& attempt = at(job, "attempt");
  // What the ranks do now; the furthest step of all attempts when none has made one.
  std::int64_t step = 0;
  for (const json& rank : ranks) step = std::max(step, whole_at(rank, "step"));
  if (step == 0) step = whole_at(job, "step");
  std::string line =
      fmt::format("{}  {}  attempt {}  step {}  {} steps/s  loss {}  commit {}",
                  paint(Ink::kBold, text_at(at(job, "spec"), "name") + " " + text_at(job, "id")),
                  state_text(job, paint), or_dash(text_at(attempt, "number")),
                  whole_at(job, "step"), number_or_dash(job, "steps_per_s", "{:.1f}"),
                  number_or_dash(first, "loss", "{:.4f}"), whole_or_dash(job, "committed_step"));
  const std::string reason = text_at(job, "reason");
  return reason.empty() ? line : line + "  " + paint(Ink::kDim, line_of(reason));
}

// A straggler is shown as one; the JSON says against what.
std::string rank_state(const json& rank, const Paint& paint) {
  const std::string state = state_text(rank, paint);
  return text_at(rank, "slow").empty() ? state : state + ", slow";
}

std::vector<std::vector<std::string>> live_rows(const LiveJob& live, std::size_t rows_max,
                                                const Paint& paint) {
  std::vector<std::vector<std::string>> rows = {{">PLACE", "NODE", ">RANK", "STATE", ">STEP",
                                                 ">STEPS/S", ">LOSS",
                                                 live.speeds.empty() ? "" : "SPEED"}};
  for (const json& rank : list_at(live.job, "ranks")) {
    if (rows.size() > rows_max) break;
    const auto speeds = live.speeds.find(whole_at(rank, "rank"));
    rows.push_back({whole_or_dash(rank, "place"), or_dash(text_at(rank, "node")),
                    whole_or_dash(rank, "rank"), rank_state(rank, paint),
                    whole_or_dash(rank, "step"), number_or_dash(rank, "steps_per_s", "{:.1f}"),
                    number_or_dash(rank, "loss", "{:.4f}"),
                    speeds == live.speeds.end() ? "" : spark(speeds->second)});
  }
  return rows;
}

std::string spares_line(const json& status, const Paint& paint) {
  std::string spares;
  for (const json& node : list_at(status, "nodes")) {
    const std::string state = text_at(node, "state");
    const bool leaving = state == "cordoned" || state == "replacing" || state == "gone";
    if (whole_at(node, "place") != 0 || leaving) continue;
    spares += (spares.empty() ? "" : ", ") + text_at(node, "id") + " " + state_text(node, paint);
  }
  return paint(Ink::kDim, "spares  ") + (spares.empty() ? "none" : spares);
}

void add_incident_lines(const json& incident, const Paint& paint, std::vector<std::string>& lines) {
  if (incident.is_null()) return;
  const auto phases = phases_of(incident);
  std::string line = paint(Ink::kBold, text_at(incident, "id")) + " " + state_text(incident, paint);
  if (phases.size() > 1 && phases.back().name == word_of(Phase::kFirstStep))
    line += " in " + duration_text({phases.back().at_ns - phases.front().at_ns});
  if (has(incident, "steps_lost")) line += ", " + steps_lost_text(incident) + " lost";
  std::string parts;
  for (std::size_t i = 1; i < phases.size(); ++i)
    parts += fmt::format("  {} {}", phases[i].name,
                         paint(Ink::kCyan, duration_text({phases[i].at_ns - phases[i - 1].at_ns})));
  lines.emplace_back();
  lines.push_back(line);
  if (!parts.empty()) lines.push_back(" " + parts);
  if (const std::string verdict = verdict_line(last_verdict(incident)); !verdict.empty())
    lines.push_back("   " + verdict);
}

bool is_healthy(const json& status) {
  std::int64_t placed = 0;
  std::int64_t spares = 0;
  for (const json& node : list_at(status, "nodes")) {
    const std::string state = text_at(node, "state");
    if (state == "gone") continue;
    if (state != "healthy") return false;
    ++(whole_at(node, "place") != 0 ? placed : spares);
  }
  for (const json& job : list_at(status, "jobs"))
    if (text_at(job, "state") == "recovering") return false;
  const json& spec = at(status, "spec");
  return placed >= whole_at(spec, "nodes") && spares >= whole_at(spec, "spares") &&
         list_at(status, "incidents_open").empty() && at(at(status, "breaker"), "open") != true;
}

void add_row(std::string& out, const char* name, const std::string& value, const Paint& paint) {
  if (!value.empty())
    out += "  " + paint(Ink::kDim, pad_right(name, 16)) + "  " + line_of(value) + "\n";
}

}  // namespace

bool has_ended(const json& job) {
  const std::string state = text_at(job, "state");
  return state == "succeeded" || state == "failed" || state == "stopped";
}

Clocks clocks_of(const json& answer) {
  return {whole_at(answer, "now_ns"), whole_at(answer, "wall_unix_ns")};
}

std::string wall_text(std::int64_t unix_ns) {
  const std::time_t seconds = unix_ns / 1'000'000'000;
  std::tm local{};
  ::localtime_r(&seconds, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
  return text;
}

std::string event_line(const json& event, const Paint& paint) {
  std::string about;
  for (const char* key : {"node", "job", "incident"})
    if (has(event, key)) about += (about.empty() ? "" : " ") + text_at(event, key);
  const std::string severity = text_at(event, "severity");
  return fmt::format("{}  {}  {}  {}{}", wall_text(whole_at(event, "wall_unix_ns")),
                     paint(ink_of_severity(severity), pad_right(severity, 7)),
                     pad_right(text_at(event, "kind"), 18), line_of(text_at(event, "text")),
                     about.empty() ? "" : paint(Ink::kDim, "  (" + about + ")"));
}

std::string verdict_line(const json& verdict) {
  if (verdict.is_null()) return "";
  return fmt::format("{}, {} (confidence {}): {}", text_at(verdict, "cause"),
                     text_at(verdict, "action"), text_at(verdict, "confidence"),
                     line_of(text_at(verdict, "summary")));
}

std::string status_page(const json& status, const Paint& paint) {
  const Clocks clocks = clocks_of(status);
  const json& spec = at(status, "spec");
  const std::int64_t spares = whole_at(spec, "spares");
  std::string out =
      fmt::format("{}  {} nodes, {} spare{}  {}\n\n",
                  paint(Ink::kBold, "cluster " + text_at(status, "cluster")),
                  whole_at(spec, "nodes"), spares, spares == 1 ? "" : "s",
                  is_healthy(status) ? paint(Ink::kGreen, "everything is healthy")
                                     : paint(Ink::kYellow, "needs attention or is recovering"));
  const json& breaker = at(status, "breaker");
  if (at(breaker, "open") == true)
    out += paint(Ink::kRed, "the circuit breaker is open") +
           fmt::format(
               " since {}: too many nodes look bad at once, so nothing is cordoned.\n"
               "Look at the nodes, then: holdfast breaker close\n\n",
               age_text(breaker, "since_ns", clocks));
  out += node_table(list_at(status, "nodes"), clocks, paint);
  json live = json::array();
  for (const json& job : list_at(status, "jobs"))
    if (!has_ended(job)) live.push_back(job);
  if (!live.empty()) out += "\n" + job_table(live, paint);
  if (const std::size_t ended = list_at(status, "jobs").size() - live.size(); ended > 0)
    out += paint(Ink::kDim, fmt::format("\n{} job{} ended: holdfast job list\n", ended,
                                        ended == 1 ? " has" : "s have"));
  if (!list_at(status, "incidents_open").empty())
    out += "\n" + incident_table(list_at(status, "incidents_open"), clocks, paint);
  return out;
}

std::string node_table(const json& nodes, const Clocks& clocks, const Paint& paint) {
  std::vector<std::vector<std::string>> rows;
  std::int64_t gone = 0;
  std::vector<const json*> sorted;
  for (const json& node : nodes) {
    if (text_at(node, "state") == "gone")
      ++gone;
    else
      sorted.push_back(&node);
  }
  // Places in order, then the spares.
  std::ranges::stable_sort(sorted, {}, [](const json* node) {
    const std::int64_t place = whole_at(*node, "place");
    return place == 0 ? std::numeric_limits<std::int64_t>::max() : place;
  });
  for (const json* node : sorted)
    rows.push_back({whole_at(*node, "place") == 0 ? "spare" : whole_or_dash(*node, "place"),
                    text_at(*node, "id"), state_text(*node, paint),
                    age_text(*node, "since_ns", clocks), or_dash(text_at(*node, "job")),
                    line_of(text_at(*node, "reason"))});
  if (rows.empty()) return "no nodes\n";
  rows.insert(rows.begin(), {">PLACE", "NODE", "STATE", "FOR", "JOB", "REASON"});
  std::string out = render_table(rows, paint);
  if (gone > 0) out += paint(Ink::kDim, fmt::format("and {} that are gone\n", gone));
  return out;
}

std::string node_page(const json& node, const Clocks& clocks, const Paint& paint) {
  std::string out = paint(Ink::kBold, "node " + text_at(node, "id")) + "  " +
                    state_text(node, paint) + " for " + age_text(node, "since_ns", clocks) + "\n";
  const std::int64_t place = whole_at(node, "place");
  add_row(out, "place", place == 0 ? "none (a spare, or no member)" : std::to_string(place), paint);
  add_row(out, "reason", text_at(node, "reason"), paint);
  add_row(out, "job", or_dash(text_at(node, "job")), paint);
  add_row(out, "address", text_at(node, "address"), paint);
  add_row(out, "agent pid", whole_or_dash(node, "pid"), paint);
  add_row(out, "cpus", whole_or_dash(node, "cpus"), paint);
  add_row(out, "memory", bytes_text(whole_at(node, "memory_bytes")), paint);
  return out;
}

std::string job_table(const json& jobs, const Paint& paint) {
  std::vector<std::vector<std::string>> rows;
  for (const json& job : jobs) {
    const bool brief = has(job, "name");
    const json& attempt = at(job, "attempt");
    const json& number = brief ? attempt : at(attempt, "number");
    const json& nodes = brief ? list_at(job, "nodes") : list_at(attempt, "nodes");
    rows.push_back(
        {text_at(job, "id"), brief ? text_at(job, "name") : text_at(at(job, "spec"), "name"),
         state_text(job, paint), number.is_null() ? "-" : list_text(json::array({number})),
         whole_or_dash(job, "step"), or_dash(list_text(nodes)), line_of(text_at(job, "reason"))});
  }
  if (rows.empty()) return "no jobs\n";
  rows.insert(rows.begin(), {"JOB", "NAME", "STATE", "ATTEMPT", ">STEP", "NODES", "REASON"});
  return render_table(rows, paint);
}

std::string job_page(const json& job, const Clocks& clocks, const Paint& paint) {
  const json& spec = at(job, "spec");
  const json& attempt = at(job, "attempt");
  std::string out = paint(Ink::kBold, "job " + text_at(job, "id") + " " + text_at(spec, "name")) +
                    "  " + state_text(job, paint) + "\n";
  add_row(out, "reason", text_at(job, "reason"), paint);
  add_row(out, "submitted",
          age_text(job, "submitted_ns", clocks) + " ago by " + or_dash(text_at(spec, "owner")),
          paint);
  if (has(job, "ended_ns"))
    add_row(out, "ended",
            fmt::format("{} ago, exit code {}", age_text(job, "ended_ns", clocks),
                        whole_at(job, "exit_code")),
            paint);
  add_row(out, "command", list_text(list_at(spec, "command")), paint);
  add_row(out, "working folder", text_at(spec, "working_folder"), paint);
  add_row(out, "nodes",
          fmt::format("{} to {}, {} ranks each", whole_at(spec, "nodes_min"),
                      whole_at(spec, "nodes_max"), whole_at(spec, "ranks_per_node")),
          paint);
  add_row(out, "attempt",
          fmt::format("{} on {}", or_dash(text_at(attempt, "number")),
                      or_dash(list_text(list_at(attempt, "nodes")))),
          paint);
  add_row(out, "step",
          fmt::format("{}, last commit {}", whole_at(job, "step"),
                      whole_or_dash(job, "committed_step")),
          paint);
  add_row(out, "checkpoints", text_at(at(spec, "checkpoint"), "folder"), paint);
  add_row(out, "incident", text_at(job, "incident"), paint);
  add_row(out, "last verdict", verdict_line(at(job, "last_verdict")), paint);
  const LiveJob live{job, {}, {}, {}, {}};
  auto rows = live_rows(live, 1000, paint);
  if (rows.size() > 1) out += "\n" + render_table(rows, paint);
  return out;
}

std::string incident_table(const json& incidents, const Clocks& clocks, const Paint& paint) {
  std::vector<std::vector<std::string>> rows;
  for (const json& incident : incidents) {
    const auto phases = phases_of(incident);
    const bool open = text_at(incident, "state") == "open";
    const std::int64_t begin = phases.empty() ? clocks.now_ns : phases.front().at_ns;
    const std::int64_t end = open || phases.empty() ? clocks.now_ns : phases.back().at_ns;
    rows.push_back({text_at(incident, "id"), text_at(incident, "job"), state_text(incident, paint),
                    wall_text(clocks.wall_unix_ns - (clocks.now_ns - begin)),
                    duration_text({end - begin}), whole_or_dash(incident, "steps_lost"),
                    or_dash(verdict_line(last_verdict(incident)))});
  }
  if (rows.empty()) return "no incidents\n";
  rows.insert(rows.begin(),
              {"INCIDENT", "JOB", "STATE", "BEGAN", "TOOK", ">STEPS LOST", "VERDICT"});
  return render_table(rows, paint);
}

std::string incident_report(const json& incident, const Clocks& clocks, const Paint& paint) {
  const auto phases = phases_of(incident);
  const std::int64_t begin = phases.empty() ? clocks.now_ns : phases.front().at_ns;
  const json& verdicts = list_at(incident, "verdicts");
  std::string out = incident_headline(incident, clocks, paint) + "\n";
  const json& verdict = last_verdict(incident);
  if (verdict.is_null()) {
    add_row(out, "what happened", "not known yet", paint);
  } else {
    add_row(out, "what happened", text_at(verdict, "summary"), paint);
    add_row(out, "cause",
            fmt::format("{} (confidence {})", text_at(verdict, "cause"),
                        text_at(verdict, "confidence")),
            paint);
    add_row(out, "action", text_at(verdict, "action"), paint);
    add_row(out, "nodes", list_text(list_at(verdict, "nodes")), paint);
    add_row(out, "ranks", list_text(list_at(verdict, "ranks")), paint);
  }
  add_row(out, "began", wall_text(clocks.wall_unix_ns - (clocks.now_ns - begin)), paint);
  add_row(out, "lost", lost_text(incident), paint);
  if (has(incident, "first_attempt"))
    add_row(out, "attempts",
            fmt::format("{} was hit, {} {}", text_at(incident, "first_attempt"),
                        or_dash(text_at(incident, "last_attempt")),
                        text_at(incident, "state") == "failed" ? "was the last" : "went on"),
            paint);
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    const std::string lines = evidence_lines(verdicts[i], begin);
    if (lines.empty()) continue;
    const std::string title = verdicts.size() == 1 ? "Evidence"
                                                   : fmt::format("Evidence of round {}: {}", i + 1,
                                                                 text_at(verdicts[i], "cause"));
    out += "\n" + paint(Ink::kBold, title) + "\n" + lines;
  }
  if (phases.size() > 1)
    out += "\n" + paint(Ink::kBold, "Timeline") + "\n" + timeline(phases, paint);
  if (!list_at(incident, "story").empty()) {
    out += "\n" + paint(Ink::kBold, "Story") + "\n";
    for (const json& line : list_at(incident, "story"))
      out += fmt::format("  {:>10}  {}\n", offset_text(whole_at(line, "at_ns"), begin),
                         line_of(text_at(line, "text")));
  }
  return out;
}

std::vector<std::string> live_lines(const LiveJob& live, std::int64_t wall_unix_ns,
                                    const Screen& screen) {
  const Paint& paint = screen.paint;
  const std::size_t ranks = list_at(live.job, "ranks").size();
  // Everything but the rows of the ranks takes about 16 lines.
  const std::size_t rows_max = screen.height > 20 ? screen.height - 16 : 4;
  std::vector<std::string> lines = {live_header(live.job, paint), ""};
  const std::string table = render_table(live_rows(live, rows_max, paint), paint);
  for (std::size_t begin = 0; begin < table.size();) {
    const std::size_t end = table.find('\n', begin);
    lines.push_back(table.substr(begin, end - begin));
    begin = end + 1;
  }
  if (ranks > rows_max) lines.push_back(fmt::format("  and {} more ranks", ranks - rows_max));
  lines.push_back(spares_line(live.status, paint));
  add_incident_lines(live.incident, paint, lines);
  lines.emplace_back();
  for (const json& event : live.events) {
    const std::int64_t ago = wall_unix_ns - whole_at(event, "wall_unix_ns");
    lines.push_back(
        paint(Ink::kDim, pad_left(duration_text({ago}) + " ago", 16)) + "  " +
        paint(ink_of_severity(text_at(event, "severity")), line_of(text_at(event, "text"))));
  }
  return lines;
}

}  // namespace holdfast
