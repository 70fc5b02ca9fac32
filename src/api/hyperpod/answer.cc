#include "api/hyperpod/answer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/hyperpod/deployment.h"
#include "api/hyperpod/service_model.h"
#include "api/hyperpod/timestamp.h"
#include "model/json_text.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;

constexpr std::string_view kDesired = "Desired";

template <class E>
std::string text(E value) {
  return std::string(word_of(value));
}

void put(json& object, const char* member, const std::string& value) {
  if (!value.empty()) object[member] = value;
}

// What was asked for, as an answer of this shape shows it. Where the answer tells what is from what
// is wanted, it is what is wanted: "Labels" becomes "DesiredLabels".
json shown(const Shape& shape, const json& asked) {
  if (shape.type == Type::kTimestamp) {
    const auto time = read_timestamp(asked);
    return time ? write_timestamp(*time) : json();
  }
  if (shape.type == Type::kList && asked.is_array()) {
    json items = json::array();
    for (const json& item : asked) items.push_back(shown(shape_of(shape.item), item));
    return items;
  }
  if (shape.type != Type::kStructure || !asked.is_object()) return asked;
  json answer = json::object();
  for (const Member& member : shape.members) {
    auto found = asked.find(member.name);
    if (found == asked.end() && member.name.starts_with(kDesired))
      found = asked.find(member.name.substr(kDesired.size()));
    if (found != asked.end())
      answer[std::string(member.name)] = shown(shape_of(member.shape), *found);
  }
  return answer;
}

json shown(std::string_view shape, const std::string& specification) {
  json asked = parse_json_text(specification);
  if (!asked.is_object()) asked = json::object();
  return shown(*find_shape(shape), asked);
}

json group_details(const GroupView& view) {
  const InstanceGroup& group = view.group;
  json details = shown("ClusterInstanceGroupDetails", group.specification);
  details["InstanceGroupName"] = group.name;
  details["Status"] = text(view.status);
  details["CurrentCount"] = view.current_count;
  details["TargetCount"] = group.count;
  if (group.count_min > 0) details["MinCount"] = group.count_min;
  if (!details.contains("InstanceRequirements") && !group.instance_types.empty())
    details["InstanceType"] = group.instance_types.front();
  if (view.update) details["SoftwareUpdateStatus"] = text(*view.update);
  if (view.update_config)
    details["ActiveSoftwareUpdateConfig"] = show_deployment(*view.update_config);
  json checks = json::array();
  for (const CheckKind kind : group.checks_on_start) checks.push_back(text(kind));
  if (!checks.empty()) details["OnStartDeepHealthChecks"] = std::move(checks);
  return details;
}

json cluster_summary(const ClusterView& cluster) {
  return {{"ClusterArn", cluster.arn},
          {"ClusterName", cluster.name},
          {"CreationTime", write_timestamp(cluster.created)},
          {"ClusterStatus", text(cluster.status)}};
}

std::string_view type_of(const NodeView& node) {
  return node.instance_type.empty() ? "unknown" : std::string_view(node.instance_type);
}

json node_summary(const NodeView& node) {
  json status = {{"Status", text(node.status)}};
  put(status, "Message", node.message);
  json summary = {{"InstanceGroupName", node.group},
                  {"InstanceId", node.instance_id},
                  {"InstanceType", type_of(node)},
                  {"LaunchTime", write_timestamp(node.launched)},
                  {"InstanceStatus", std::move(status)}};
  put(summary, "PrivateDnsHostname", private_dns_name(node.address));
  return summary;
}

// --- the same as text: of what is listed by the hundred

