#include "sim/scenario_file.h"

#include <limits>
#include <utility>
#include <vector>

#include "api/strict_fields.h"

namespace holdfast::sim {
namespace {

template <class E>
std::vector<std::string_view> words_of() {
  return {kWords<E>.begin(), kWords<E>.end()};
}

// Fills a Scenario from a tree. Types are judged here, ranges in check_scenario().
class ScenarioReader : private FieldReader {
 public:
  explicit ScenarioReader(const std::string& file) : FieldReader(file, "scenario") {}

  Result<Scenario> read(const FieldValue& root) {
    read_root(root);
    if (error()) return *error();
    for (const char* needed : {"name", "duration", "topology", "jobs"})
      if (!given(needed))
        return Error{Errc::kInvalidField, place(line_of("")) + needed + ": missing; a scenario " +
                                              "has name, duration, topology and jobs"};
    if (auto checked = check_scenario(scenario_); !checked.ok()) {
      const std::string& detail = checked.error().detail;
      return Error{checked.error().code,
                   place(nearest_line(detail.substr(0, detail.find(':')))) + detail};
    }
    return scenario_;
  }

 private:
  // Of the field, or of what it would stand in.
  int nearest_line(std::string path) const {
    while (!given(path) && path.find_last_of(".[") != path.npos)
      path.erase(path.find_last_of(".["));
    return line_of(path);
  }

  void read_root(const FieldValue& root) {
    Scenario& s = scenario_;
    read_fields(
        root, "",
        {{"name", text_into(s.name)},
         {"about", text_into(s.about)},
         {"duration", duration_into(s.duration)},
         {"topology", [this](auto& v, auto& p) { read_topology(v, p); }},
         {"jobs", each(s.jobs, [this](auto& v, auto& p, JobShape& job) { read_job(v, p, job); })},
         {"faults", each(s.faults, [this](auto& v, auto& p,
                                          FaultSource& source) { read_source(v, p, source); })},
         {"weak",
          each(s.weak, [this](auto& v, auto& p, WeakGroup& group) { read_weak(v, p, group); })},
         {"planned", each(s.planned, [this](auto& v, auto& p,
                                            PlannedFault& fault) { read_planned(v, p, fault); })},
         {"spot", [this](auto& v, auto& p) { read_spot(v, p); }},
         {"costs", [this](auto& v, auto& p) { read_costs(v, p); }},
         {"network", [this](auto& v, auto& p) { read_network(v, p); }},
         {"policy", [this](auto& v, auto& p) { read_policy(v, p); }},
         {"expect", [this](auto& v, auto& p) { read_expectation(v, p); }}});
  }

  void read_topology(const FieldValue& value, const std::string& path) {
    Topology& t = scenario_.topology;
    read_fields(value, path,
                {{"nodes", count_into(t.nodes)},
                 {"spares", count_into(t.spares)},
                 {"groups", count_into(t.groups)},
                 {"accelerators_per_node", count_into(t.accelerators_per_node)},
                 {"nodes_per_rack", count_into(t.nodes_per_rack)},
                 {"racks_per_switch", count_into(t.racks_per_switch)},
                 {"machines_max", count_into(t.machines_max)}});
  }

  void read_job(const FieldValue& value, const std::string& path, JobShape& job) {
    read_fields(value, path,
                {{"name", text_into(job.name)},
                 {"count", count_into(job.count)},
                 {"submitted_at", duration_into(job.submitted_at)},
                 {"nodes", [&](auto& v, auto& p) { read_nodes(v, p, job); }},
                 {"ranks_per_node", count_into(job.ranks_per_node)},
                 {"steps", count_into(job.steps)},
                 {"step_time", duration_into(job.step_time)},
                 {"checkpoint",
                  [&](auto& v, auto& p) {
                    read_fields(v, p,
                                {{"interval", duration_into(job.checkpoint_interval)},
                                 {"stall", duration_into(job.checkpoint_stall)},
                                 {"write", duration_into(job.checkpoint_write)}});
                  }},
                 {"retry",
                  [&](auto& v, auto& p) {
                    read_fields(v, p,
                                {{"attempts_without_progress_max",
                                  count_into(job.retry.attempts_without_progress_max)}});
                  }},
                 {"hang", [&](auto& v, auto& p) {
                    read_fields(v, p,
                                {{"stall_min", duration_into(job.hang.stall_min)},
                                 {"stall_factor", count_into(job.hang.stall_factor)}});
                  }}});
  }

  void read_nodes(const FieldValue& value, const std::string& path, JobShape& job) {
    if (value.kind != FieldValue::Kind::kMap) {
      count_into(job.nodes_max)(value, path);
      job.nodes_min = job.nodes_max;
      return;
    }
    read_fields(value, path,
                {{"min", count_into(job.nodes_min)}, {"max", count_into(job.nodes_max)}});
    if (!given(path + ".min") || !given(path + ".max"))
      wrong_type(value, path, "give both min and max");
  }

