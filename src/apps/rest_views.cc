#include "apps/rest_views.h"

#include <unistd.h>

#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apps/health_views.h"
#include "core/jobs/stragglers.h"
#include "model/codec.h"

namespace holdfast {
namespace {

using nlohmann::json;

HttpResponse ok(const json& body) {
  return {200, body.dump(-1, ' ', false, json::error_handler_t::replace)};
}

json with_clocks(json body, const ControlLoop& loop) {
  body["now_ns"] = loop.now().ns;
  body["wall_unix_ns"] = wall_now().ns;
  return body;
}

double rate_of(const ProgressMonitor::RankSample& sample) {
  if (sample.window.ns > 0) return static_cast<double>(sample.window_steps) / sample.window.s();
  const std::int64_t median = sample.progress.median_step_ns;
  return median > 0 ? 1e9 / static_cast<double>(median) : 0.0;
}

json rank_view(const JobRecord& job, std::uint32_t rank, const ControlLoop& loop) {
  const NodeId node = job.attempt.nodes[rank / job.attempt.ranks_per_node];
  const auto& nodes = loop.controller().state().nodes;
  json view{{"rank", rank},
            {"node", to_string(node)},
            {"place", nodes.at(node).place},
            {"pid", nullptr},
            {"state", job.is_live() ? "running" : "stopped"},
            {"step", 0},
            {"steps_per_s", 0.0},
            {"loss", nullptr},
            {"tokens_per_s", nullptr},
            {"since_progress_s", nullptr}};
  for (const RankExit& exit : job.attempt.exits)
    if (exit.rank == rank) view["state"] = exit.clean() ? "done" : "failed";
  const auto& samples = loop.progress().samples(job.id);
  const auto found = samples.find(rank);
  if (found == samples.end()) return view;
  const RankProgress& progress = found->second.progress;
  view["step"] = progress.step;
  view["steps_per_s"] = rate_of(found->second);
  if (!std::isnan(progress.loss)) view["loss"] = progress.loss;
  if (progress.steps_this_attempt > 0) {
    view["tokens_per_s"] = static_cast<double>(progress.tokens) /
                           static_cast<double>(progress.steps_this_attempt) *
                           rate_of(found->second);
    view["since_progress_s"] = (loop.now() - found->second.changed_at).s();
  }
  return view;
}

// "2.41 s a step; its peers 1.20 s"
std::string slow_text(const Straggler& slow) {
  const auto text = [](std::int64_t ns) {
    return fmt::format("{:.3g} s", static_cast<double>(ns) / 1e9);
  };
  std::string line = text(slow.step_ns) + " a step";
  if (slow.peers_ns != 0) line += "; its peers " + text(slow.peers_ns);
  if (slow.past_ns != 0) line += "; its own best " + text(slow.past_ns);
  return line;
}

json job_view(const JobRecord& job, const ControlLoop& loop) {
  json view = to_json_value(job);
  json ranks = json::array();
  double rate = 0;
  std::uint64_t step = std::max(job.step_reached, job.attempt.step);
  const auto stragglers = job.is_live() ? find_stragglers(loop.progress().samples(job.id))
                                        : std::map<std::uint32_t, Straggler>{};
  for (std::uint32_t rank = 0; rank < job.attempt.nodes.size() * job.attempt.ranks_per_node;
       ++rank) {
    ranks.push_back(rank_view(job, rank, loop));
    const auto slow = stragglers.find(rank);
    ranks.back()["slow"] = slow == stragglers.end() ? json() : json(slow_text(slow->second));
    rate = std::max(rate, ranks.back()["steps_per_s"].get<double>());
    if (job.is_live()) step = std::max(step, ranks.back()["step"].get<std::uint64_t>());
  }
  view["ranks"] = std::move(ranks);
  view["steps_per_s"] = rate;
  view["step"] = step;
  json incidents = json::array();
  for (const auto& [id, incident] : loop.controller().state().incidents)
    if (incident.job == job.id) incidents.push_back(to_string(id));
  view["incidents"] = std::move(incidents);
  return view;
}

json brief(const JobRecord& job, const ControlLoop& loop) {
  std::uint64_t step = std::max(job.step_reached, job.attempt.step);
  for (const auto& [rank, sample] : loop.progress().samples(job.id))
    step = std::max(step, sample.progress.step);
  json nodes = json::array();
  for (const NodeId node : job.attempt.nodes) nodes.push_back(to_string(node));
  return {{"id", to_string(job.id)},
          {"name", job.spec.name},
          {"state", word_of(job.state)},
          {"reason", job.reason},
          {"attempt", to_string(job.attempt.number)},
          {"step", step},
          {"nodes", std::move(nodes)}};
}

json status_view(const ControlLoop& loop) {
  const ClusterState& state = loop.controller().state();
  json nodes = json::array(), jobs = json::array(), open = json::array();
  for (const auto& [id, node] : state.nodes)
    if (node.state != NodeState::kGone) nodes.push_back(node_view(node, state.spec));
  for (const auto& [id, job] : state.jobs) jobs.push_back(brief(job, loop));
  for (const auto& [id, incident] : state.incidents)
    if (incident.state == IncidentState::kOpen) open.push_back(to_json_value(incident));
  return with_clocks({{"cluster", state.spec.name},
                      {"phase", word_of(state.phase)},
                      {"failure", state.failure},
                      {"spec", to_json_value(state.spec)},
                      {"breaker", {{"open", state.breaker.open}}},
                      {"nodes", std::move(nodes)},
                      {"jobs", std::move(jobs)},
                      {"incidents_open", std::move(open)},
                      {"server_pid", ::getpid()}},
                     loop);
}

json nodes_of(const ClusterState& state) {
  json list = json::array();
  for (const auto& [id, node] : state.nodes) list.push_back(node_view(node, state.spec));
  return list;
}

template <class Map>
json list_of(const Map& map) {
  json list = json::array();
  for (const auto& [id, one] : map) list.push_back(to_json_value(one));
  return list;
}

template <class Map, class Id>
HttpResponse one_of(const Map& map, Id id, const char* what) {
  const auto found = map.find(id);
  if (found == map.end())
    return render_error({Errc::kNotFound, std::string(what) + ": " + to_string(id) +
                                              " is not known; see `holdfast " + what + " list`"});
  return ok(to_json_value(found->second));
}

HttpResponse view_logs(const ask::JobLogs& ask, const JobRecord& job, const RankLogs& logs) {
  const Attempt attempt = ask.attempt ? ask.attempt : job.attempt.number;
  const Result<std::string> bytes = logs.read(job.id, attempt, ask.rank, ask.offset, ask.max_bytes);
  if (!bytes.ok()) return render_error(bytes.error());
  const bool end = bytes->empty() && (job.has_ended() || attempt != job.attempt.number);
  return ok({{"attempt", to_string(attempt)},
             {"rank", ask.rank},
             {"offset", ask.offset},
             {"bytes", *bytes},
             {"next_offset", ask.offset + bytes->size()},
             {"end", end}});
}

HttpResponse view_node_logs(const ask::NodeLogs& ask, const NodeRecord& node,
                            const RankLogs& logs) {
  const Result<std::string> bytes = logs.read_lifecycle(ask.node, ask.offset, ask.max_bytes);
  if (!bytes.ok()) return render_error(bytes.error());
  const bool runs = node.state == NodeState::kProvisioning ||
                    (node.state == NodeState::kLifecycleScript &&
                     node.lifecycle.status == LifecycleStatus::kInProgress);
  return ok({{"node", to_string(ask.node)},
             {"status", word_of(node.lifecycle.status)},
             {"offset", ask.offset},
             {"bytes", *bytes},
             {"next_offset", ask.offset + bytes->size()},
             {"end", bytes->empty() && !runs}});
}

}  // namespace

Error no_such_job(const JobRef& ref) {
  return {Errc::kNotFound, "job: '" + (ref.name.empty() ? to_string(ref.id) : ref.name) +
                               "' is not known; see `holdfast job list`"};
}

HttpResponse render_view(const Ask& ask, const ControlLoop& loop, const RankLogs& logs) {
  const Controller& core = loop.controller();
  const ClusterState& state = core.state();
  const auto job_of = [&](const JobRef& ref) {
    return core.find_job(ref.name.empty() ? to_string(ref.id) : ref.name);
  };
  if (std::holds_alternative<ask::Status>(ask)) return ok(status_view(loop));
  if (std::holds_alternative<ask::ListNodes>(ask))
    return ok(with_clocks({{"nodes", nodes_of(state)}}, loop));
  if (const auto* node = std::get_if<ask::DescribeNode>(&ask))
    return core.node(node->node) != nullptr ? ok(node_view(*core.node(node->node), state.spec))
                                            : one_of(state.nodes, node->node, "node");
  if (const auto* asked = std::get_if<ask::NodeLogs>(&ask))
    return core.node(asked->node) != nullptr ? view_node_logs(*asked, *core.node(asked->node), logs)
                                             : one_of(state.nodes, asked->node, "node");
  if (std::holds_alternative<ask::ListIncidents>(ask))
    return ok(with_clocks({{"incidents", list_of(state.incidents)}}, loop));
  if (const auto* incident = std::get_if<ask::DescribeIncident>(&ask))
    return one_of(state.incidents, incident->incident, "incident");
  if (std::holds_alternative<ask::ListChecks>(ask))
    return ok(with_clocks({{"checks", list_of(state.checks)}}, loop));
  if (const auto* check = std::get_if<ask::DescribeCheck>(&ask)) {
    const auto found = state.checks.find(check->check);
    if (found == state.checks.end())
      return render_error({Errc::kNotFound,
                           "check: " + to_string(check->check) + " is not known, or not any more"});
    return ok(with_clocks(to_json_value(found->second), loop));
  }
  if (std::holds_alternative<ask::ListJobs>(ask)) {
    json jobs = json::array();
    for (const auto& [id, job] : state.jobs) jobs.push_back(job_view(job, loop));
    return ok(with_clocks({{"jobs", std::move(jobs)}}, loop));
  }
  if (const auto* described = std::get_if<ask::DescribeJob>(&ask)) {
    const JobRecord* job = job_of(described->job);
    return job == nullptr ? render_error(no_such_job(described->job)) : ok(job_view(*job, loop));
  }
  if (const auto* asked = std::get_if<ask::JobLogs>(&ask)) {
    const JobRecord* job = job_of(asked->job);
    return job == nullptr ? render_error(no_such_job(asked->job)) : view_logs(*asked, *job, logs);
  }
  return render_error({Errc::kNotFound, "no such view"});
}

HttpResponse view_events(Journal& journal, const ask::Events& ask) {
  std::uint64_t after = ask.after.value_or(0);
  if (!ask.after) {
    const Result<std::uint64_t> last = journal.last_note_id();
    if (!last.ok()) return render_error(last.error());
    after = *last > ask.limit ? *last - ask.limit : 0;
  }
  const auto notes = journal.notes(after, ask.limit);
  if (!notes.ok()) return render_error(notes.error());
  json events = json::array();
  const auto id_or_null = [](auto id) { return id ? json(to_string(id)) : json(nullptr); };
  for (const auto& [seq, note] : *notes) {
    events.push_back({{"seq", seq},
                      {"wall_unix_ns", note.wall.ns},
                      {"at_ns", note.at.ns},
                      {"severity", note.severity},
                      {"kind", note.kind},
                      {"text", note.text},
                      {"node", id_or_null(NodeId{note.node})},
                      {"job", id_or_null(JobId{note.job})},
                      {"incident", id_or_null(IncidentId{note.incident})}});
    after = seq;
  }
  return ok({{"events", std::move(events)}, {"next", after}});
}

}  // namespace holdfast