void append_text(std::string& out, std::string_view text) {
  const bool is_plain = std::ranges::all_of(
      text, [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; });
  if (is_plain)
    out.append(1, '"').append(text).append(1, '"');
  else
    out += json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

void append_member(std::string& out, std::string_view name, std::string_view value) {
  out.append(",\"").append(name).append("\":");
  append_text(out, value);
}

void append_node(std::string& out, const NodeView& node, bool with_logical_id) {
  out += R"({"InstanceStatus":{"Status":)";
  append_text(out, word_of(node.status));
  if (!node.message.empty()) append_member(out, "Message", node.message);
  out += R"(},"LaunchTime":)";
  append_timestamp(out, node.launched);
  append_member(out, "InstanceGroupName", node.group);
  append_member(out, "InstanceId", node.instance_id);
  append_member(out, "InstanceType", type_of(node));
  if (const std::string name = private_dns_name(node.address); !name.empty())
    append_member(out, "PrivateDnsHostname", name);
  if (with_logical_id && !node.logical_id.empty())
    append_member(out, "NodeLogicalId", node.logical_id);
  out += '}';
}

json event_summary(const ClusterView& cluster, const EventView& event) {
  json summary = {{"EventId", event.id},
                  {"ClusterArn", cluster.arn},
                  {"ClusterName", cluster.name},
                  {"ResourceType", text(event.resource)},
                  {"EventTime", write_timestamp(event.time)},
                  {"EventLevel", text(event.level)}};
  put(summary, "InstanceGroupName", event.group);
  put(summary, "InstanceId", event.instance_id);
  put(summary, "Description", event.description);
  return summary;
}

json operation_summary(const std::string& cluster_arn, const OperationView& operation) {
  return {{"OperationId", operation.id},
          {"ClusterArn", cluster_arn},
          {"Type", text(operation.type)},
          {"Status", text(operation.status)},
          {"CreationTime", write_timestamp(operation.created)}};
}

// To the millisecond, as callers are told the times: "after" a time that was shown is behind it.
bool is_between(WallTime time, const std::optional<WallTime>& after,
                const std::optional<WallTime>& before) {
  const auto ms = [](WallTime t) { return t.ns / 1'000'000; };
  return (!after || ms(time) > ms(*after)) && (!before || ms(time) < ms(*before));
}

// Fills a page: `next` gives the next thing that fits, or nothing; `key` its key.
template <class Next, class Key, class Show>
json list(const Page& page, const char* member, Next next, Key key, Show show) {
  json items = json::array();
  std::string last;
  auto item = next();
  for (; item && items.size() < page.size; item = next()) {
    last = key(*item);
    items.push_back(show(*item));
  }
  json answer = {{member, std::move(items)}};
  if (item) answer["NextToken"] = page.token(last);
  return answer;
}

std::string refusal_code(request::BatchKind kind, NodeRefusal refusal) {
  const bool is_delete = kind == request::BatchKind::kDelete;
  switch (refusal) {
    case NodeRefusal::kNotFound:
      return is_delete ? "NodeIdNotFound" : "InstanceIdNotFound";
    case NodeRefusal::kWrongStatus:
      return is_delete ? "InvalidNodeStatus" : "InvalidInstanceStatus";
    case NodeRefusal::kInUse:
      return is_delete ? "NodeIdInUse" : "InstanceIdInUse";
    case NodeRefusal::kFailed:
      return is_delete ? "InvalidNodeStatus" : "InternalServerError";
  }
  return "?";
}

}  // namespace

HttpResponse render(const json& answer) {
  // A message may quote what a program printed: any bytes.
  return {200, answer.dump(-1, ' ', false, json::error_handler_t::replace)};
}

json answer_arn(const std::string& arn) {
  return {{"ClusterArn", arn}};
}

json answer_describe_cluster(const ClusterView& cluster) {
  json answer = shown("DescribeClusterResponse", cluster.specification);
  answer.erase("AutoScaling");  // can only have been switched off
  answer.update(cluster_summary(cluster));
  put(answer, "FailureMessage", cluster.failure_message);
  answer["NodeRecovery"] = cluster.recovers_nodes ? "Automatic" : "None";
  if (cluster.is_continuous) answer["NodeProvisioningMode"] = "Continuous";
  json groups = json::array();
  for (const GroupView& group : cluster.groups) groups.push_back(group_details(group));
  answer["InstanceGroups"] = std::move(groups);
  return answer;
}

json answer_list_clusters(const request::ListClusters& query, std::vector<ClusterView> clusters) {
  // Names are unique, so every key is another one.
  const auto key = [&](const ClusterView& cluster) {
    const auto created = static_cast<std::uint64_t>(cluster.created.ns);
    return query.by_name ? cluster.name : hex_of(created, 16) + cluster.name;
  };
  std::ranges::sort(clusters, {}, key);
  if (query.page.is_descending) std::ranges::reverse(clusters);
  auto at = clusters.begin();
  const auto next = [&]() -> std::optional<ClusterView> {
    for (; at != clusters.end(); ++at) {
      const bool fits = !query.has_training_plan && query.page.is_ahead(key(*at)) &&
                        at->name.find(query.name_contains) != std::string::npos &&
                        is_between(at->created, query.after, query.before);
      if (fits) return *at++;
    }
    return std::nullopt;
  };
  return list(query.page, "ClusterSummaries", next, key, cluster_summary);
}

std::string answer_list_nodes(const request::ListClusterNodes& query, const NodeWalk& nodes) {
  NodeId last{static_cast<std::uint32_t>(read_hex(query.page.after).value_or(0))};
  const auto next = [&]() -> std::optional<NodeId> {
    while (const auto key = nodes.next(last)) {
      last = key->node;
      if (key->group.find(query.group_contains) != std::string_view::npos &&
          is_between(key->launched, query.after, query.before))
        return last;
    }
    return std::nullopt;
  };
  std::string answer = R"({"ClusterNodeSummaries":[)";
  std::optional<NodeId> shown_last, node = next();
  for (std::uint32_t count = 0; node && count < query.page.size; ++count, node = next()) {
    if (count > 0) answer += ',';
    append_node(answer, nodes.view(*node), query.with_logical_ids);
    shown_last = node;
  }
  answer += ']';
  if (node && shown_last) {
    answer += R"(,"NextToken":)";
    append_text(answer, query.page.token(hex_of(shown_last->value, 8)));
  }
  return answer += '}';
}

json answer_describe_node(const NodeView& node) {
  json details = shown("ClusterNodeDetails", node.group_specification);
  details.update(node_summary(node));
  put(details, "NodeLogicalId", node.logical_id);
  if (details.contains("PrivateDnsHostname")) details["PrivatePrimaryIp"] = node.address;
  return {{"NodeDetails", std::move(details)}};
}