  void read_source(const FieldValue& value, const std::string& path, FaultSource& source) {
    read_fields(value, path,
                {{"name", text_into(source.name)},
                 {"per_billion_hours", count_into(source.per_billion_hours)},
                 {"of", choice_into(source.extent)},
                 {"shows", shows_into(source.shows)}});
  }

  void read_planned(const FieldValue& value, const std::string& path, PlannedFault& fault) {
    read_fields(value, path,
                {{"name", text_into(fault.name)},
                 {"at", duration_into(fault.at)},
                 {"of", choice_into(fault.extent)},
                 {"first", count_into(fault.first)},
                 {"count", count_into(fault.count)},
                 {"job", text_into(fault.job)},
                 {"shows", shows_into(fault.shows)}});
  }

  Read shows_into(Manifestation& shows) {
    return [this, &shows](auto& value, auto& path) {
      read_fields(value, path,
                  {{"as", choice_into(shows.symptom)},
                   {"cause", choice_into(shows.cause)},
                   {"xid", integer_into(shows.xid)},
                   {"signal", integer_into(shows.signal)},
                   {"exit_code", integer_into(shows.exit_code)},
                   {"slow_percent", count_into(shows.slow_percent)},
                   {"after", span_into(shows.shows_after)},
                   {"lasts", duration_into(shows.lasts)},
                   {"recurs_after", [this, &shows](auto& v, auto& p) {
                      span_into(shows.recurs_after.emplace())(v, p);
                    }}});
      if (!given(path + ".as")) wrong_type(value, path, "say `as`, how the fault shows itself");
    };
  }

  void read_weak(const FieldValue& value, const std::string& path, WeakGroup& group) {
    read_fields(value, path,
                {{"name", text_into(group.name)},
                 {"per_mille", count_into(group.per_mille)},
                 {"factor", count_into(group.factor)},
                 {"from", duration_into(group.from)},
                 {"until", duration_into(group.until)}});
  }

  void read_spot(const FieldValue& value, const std::string& path) {
    Spot& spot = scenario_.spot;
    read_fields(value, path,
                {{"reclaims_per_billion_hours", count_into(spot.reclaims_per_billion_hours)},
                 {"notice", duration_into(spot.notice)},
                 {"replace_on_notice", flag_into(spot.replace_on_notice)}});
  }

  void read_costs(const FieldValue& value, const std::string& path) {
    Costs& costs = scenario_.costs;
    read_fields(value, path,
                {{"drain", span_into(costs.drain)},
                 {"place", span_into(costs.place)},
                 {"process_start", span_into(costs.process_start)},
                 {"process_start_cold", span_into(costs.process_start_cold)},
                 {"rendezvous", span_into(costs.rendezvous)},
                 {"restore", span_into(costs.restore)},
                 {"first_step", span_into(costs.first_step)},
                 {"reboot", span_into(costs.reboot)},
                 {"replacement", span_into(costs.replacement)},
                 {"replacement_fails_per_mille", count_into(costs.replacement_fails_per_mille)},
                 {"replacement_bad_per_mille", count_into(costs.replacement_bad_per_mille)},
                 {"replacement_bad_shows", shows_into(costs.replacement_bad_shows)},
                 {"check_step", span_into(costs.check_step)},
                 {"check_finds_per_mille", count_into(costs.check_finds_per_mille)},
                 {"server_restart", span_into(costs.server_restart)}});
  }

  void read_network(const FieldValue& value, const std::string& path) {
    Network& network = scenario_.network;
    read_fields(value, path,
                {{"delay", span_into(network.delay)},
                 {"loss_per_million", count_into(network.loss_per_million)},
                 {"retransmit", duration_into(network.retransmit)},
                 {"slow_links_per_mille", count_into(network.slow_links_per_mille)},
                 {"slow_factor", count_into(network.slow_factor)},
                 {"clock_drift_ppm_max", count_into(network.clock_drift_ppm_max)}});
  }

  void read_policy(const FieldValue& value, const std::string& path) {
    Policy& policy = scenario_.policy;
    read_fields(
        value, path,
        {{"breaker_percent", count_into(policy.breaker_percent)},
         {"breaker_window", duration_into(policy.breaker_window)},
         {"heartbeat_interval", duration_into(policy.heartbeat_interval)},
         {"silence_max", duration_into(policy.silence_max)},
         {"deep_checks", flag_into(policy.deep_checks)},
         {"lifecycle_scripts", flag_into(policy.lifecycle_scripts)},
         {"operator_closes_breaker_after",
          optional_into(policy.operator_closes_breaker_after, &ScenarioReader::duration_into)},
         {"operator_adds_node_after",
          optional_into(policy.operator_adds_node_after, &ScenarioReader::duration_into)},
         {"operator_changes_cluster_every",
          optional_into(policy.operator_changes_cluster_every, &ScenarioReader::duration_into)}});
  }

