#include "apps/hyperpod_api.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "api/hyperpod/answer.h"
#include "api/hyperpod/group_request.h"
#include "api/hyperpod_governance.h"
#include "apps/hyperpod_views.h"
#include "io/clock.h"

namespace holdfast {

using hyperpod::ApiError;
using hyperpod::ErrorType;
namespace request = hyperpod::request;

namespace {

// A page is one visit to the loop's thread.
template <class Work>
HttpResponse on_loop(ClusterServer& cluster, Work work) {
  return cluster.call([&] { return work(cluster.loop().controller().state()); });
}

HttpResponse conflict(const std::string& message) {
  return hyperpod::render_error({ErrorType::kConflict, message});
}

// While this lasts its groups stay as they are.
bool is_busy(const ClusterState& state) {
  if (state.phase == ClusterPhase::kSystemUpdating || state.phase == ClusterPhase::kDeleting)
    return true;
  return !state.spec.is_continuous &&
         (state.phase == ClusterPhase::kCreating || state.phase == ClusterPhase::kUpdating);
}

HttpResponse busy(const ClusterState& state) {
  return conflict("Cluster '" + state.spec.name + "' is " + std::string(word_of(state.phase)) +
                  ". Wait until it is InService.");
}

struct Member {
  const NodeRecord* node = nullptr;
  hyperpod::NodeOutcome outcome;
};

std::vector<Member> members_of(const ClusterState& state, const request::BatchNodes& request) {
  std::vector<Member> members;
  std::set<NodeId> seen;
  const auto add = [&](const std::string& id, bool is_logical) {
    Member member{is_logical ? find_logical(state, id) : find_instance(state, id),
                  {id, is_logical}};
    if (member.node == nullptr) {
      member.outcome.refusal = hyperpod::NodeRefusal::kNotFound;
      member.outcome.message = "There is no such node in cluster '" + state.spec.name + "'.";
    } else if (!seen.insert(member.node->id).second) {
      member.outcome.refusal = hyperpod::NodeRefusal::kInUse;
      member.outcome.message = "The node is named twice.";
    }
    members.push_back(std::move(member));
  };
  for (const std::string& id : request.instance_ids) add(id, false);
  for (const std::string& id : request.logical_ids) add(id, true);
  return members;
}

}  // namespace

HttpResponse HyperpodApi::answer(const Caller& caller, std::string_view operation,
                                 const std::string& body) {
  const auto parsed = hyperpod::parse_request("SageMaker." + std::string(operation), body, site_);
  if (const auto* error = std::get_if<ApiError>(&parsed)) return hyperpod::render_error(*error);
  return std::visit([&](const auto& request) { return answer(caller, request); },
                    std::get<hyperpod::Request>(parsed));
}

Clusters::Handle HyperpodApi::find(const hyperpod::ClusterRef& ref) const {
  return clusters_.find(ref.id.empty() ? ref.name : ref.id);
}

HttpResponse HyperpodApi::no_cluster(const hyperpod::ClusterRef& ref) const {
  return hyperpod::render_error(
      hyperpod::no_such_cluster(ref.id.empty() ? ref.name : hyperpod::cluster_arn(site_, ref.id)));
}

HttpResponse HyperpodApi::arn_of(const ClusterServer& cluster) const {
  return hyperpod::render(
      hyperpod::answer_arn(hyperpod::cluster_arn(site_, cluster.config().spec.id)));
}

HttpResponse HyperpodApi::arn_or_error(const ClusterServer& cluster,
                                       const Result<void>& accepted) const {
  return accepted.ok() ? arn_of(cluster)
                       : hyperpod::render_error(hyperpod::api_error_of(accepted.error()));
}

// --- clusters

HttpResponse HyperpodApi::answer(const Caller&, const request::CreateCluster& request) {
  ClusterSpec spec = request.spec;
  spec.id = new_arn_id();
  spec.created = wall_now();
  const Result<Handle> made = clusters_.make(spec);
  if (made.ok()) return arn_of(**made);
  if (made.error().code == Errc::kNameExists)
    return hyperpod::render_error(
        {ErrorType::kResourceInUse, "A cluster named '" + spec.name + "' already exists."});
  return hyperpod::render_error(hyperpod::api_error_of(made.error()));
}

HttpResponse HyperpodApi::answer(const Caller& caller, const request::UpdateCluster& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  return on_loop(*cluster, [&](const ClusterState& state) {
    if (is_busy(state)) return busy(state);
    auto wanted = hyperpod::updated(state.spec, request);
    if (const auto* error = std::get_if<ApiError>(&wanted)) return hyperpod::render_error(*error);
    return arn_or_error(*cluster, cluster->accept(event::ClusterUpdateAsked{
                                      std::get<ClusterSpec>(std::move(wanted)), caller.key_id}));
  });
}

HttpResponse HyperpodApi::answer(const Caller& caller,
                                 const request::UpdateClusterSoftware& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  return on_loop(*cluster, [&](const ClusterState& state) {
    if (state.phase != ClusterPhase::kInService) return busy(state);
    return arn_or_error(*cluster, cluster->accept(event::SoftwareUpdateAsked{
                                      request.groups, request.deployment, caller.key_id}));
  });
}

HttpResponse HyperpodApi::answer(const Caller& caller, const request::DeleteCluster& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  if (cluster == clusters_.own())
    return conflict("Cluster '" + cluster->config().spec.name +
                    "' is this server's own: end both with `holdfast down`.");
  clusters_.end(cluster, caller.key_id);
  return arn_of(*cluster);
}

HttpResponse HyperpodApi::answer(const Caller&, const request::DescribeCluster& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  return on_loop(*cluster, [&](const ClusterState&) {
    return hyperpod::render(
        hyperpod::answer_describe_cluster(view_cluster(cluster->loop(), site_)));
  });
}

HttpResponse HyperpodApi::answer(const Caller&, const request::ListClusters& request) {
  std::vector<hyperpod::ClusterView> views;
  for (const Handle& cluster : clusters_.all())
    views.push_back(cluster->call([&] { return view_cluster(cluster->loop(), site_); }));
  return hyperpod::render(hyperpod::answer_list_clusters(request, std::move(views)));
}

// --- nodes

HttpResponse HyperpodApi::answer(const Caller&, const request::DescribeClusterNode& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  return on_loop(*cluster, [&](const ClusterState& state) {
    const NodeRecord* node = request.instance_id.empty()
                                 ? find_logical(state, request.logical_id)
                                 : find_instance(state, request.instance_id);
    if (node == nullptr)
      return hyperpod::render_error(
          {ErrorType::kResourceNotFound, "Could not find node '" + request.instance_id +
                                             request.logical_id + "' in cluster '" +
                                             state.spec.name + "'."});
    return hyperpod::render(hyperpod::answer_describe_node(view_node(*node, cluster->loop())));
  });
}

HttpResponse HyperpodApi::answer(const Caller&, const request::ListClusterNodes& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  return on_loop(*cluster, [&](const ClusterState&) {
    return hyperpod::render(hyperpod::answer_list_nodes(
        request, walk_nodes(cluster->loop(), request.page.is_descending)));
  });
}

HttpResponse HyperpodApi::answer(const Caller& caller,
                                 const request::BatchAddClusterNodes& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  nlohmann::json text = nlohmann::json::array();
  for (const auto& addition : request.additions) text.push_back({addition.group, addition.count});
  return on_loop(*cluster, [&](const ClusterState& state) {
    const Controller& core = cluster->loop().controller();
    const Addition* known = core.find_addition(request.client_token, cluster->loop().now());
    if (known != nullptr && known->request != text.dump())
      return hyperpod::render_error({ErrorType::kValidation,
                                     "ClientToken was used within 8 hours for another request; "
                                     "give a new one."});
    auto wanted = hyperpod::with_nodes_added(state.spec, request);
    if (const auto* error = std::get_if<ApiError>(&wanted)) return hyperpod::render_error(*error);
    auto& added = std::get<hyperpod::NodesAdded>(wanted);
    const std::uint32_t before = state.places_made;
    std::vector<std::uint32_t> places;
    if (known != nullptr) {
      places = known->places;
    } else {
      if (is_busy(state)) return busy(state);
      const Result<void> accepted = cluster->accept(event::ClusterUpdateAsked{
          std::move(added.spec), caller.key_id, request.client_token, text.dump()});
      if (!accepted.ok()) return hyperpod::render_error(hyperpod::api_error_of(accepted.error()));
      for (std::uint32_t place = before + 1; place <= state.places_made; ++place)
        places.push_back(place);
    }
    std::vector<hyperpod::NodeView> views;
    for (const std::uint32_t place : places) {
      for (const GroupRecord& group : state.groups) {
        if (!group.places.contains(place)) continue;
        const auto spec =
            std::ranges::find(state.spec.groups, group.number, &InstanceGroup::number);
        hyperpod::NodeView view{.group = spec->name,
                                .logical_id = hyperpod::logical_id({spec->name, place}),
                                .status = hyperpod::InstanceStatus::kPending};
        if (const NodeRecord* node = find_logical(state, view.logical_id))
          view.status = view_node(*node, cluster->loop()).status;
        views.push_back(std::move(view));
      }
    }
    return hyperpod::render(hyperpod::answer_batch_add(views, added.outcomes));
  });
}

HttpResponse HyperpodApi::answer(const Caller& caller, const request::BatchNodes& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  return on_loop(*cluster, [&](const ClusterState& state) {
    if (state.phase == ClusterPhase::kSystemUpdating || state.phase == ClusterPhase::kDeleting)
      return busy(state);
    std::vector<hyperpod::NodeOutcome> outcomes;
    std::vector<NodeId> removed;
    for (Member& member : members_of(state, request)) {
      if (!member.outcome.refusal) {
        const NodeId id = member.node->id;
        Result<void> accepted{};
        if (request.kind == request::BatchKind::kReboot)
          accepted = cluster->accept(event::NodeRebootAsked{id, caller.key_id});
        else if (request.kind == request::BatchKind::kReplace)
          accepted = cluster->accept(event::NodeReplaceAsked{id, caller.key_id});
        else if (member.node->state == NodeState::kReplacing)
          accepted = Error{Errc::kWrongState, "The node is shutting down already."};
        else
          removed.push_back(id);
        if (!accepted.ok()) {
          member.outcome.refusal = hyperpod::NodeRefusal::kWrongStatus;
          member.outcome.message = accepted.error().detail;
        }
      }
      outcomes.push_back(std::move(member.outcome));
    }
    if (!removed.empty())
      static_cast<void>(cluster->accept(event::NodesRemoveAsked{removed, caller.key_id}));
    return hyperpod::render(hyperpod::answer_batch(request.kind, outcomes));
  });
}

HttpResponse HyperpodApi::answer(const Caller& caller,
                                 const request::StartClusterHealthCheck& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  return on_loop(*cluster, [&](const ClusterState& state) {
    std::vector<event::ChecksAsked> wanted;
    for (const auto& group : request.groups) {
      const InstanceGroup* spec = state.spec.find_group(group.name);
      if (spec == nullptr)
        return hyperpod::render_error(
            {ErrorType::kResourceNotFound, "There is no instance group '" + group.name +
                                               "' in cluster '" + state.spec.name + "'."});
      event::ChecksAsked checks{{}, group.kinds, false, caller.key_id};
      for (const auto& [id, node] : state.nodes) {
        if (node.group != spec->number || node.state == NodeState::kGone) continue;
        const std::string name = hyperpod::instance_id(state.spec.id, id);
        const bool is_named =
            std::ranges::find(group.instance_ids, name) != group.instance_ids.end();
        if (group.instance_ids.empty() ? node.state == NodeState::kHealthy : is_named)
          checks.nodes.push_back(id);
      }
      if (!group.instance_ids.empty() && checks.nodes.size() != group.instance_ids.size())
        return hyperpod::render_error(
            {ErrorType::kResourceNotFound,
             "Not all of the named instances are in instance group '" + group.name + "'."});
      wanted.push_back(std::move(checks));
    }
    // All of them, or none: a check that is refused says so before the others begin.
    for (const event::ChecksAsked& checks : wanted)
      if (const auto allowed = cluster->loop().controller().check(checks); !allowed.ok())
        return conflict(allowed.error().detail);
    for (event::ChecksAsked& checks : wanted)
      if (const auto accepted = cluster->accept(std::move(checks)); !accepted.ok())
        return conflict(accepted.error().detail);
    return arn_of(*cluster);
  });
}

// --- events

HttpResponse HyperpodApi::answer(const Caller&, const request::ListClusterEvents& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  const auto events = recent_events(*cluster);
  const auto view = cluster->call([&] { return view_cluster(cluster->loop(), site_); });
  return hyperpod::render(
      hyperpod::answer_list_events(request, view, walk_events(events, request.page.is_descending)));
}

HttpResponse HyperpodApi::answer(const Caller&, const request::DescribeClusterEvent& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  const auto events = recent_events(*cluster);
  const auto found = std::ranges::find(events, request.event_id, &hyperpod::EventView::id);
  if (found == events.end())
    return hyperpod::render_error(
        {ErrorType::kResourceNotFound, "Could not find event '" + request.event_id + "'."});
  const auto view = cluster->call([&] { return view_cluster(cluster->loop(), site_); });
  return hyperpod::render(hyperpod::answer_describe_event(view, *found));
}

// --- task governance

std::string HyperpodApi::holder_of(const std::string& governance_id) const {
  for (const Handle& cluster : clusters_.all())
    if (cluster->call([&] {
          return cluster->loop().controller().state().governance.records.contains(governance_id);
        }))
      return cluster->config().spec.id;
  return {};
}

HttpResponse HyperpodApi::answer(const Caller& caller, const request::Governance& request) {
  const std::string operation(request.operation->name);
  const ArnScope scope{site_.region, site_.account};
  const auto refused = [](const Error& error) {
    const nlohmann::json body{{"__type", governance_error_type(error.code)},
                              {"Message", error.detail}};
    return HttpResponse{400, body.dump()};
  };
  if (!is_governance_change(operation)) {
    GovernanceState all;
    for (const Handle& cluster : clusters_.all())
      all.records.merge(
          cluster->call([&] { return cluster->loop().controller().state().governance.records; }));
    const Result<std::string> found = answer_governance_look(operation, request.body, all, scope);
    return found.ok() ? HttpResponse{200, *found} : refused(found.error());
  }
  Result<GovernanceChange> change = read_governance_change(operation, request.body, new_arn_id());
  if (!change.ok()) return refused(change.error());
  const bool is_new = change->action == GovernanceAction::kCreate;
  const Handle cluster = clusters_.find(is_new ? change->cluster : holder_of(change->id));
  if (cluster == nullptr)
    return refused({Errc::kNotFound, is_new
                                         ? "ClusterArn: there is no such cluster"
                                         : "There is no record with the id '" + change->id + "'"});
  return on_loop(*cluster, [&](const ClusterState& state) {
    const Result<void> accepted =
        cluster->accept(event::GovernanceAsked{*change, wall_now(), caller.key_id});
    if (!accepted.ok()) return refused(accepted.error());
    return HttpResponse{200, render_governance_change(*change, state.governance, scope)};
  });
}

}  // namespace holdfast