json answer_list_events(const request::ListClusterEvents& query, const ClusterView& cluster,
                        const NextEvent& next_event) {
  std::uint64_t last = read_hex(query.page.after).value_or(0);
  const auto next = [&]() -> std::optional<EventView> {
    while (!query.has_operation) {
      auto event = next_event(last);
      if (!event) break;
      last = event->sequence;
      const bool fits =
          is_between(event->time, query.after, query.before) &&
          (query.group.empty() || query.group == event->group) &&
          (query.instance_id.empty() || query.instance_id == event->instance_id) &&
          (query.resource_type.empty() || query.resource_type == word_of(event->resource));
      if (fits) return event;
    }
    return std::nullopt;
  };
  return list(
      query.page, "Events", next, [](const EventView& event) { return hex_of(event.sequence, 16); },
      [&](const EventView& event) { return event_summary(cluster, event); });
}

json answer_describe_event(const ClusterView& cluster, const EventView& event) {
  json details = event_summary(cluster, event);
  json metadata = json::object();
  put(metadata, "FailureMessage", event.failure_message);
  if (event.resource == EventResource::kInstance) put(metadata, "NodeLogicalId", event.logical_id);
  details["EventDetails"]["EventMetadata"][text(event.resource)] = std::move(metadata);
  return {{"EventDetails", std::move(details)}};
}

json answer_list_operations(const request::ListClusterOperations& query,
                            const std::string& cluster_arn, std::vector<OperationView> operations) {
  const auto key = [](const OperationView& operation) {
    return hex_of(static_cast<std::uint64_t>(operation.created.ns), 16) + operation.id;
  };
  std::ranges::sort(operations, {}, key);
  if (query.page.is_descending) std::ranges::reverse(operations);
  auto at = operations.begin();
  const auto next = [&]() -> std::optional<OperationView> {
    for (; at != operations.end(); ++at) {
      const bool fits = query.page.is_ahead(key(*at)) &&
                        is_between(at->created, query.after, query.before) &&
                        (query.status.empty() || query.status == word_of(at->status)) &&
                        (query.type.empty() || query.type == word_of(at->type));
      if (fits) return *at++;
    }
    return std::nullopt;
  };
  return list(query.page, "ClusterOperationSummaries", next, key,
              [&](const OperationView& one) { return operation_summary(cluster_arn, one); });
}

json answer_describe_operation(const std::string& cluster_arn, const OperationView& operation) {
  json answer = operation_summary(cluster_arn, operation);
  for (const InstanceGroup& group : operation.wanted) {
    json desired = {{"TargetCount", group.count}};
    if (group.count_min > 0) desired["MinCount"] = group.count_min;
    answer["ScalingDetails"].push_back({{"InstanceGroupName", group.name},
                                        {"Status", text(operation.status)},
                                        {"Desired", std::move(desired)}});
  }
  for (const OperationView::Checked& checked : operation.checked) {
    json kinds = json::array();
    for (const CheckKind kind : checked.kinds) kinds.push_back(text(kind));
    answer["DeepHealthCheckDetails"].push_back({{"InstanceGroupName", checked.group},
                                                {"InstanceIds", checked.instance_ids},
                                                {"DeepHealthChecks", std::move(kinds)}});
  }
  return answer;
}

json answer_batch(request::BatchKind kind, const std::vector<NodeOutcome>& outcomes) {
  json answer = json::object();
  const char* code = kind == request::BatchKind::kDelete ? "Code" : "ErrorCode";
  for (const NodeOutcome& outcome : outcomes) {
    const std::string suffix = outcome.is_logical ? "NodeLogicalIds" : "";
    if (!outcome.refusal) {
      answer["Successful" + suffix].push_back(outcome.id);
      continue;
    }
    answer["Failed" + suffix].push_back(
        {{outcome.is_logical ? "NodeLogicalId" : "NodeId", outcome.id},
         {code, refusal_code(kind, *outcome.refusal)},
         {"Message", outcome.message}});
  }
  return answer;
}

json answer_batch_add(const std::vector<NodeView>& added,
                      const std::vector<AdditionOutcome>& outcomes) {
  json successful = json::array(), failed = json::array();
  for (const NodeView& node : added)
    successful.push_back({{"NodeLogicalId", node.logical_id},
                          {"InstanceGroupName", node.group},
                          {"Status", text(node.status)}});
  for (const AdditionOutcome& outcome : outcomes) {
    if (outcome.error_code.empty()) continue;
    const auto& addition = outcome.addition;
    json error = {{"InstanceGroupName", addition.group},
                  {"ErrorCode", outcome.error_code},
                  {"FailedCount", addition.count},
                  {"Message", outcome.message}};
    if (!addition.zones.empty()) error["AvailabilityZones"] = addition.zones;
    if (!addition.instance_types.empty()) error["InstanceTypes"] = addition.instance_types;
    failed.push_back(std::move(error));
  }
  return {{"Successful", std::move(successful)}, {"Failed", std::move(failed)}};
}

}  // namespace holdfast::hyperpod
