#include "core/cluster/controller.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/digest.h"
#include "core/cluster/spec_change.h"
#include "model/codec.h"

namespace holdfast {

Controller::Controller(ClusterState recovered) : state_(std::move(recovered)), index_(state_) {
  for (auto& [id, node] : state_.nodes) index_node(node);
  for (const auto& [id, job] : state_.jobs) {
    if (job.has_ended()) continue;
    open_jobs_.insert(id);
    if (job.state == JobState::kQueued) queued_jobs_.insert(id);
    heard_.emplace(id, heard_of(job));
  }
}

Controller::Heard Controller::heard_of(const JobRecord& job) {
  const AttemptRecord& attempt = job.attempt;
  const std::size_t ranks = attempt.nodes.size() * attempt.ranks_per_node;
  Heard heard{std::vector<bool>(ranks), std::vector<bool>(ranks)};
  for (const RankExit& exit : attempt.exits) hear(heard.exited, exit.rank);
  for (const auto& stacks : attempt.stacks) hear(heard.stacks, stacks.rank);
  return heard;
}

bool Controller::hear(std::vector<bool>& heard, std::uint32_t rank) {
  if (rank >= heard.size() || heard[rank]) return false;
  heard[rank] = true;
  return true;
}

void Controller::step(Instant now, const Event& event, Effects& out) {
  now_ = now;
  out_ = &out;
  std::visit([this](const auto& e) { on(e); }, event);
  settle_phase();
  out_ = nullptr;
}

Result<void> Controller::check_group(const JobSpec& spec) const {
  const InstanceGroup* group = state_.spec.find_group(spec.instance_group);
  if (group == nullptr) {
    std::string names;
    for (const InstanceGroup& one : state_.spec.groups)
      names += (names.empty() ? "'" : ", '") + one.name + "'";
    return Error{Errc::kNotFound,
                 "instance_group: there is no group '" + spec.instance_group + "'; " +
                     (names.empty() ? "the cluster has none" : "give one of " + names)};
  }
  if (spec.nodes_min > group->count)
    return Error{Errc::kTooFewNodes, "nodes: " + std::to_string(spec.nodes_min) +
                                         " asked for, but group '" + group->name + "' has " +
                                         std::to_string(group->count) +
                                         "; ask for fewer or set nodes_min"};
  return {};
}

Result<void> Controller::check(const Event& request) const {
  if (const auto* submitted = std::get_if<event::JobSubmitted>(&request)) {
    const JobSpec& spec = submitted->spec;
    if (find_job_by_token(spec.request_token) != nullptr) return {};
    const JobRecord* taken = find_job(spec.name);
    if (taken != nullptr && !taken->has_ended())
      return Error{Errc::kNameExists, "name: job '" + spec.name + "' exists and is " +
                                          std::string(word_of(taken->state)) +
                                          "; choose another name or stop it first"};
    if (!spec.instance_group.empty()) HF_TRY_VOID(check_group(spec));
    if (spec.nodes_min > state_.spec.nodes())
      return Error{Errc::kTooFewNodes,
                   "nodes: " + std::to_string(spec.nodes_min) + " asked for, but cluster '" +
                       state_.spec.name + "' has " + std::to_string(state_.spec.nodes()) +
                       " (and " + std::to_string(state_.spec.spares()) +
                       " spares, which only replace); ask for fewer or set nodes_min"};
  }
  if (const auto* asked = std::get_if<event::JobStopAsked>(&request)) {
    const auto found = state_.jobs.find(asked->job);
    if (found == state_.jobs.end())
      return Error{Errc::kNotFound, "job: " + to_string(asked->job) + " is not known"};
    if (found->second.has_ended())
      return Error{Errc::kWrongState, "job: " + found->second.spec.name + " has ended already (" +
                                          std::string(word_of(found->second.state)) + ")"};
  }
  if (const auto* asked = std::get_if<event::NodeReplaceAsked>(&request)) {
    const NodeRecord* node = this->node(asked->node);
    if (node == nullptr || node->state == NodeState::kGone)
      return Error{Errc::kNotFound,
                   "node: " + to_string(asked->node) + " is no member; see `holdfast node list`"};
    if (!node->is_live() && node->state != NodeState::kLifecycleScript)
      return Error{Errc::kWrongState, "node: " + to_string(asked->node) + " is " +
                                          std::string(word_of(node->state)) + " already"};
  }
  if (const auto* asked = std::get_if<event::NodeRebootAsked>(&request)) {
    const NodeRecord* node = this->node(asked->node);
    if (node == nullptr || node->state == NodeState::kGone)
      return Error{Errc::kNotFound,
                   "node: " + to_string(asked->node) + " is no member; see `holdfast node list`"};
    if (!node->is_live() && node->state != NodeState::kCordoned)
      return Error{Errc::kWrongState, "node: " + to_string(asked->node) + " is " +
                                          std::string(word_of(node->state)) + " already"};
  }
  if (const auto* asked = std::get_if<event::SoftwareUpdateAsked>(&request))
    return check_update(*asked);
  if (const auto* asked = std::get_if<event::ClusterUpdateAsked>(&request);
      asked != nullptr && (state_.down || (state_.phase == ClusterPhase::kSystemUpdating &&
                                           !changes_only_words(state_.spec, asked->spec))))
    return Error{Errc::kWrongState, "cluster: '" + state_.spec.name + "' is " +
                                        std::string(word_of(state_.phase)) +
                                        "; wait until it is InService"};
  if (const auto* asked = std::get_if<event::ChecksAsked>(&request)) return check_checks(*asked);
  if (const auto* asked = std::get_if<event::GovernanceAsked>(&request))
    return check_governance_asked(*asked);
  if (std::holds_alternative<event::BreakerCloseAsked>(request) && !state_.breaker.open)
    return Error{Errc::kWrongState, "breaker: it is closed already"};
  return {};
}

const JobRecord* Controller::find_job(const std::string& name_or_id) const {
  // The newest of a name: an ended job's name may be used again.
  for (auto it = state_.jobs.rbegin(); it != state_.jobs.rend(); ++it)
    if (it->second.spec.name == name_or_id) return &it->second;
  std::uint32_t number = 0;
  if (name_or_id.size() < 2 || name_or_id.front() != JobTag::kPrefix) return nullptr;
  const char* end = name_or_id.data() + name_or_id.size();
  const auto [stopped_at, error] = std::from_chars(name_or_id.data() + 1, end, number);
  if (error != std::errc() || stopped_at != end) return nullptr;
  const auto found = state_.jobs.find(JobId{number});
  return found == state_.jobs.end() ? nullptr : &found->second;
}

const JobRecord* Controller::find_job_by_token(const std::string& token) const {
  if (token.empty()) return nullptr;
  for (const auto& [id, job] : state_.jobs)
    if (job.spec.request_token == token) return &job;
  return nullptr;
}

std::uint64_t Controller::digest() const {
  Digest digest;
  digest.add(encode(state_));
  return digest.value();
}

std::optional<std::string> Controller::check_invariants() const {
  const Controller scanned(state_);
  if (index_ != scanned.index_) return "the index of nodes is not what a scan gives";
  if (open_jobs_ != scanned.open_jobs_ || queued_jobs_ != scanned.queued_jobs_ ||
      heard_ != scanned.heard_)
    return "the index of jobs is not what a scan gives";
  std::set<std::uint32_t> places;
  for (const auto& [id, node] : state_.nodes) {
    if (node.place != 0 && !places.insert(node.place).second)
      return "place " + std::to_string(node.place) + " is filled twice";
    if (node.place != 0 && node.state == NodeState::kGone)
      return to_string(id) + " is gone and has a place";
    const auto check = state_.checks.find(node.check);
    const bool is_checked =
        check != state_.checks.end() && check->second.state != CheckRunState::kEnded;
    if (node.state == NodeState::kDeepHealthCheck ? !is_checked : is_checked && node.is_live())
      return to_string(id) + " is " + std::string(word_of(node.state)) + ", but " +
             to_string(node.check) + (is_checked ? " has not" : " has") + " ended";
    if (node.state == NodeState::kHealthy && node.check_status == CheckStatus::kFailed)
      return to_string(id) + " works, although its checks have failed";
    if (!node.job) continue;
    const auto job = state_.jobs.find(node.job);
    if (job == state_.jobs.end() || job->second.has_ended())
      return to_string(id) + " is held by " + to_string(node.job) + ", which has ended";
    const auto& nodes = job->second.attempt.nodes;
    if (std::find(nodes.begin(), nodes.end(), id) == nodes.end())
      return to_string(id) + " is held by " + to_string(node.job) + ", which does not use it";
  }
  for (const auto& [id, job] : state_.jobs) {
    if (job.state == JobState::kRecovering && !job.incident)
      return to_string(id) + " is recovering without an incident";
    if (!job.is_live()) continue;
    for (const NodeId node : job.attempt.nodes) {
      const auto found = state_.nodes.find(node);
      if (found == state_.nodes.end() || found->second.job != id)
        return to_string(id) + " runs on " + to_string(node) + ", which is not its own";
      if (found->second.state == NodeState::kGone || found->second.state == NodeState::kCordoned ||
          found->second.state == NodeState::kDeepHealthCheck ||
          found->second.state == NodeState::kLifecycleScript)
        return to_string(id) + " runs on " + to_string(node) + ", which is " +
               std::string(word_of(found->second.state));
    }
  }
  return std::nullopt;
}

void Controller::audit(effect::Severity severity, std::string kind, std::string text, NodeId node,
                       JobId job, IncidentId incident) {
  if (severity == effect::Severity::kAlert) heed_alarm(kind, text);
  out_->push_back(effect::Audit{severity, std::move(kind), std::move(text), node, job, incident});
}

void Controller::send(NodeId node, ServerMessage message) {
  out_->push_back(effect::Send{node, std::move(message)});
}

void Controller::arm(TimerKind kind, const JobRecord& job, Duration after) {
  out_->push_back(effect::ArmTimer{{kind, job.id, job.attempt.number}, now_ + after});
}

JobRecord* Controller::live_attempt(JobId job, Attempt attempt) {
  const auto found = state_.jobs.find(job);
  if (found == state_.jobs.end() || found->second.attempt.number != attempt ||
      found->second.has_ended())
    return nullptr;
  return &found->second;
}

void Controller::index_node(NodeRecord& node) {
  if (node.id.value >= by_id_.size()) by_id_.resize(node.id.value + 1, nullptr);
  by_id_[node.id.value] = &node;
}

}  // namespace holdfast