  void read_expectation(const FieldValue& value, const std::string& path) {
    Expectation& e = scenario_.expect;
    read_fields(
        value, path,
        {{"goodput_per_mille_min",
          optional_into(e.goodput_per_mille_min, &ScenarioReader::u32_into)},
         {"incidents", optional_into(e.incidents, &ScenarioReader::u32_into)},
         {"incidents_unfinished", optional_into(e.incidents_unfinished, &ScenarioReader::u32_into)},
         {"machines_replaced", optional_into(e.machines_replaced, &ScenarioReader::u32_into)},
         {"bad_replacements_used",
          optional_into(e.bad_replacements_used, &ScenarioReader::u32_into)},
         {"breaker_opened", optional_into(e.breaker_opened, &ScenarioReader::bool_into)},
         {"job_state", optional_into(e.job_state, &ScenarioReader::choice_into<JobState>)},
         {"first_verdict",
          optional_into(e.first_verdict, &ScenarioReader::choice_into<CauseClass>)},
         {"decided_within", optional_into(e.decided_within, &ScenarioReader::duration_into)}});
  }

  // Shapes of fields.

  template <class T, class ReadOne>
  Read each(std::vector<T>& out, ReadOne read_one) {
    return [this, &out, read_one](const FieldValue& value, const std::string& path) {
      read_list(value, path, [&](const FieldValue& item, const std::string& at) {
        read_one(item, at, out.emplace_back());
      });
    };
  }

  template <class T>
  Read optional_into(std::optional<T>& out, Read (ScenarioReader::*into)(T&)) {
    return [this, &out, into](const FieldValue& value, const std::string& path) {
      (this->*into)(out.emplace())(value, path);
    };
  }
  Read u32_into(std::uint32_t& out) { return count_into(out); }
  Read bool_into(bool& out) { return flag_into(out); }

  template <class E>
  Read choice_into(E& out) {
    return [this, &out](const FieldValue& value, const std::string& path) {
      std::size_t index = 0;
      word_into(index, words_of<E>())(value, path);
      out = static_cast<E>(index);
    };
  }

  Read duration_into(Duration& out) {
    return [this, &out](const FieldValue& value, const std::string& path) {
      if (value.kind == FieldValue::Kind::kScalar && !value.quoted)
        if (const auto duration = parse_duration(value.text); duration.ok()) {
          out = *duration;
          return;
        }
      wrong_type(value, path, "write it like 250ms, 1.5s, 10min, 2h or 54d");
    };
  }

  Read span_into(Span& out) {
    return [this, &out](const FieldValue& value, const std::string& path) {
      if (value.kind != FieldValue::Kind::kList) {
        duration_into(out.least)(value, path);
        out.most = out.least;
        return;
      }
      if (value.items.size() != 2)
        return wrong_type(value, path, "give one duration, or [least, most]");
      duration_into(out.least)(value.items[0], path);
      duration_into(out.most)(value.items[1], path);
    };
  }

  Scenario scenario_;
};

}  // namespace

Result<Scenario> parse_scenario(std::string_view text, const std::string& file) {
  HF_TRY(const FieldValue root, parse_yaml(text, file, {"scenario", "five"}));
  return ScenarioReader(file).read(root);
}

Result<Duration> parse_duration(std::string_view text) {
  constexpr std::pair<std::string_view, std::int64_t> kUnits[] = {{"ns", 1},
                                                                  {"us", 1'000},
                                                                  {"ms", 1'000'000},
                                                                  {"s", 1'000'000'000},
                                                                  {"min", 60'000'000'000},
                                                                  {"h", 3'600'000'000'000},
                                                                  {"d", 86'400'000'000'000}};
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const Error wrong{Errc::kInvalidField,
                    "'" + std::string(text.substr(0, 60)) +
                        "' is no duration; write it like 250ms, 1.5s, 10min, 2h or 54d"};
  const std::size_t digits = text.find_first_not_of("0123456789.");
  if (digits == 0 || digits == text.npos) return wrong;
  const std::string_view number = text.substr(0, digits);
  std::int64_t unit = 0;
  for (const auto& [name, ns] : kUnits)
    if (text.substr(digits) == name) unit = ns;
  const std::size_t point = number.find('.');
  const std::string_view whole = number.substr(0, point);
  const std::string_view fraction =
      point == number.npos ? std::string_view() : number.substr(point + 1);
  if (unit == 0 || whole.empty() || (point != number.npos && fraction.empty())) return wrong;
  std::int64_t ns = 0;
  for (const char digit : whole) {
    if (ns > (kMost - 9) / 10) return wrong;
    ns = ns * 10 + (digit - '0');
  }
  if (ns > kMost / unit - 1) return wrong;
  ns *= unit;
  for (const char digit : fraction) {
    // Finer than a nanosecond is not a duration that anybody means.
    if (digit == '.' || unit % 10 != 0) return wrong;
    unit /= 10;
    ns += (digit - '0') * unit;
  }
  return Duration{ns};
}

}  // namespace holdfast::sim
