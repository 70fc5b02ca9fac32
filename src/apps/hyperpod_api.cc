#include "apps/hyperpod_api.h"

#include <algorithm>
#include <set>

#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include "api/hyperpod/answer.h"
#include "api/hyperpod/group_request.h"
#include "api/hyperpod_governance.h"
#include "apps/hyperpod_views.h"
#include "io/clock.h"
#include "model/codec.h"

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

// What differs in tags, and perhaps in spares. What does not differ is no update.
Result<void> accept_tags(ClusterServer& cluster, ClusterSpec spec, const Caller& caller) {
  if (encode(spec) == encode(cluster.loop().controller().state().spec)) return {};
  return cluster.accept(event::ClusterUpdateAsked{std::move(spec), caller.key_id});
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
  const std::uint32_t elsewhere = clusters_.local_nodes_beside(cluster);
  return on_loop(*cluster, [&](const ClusterState& state) {
    if (is_busy(state)) return busy(state);
    auto wanted = hyperpod::updated(state.spec, request);
    if (const auto* error = std::get_if<ApiError>(&wanted)) return hyperpod::render_error(*error);
    const auto room = clusters_.check_room(std::get<ClusterSpec>(wanted), elsewhere);
    if (!room.ok()) return hyperpod::render_error(hyperpod::api_error_of(room.error()));
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
  return arn_or_error(*cluster, clusters_.end(cluster, caller.key_id));
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
    return hyperpod::render(
        hyperpod::answer_describe_node(view_whole_node(*node, cluster->loop())));
  });
}

HttpResponse HyperpodApi::answer(const Caller&, const request::ListClusterNodes& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  return on_loop(*cluster, [&](const ClusterState&) {
    return HttpResponse{200, hyperpod::answer_list_nodes(
                                 request, walk_nodes(cluster->loop(), request.page.is_descending))};
  });
}

HttpResponse HyperpodApi::answer(const Caller& caller,
                                 const request::BatchAddClusterNodes& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  const std::uint32_t elsewhere = clusters_.local_nodes_beside(cluster);
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
    const auto room = clusters_.check_room(added.spec, elsewhere);
    if (!room.ok()) return hyperpod::render_error(hyperpod::api_error_of(room.error()));
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
        else if (member.node->state == NodeState::kReplacing && member.node->left_place == 0)
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

// --- operations

HttpResponse HyperpodApi::answer(const Caller&, const request::ListClusterOperations& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  return hyperpod::render(hyperpod::answer_list_operations(
      request, hyperpod::cluster_arn(site_, cluster->config().spec.id),
      recent_operations(*cluster)));
}

HttpResponse HyperpodApi::answer(const Caller&, const request::DescribeClusterOperation& request) {
  const Handle cluster = find(request.cluster);
  if (cluster == nullptr) return no_cluster(request.cluster);
  const auto operations = recent_operations(*cluster);
  const auto found =
      std::ranges::find(operations, request.operation_id, &hyperpod::OperationView::id);
  if (found == operations.end())
    return hyperpod::render_error(
        {ErrorType::kResourceNotFound, "Could not find operation '" + request.operation_id + "'."});
  return hyperpod::render(hyperpod::answer_describe_operation(
      hyperpod::cluster_arn(site_, cluster->config().spec.id), *found));
}

// A machine belongs to the group that its provider got it for, and that made it a node.
HttpResponse HyperpodApi::answer(const Caller&, const request::MoveClusterNodes& request) {
  for (const hyperpod::ClusterRef& ref : {request.from, request.to})
    if (find(ref) == nullptr) return no_cluster(ref);
  return hyperpod::render_error(
      {ErrorType::kValidation,
       "MoveClusterNodes: a machine stays in the group whose lifecycle scripts made it a node. "
       "Give "
       "it back with BatchDeleteClusterNodes, and add as many to the other group with "
       "BatchAddClusterNodes or UpdateCluster."});
}

// --- tags

HttpResponse HyperpodApi::answer(const Caller& caller, const request::Tags& request) {
  const Handle cluster =
      clusters_.find(request.owner.is_cluster() ? request.owner.id
                                                : holder_of(request.owner.id, request.owner.kind));
  if (cluster == nullptr)
    return hyperpod::render_error(
        {ErrorType::kValidation,
         "ResourceArn: there is no " + request.owner.kind + " '" + request.owner.id + "'."});
  const std::uint32_t elsewhere = clusters_.local_nodes_beside(cluster);
  return on_loop(*cluster, [&](const ClusterState& state) {
    const auto tags_now = [&] {
      return hyperpod::render({{"Tags", hyperpod::tags_of(state.spec, request.owner)}});
    };
    if (request.kind == request::TagsKind::kList) return tags_now();
    std::variant<ClusterSpec, ApiError> wanted =
        request.kind == request::TagsKind::kAdd
            ? hyperpod::with_tags(state.spec, request.owner, request.tags)
            : hyperpod::without_tags(state.spec, request.owner, request.keys);
    if (const auto* error = std::get_if<ApiError>(&wanted)) return hyperpod::render_error(*error);
    auto& spec = std::get<ClusterSpec>(wanted);
    const auto room = clusters_.check_room(spec, elsewhere);
    if (!room.ok()) return hyperpod::render_error(hyperpod::api_error_of(room.error()));
    const Result<void> accepted = accept_tags(*cluster, std::move(spec), caller);
    if (!accepted.ok()) return hyperpod::render_error(hyperpod::api_error_of(accepted.error()));
    return request.kind == request::TagsKind::kAdd ? tags_now()
                                                   : hyperpod::render(nlohmann::json::object());
  });
}

// --- task governance

std::string HyperpodApi::holder_of(const std::string& governance_id, std::string_view kind) const {
  for (const Handle& cluster : clusters_.all())
    if (cluster->call([&] {
          const auto& records = cluster->loop().controller().state().governance.records;
          const auto found = records.find(governance_id);
          return found != records.end() &&
                 (kind.empty() || kind == governance_arn_word(found->second.kind));
        }))
      return cluster->config().spec.id;
  return {};
}

// What a new one is given, and what goes with a deleted one. On the loop's thread.
void HyperpodApi::keep_tags(ClusterServer& cluster, const GovernanceChange& change,
                            const nlohmann::json& body, const Caller& caller) {
  const ClusterSpec& spec = cluster.loop().controller().state().spec;
  const hyperpod::TagOwner owner{std::string(governance_arn_word(change.kind)), change.id};
  std::variant<ClusterSpec, ApiError> wanted = spec;
  if (change.action == GovernanceAction::kCreate && body.contains("Tags")) {
    wanted = hyperpod::with_tags(spec, owner, body["Tags"]);
  } else if (change.action == GovernanceAction::kDelete) {
    std::vector<std::string> keys;
    for (const auto& tag : hyperpod::tags_of(spec, owner)) keys.push_back(tag["Key"]);
    if (keys.empty()) return;
    wanted = hyperpod::without_tags(spec, owner, keys);
  } else {
    return;
  }
  if (auto* tagged = std::get_if<ClusterSpec>(&wanted))
    if (const auto kept = accept_tags(cluster, std::move(*tagged), caller); !kept.ok())
      spdlog::warn("tags of {}: {}", change.id, kept.error().text());
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
    keep_tags(*cluster, *change, request.body, caller);
    return HttpResponse{200, render_governance_change(*change, state.governance, scope)};
  });
}

}  // namespace holdfast
