#include "apps/health_views.h"

#include <algorithm>

#include <fmt/format.h>

#include "apps/commands/control_plane.h"
#include "core/health/node_labels.h"
#include "model/codec.h"

namespace holdfast {
namespace {

using nlohmann::json;

std::string one_line(const std::string& text) {
  std::string line = without_controls(text);
  std::ranges::replace(line, '\n', ' ');
  return line;
}

std::string ago(const json& thing, const char* key, const Clocks& clocks) {
  return duration_text({clocks.now_ns - whole_at(thing, key)});
}

std::string label_of(const json& node, const char* name) {
  return text_at(at(node, "labels"), (std::string(kLabelPrefix) + name).c_str());
}

Ink ink_of(const std::string& status) {
  return status == "Schedulable" ? Ink::kGreen : Ink::kYellow;
}

std::string kind_of(const json& fault) {
  std::string kind = text_at(fault, "kind");
  if (whole_at(fault, "code") != 0) kind += " " + std::to_string(whole_at(fault, "code"));
  return kind;
}

std::string dash(std::string text) {
  return text.empty() ? "-" : std::move(text);
}

bool lasts(const json& fault) {
  const json& present = at(fault, "present");
  return present.is_boolean() && present.get<bool>();
}

std::size_t lasting(const json& node) {
  std::size_t count = 0;
  for (const json& one : list_at(at(node, "health"), "faults"))
    if (lasts(one)) ++count;
  return count;
}

}  // namespace

json node_view(const NodeRecord& node, const ClusterSpec& spec) {
  json view = to_json_value(node);
  const InstanceGroup* group = spec.find_group(node.group);
  const NodeLabels labels = labels_of(node, group == nullptr ? "" : group->name);
  view["labels"] = labels.labels;
  view["taints"] = labels.taints;
  view["health_text"] = health_sentence(node);
  // Of HyperPod's annotation: the last 20 faults, as JSON in a text.
  json details = json::array();
  for (const NodeFault& one : node.health.faults)
    details.push_back({{"type", fault_type(one.fault)},
                       {"reason", fault_reason(one.fault)},
                       {"device", one.fault.device},
                       {"message", one.fault.line},
                       {"present", one.present},
                       {"times", one.times}});
  view["annotations"] = {{std::string(kLabelPrefix) + "fault-details",
                          details.dump(-1, ' ', false, json::error_handler_t::replace)}};
  return view;
}

std::string health_table(const json& nodes, const Clocks& clocks, const Paint& paint) {
  std::vector<std::vector<std::string>> rows{
      {"NODE", "STATUS", "STATE", "FOR", "DUE", ">FINDINGS", "WHY"}};
  for (const json& node : nodes) {
    if (text_at(node, "state") == "gone") continue;
    const std::string status = label_of(node, "node-health-status");
    const std::string due = text_at(at(node, "health"), "due");
    rows.push_back({text_at(node, "id"), paint(ink_of(status), status), text_at(node, "state"),
                    ago(node, "since_ns", clocks), due == "none" ? "-" : due,
                    std::to_string(lasting(node)), one_line(text_at(node, "reason"))});
  }
  return rows.size() == 1 ? "no nodes\n" : render_table(rows, paint);
}

std::string health_page(const json& node, const Clocks& clocks, const Paint& paint) {
  const json& health = at(node, "health");
  std::string out = paint(Ink::kBold, "node " + text_at(node, "id")) + "  " +
                    one_line(text_at(node, "health_text")) + ", for " +
                    ago(node, "since_ns", clocks) + "\n\n";
  for (const auto& [name, value] : at(node, "labels").items())
    out += "  " + name + "=" + without_controls(value.get<std::string>()) + "\n";
  for (const json& taint : list_at(node, "taints"))
    out += "  taint " + without_controls(taint.get<std::string>()) + "\n";
  const json& faults = list_at(health, "faults");
  std::vector<std::vector<std::string>> rows{
      {"FINDING", "DEVICE", "ACTION", ">TIMES", "LAST", "NOW", "EVIDENCE"}};
  for (auto one = faults.rbegin(); one != faults.rend(); ++one) {
    const json& fault = at(*one, "fault");
    rows.push_back({kind_of(fault), dash(text_at(fault, "device")), text_at(fault, "action"),
                    std::to_string(whole_at(*one, "times")), ago(*one, "last_ns", clocks) + " ago",
                    lasts(*one) ? "lasts" : "over",
                    one_line(text_at(fault, "line"))});
  }
  out += rows.size() == 1 ? "\nnothing was found on it\n" : "\n" + render_table(rows, paint);
  rows = {{"REPAIR", "FOR", "DEVICE", "WHEN"}};
  for (const json& repair : list_at(health, "repairs"))
    rows.push_back({text_at(repair, "action"), text_at(repair, "kind"),
                    dash(text_at(repair, "device")), ago(repair, "at_ns", clocks) + " ago"});
  if (rows.size() > 1) out += "\n" + render_table(rows, paint);
  if (!at(node, "software").empty()) out += "\n";
  for (const auto& [name, version] : at(node, "software").items())
    out += fmt::format("{:<16}{}\n", name, without_controls(version.get<std::string>()));
  if (!faults.empty())
    out += "\nholdfast explain " + text_at(at(faults.back(), "fault"), "kind") +
           " tells what the newest means\n";
  return out;
}

}  // namespace holdfast
