#include "api/dcgm_health.h"

#include <algorithm>
#include <charconv>
#include <string>

#include <nlohmann/json.hpp>

#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::size_t kTextMax = 300;

// A node of dcgmi's tree of output: {"value": ..., "overflow": [...], "children": {...}}.
const json& child(const json& node, const char* name) {
  static const json kNone;
  const auto found = node.is_object() ? node.find(name) : node.end();
  return found == node.end() ? kNone : *found;
}

std::string text_of(const json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

// Long texts are broken into lines.
std::string message_of(const json& system) {
  std::string message;
  const json& lines = child(system, "overflow");
  for (const json& line : lines.is_array() ? lines : json::array())
    message += (message.empty() ? "" : " ") + text_of(line);
  std::ranges::replace_if(
      message, [](unsigned char c) { return c < ' ' || c == 127; }, ' ');
  return message.substr(0, kTextMax);
}

std::optional<std::uint32_t> number_in(const std::string& text) {
  std::uint32_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::optional<std::vector<DcgmIncident>> read_dcgm_health(std::string_view output) {
  std::vector<DcgmIncident> incidents;
  const json report = parse_json_text(output.substr(std::min(output.find('{'), output.size())));
  const json& body = child(report, "body");
  if (!body.is_object()) return std::nullopt;
  for (const auto& [kind, entities] : body.items()) {
    const json& all = child(entities, "children");
    if (!all.is_object()) continue;
    for (const auto& [id, entity] : all.items()) {
      const json& systems = child(child(child(entity, "children"), "Errors"), "children");
      if (!systems.is_object()) continue;
      for (const auto& [name, system] : systems.items()) {
        const std::string health = text_of(child(system, "value"));
        if (health != "Warning" && health != "Failure") continue;
        if (incidents.size() == kDcgmIncidentsMax) return incidents;
        incidents.push_back({.entity = kind + " " + id,
                             .gpu = kind == "GPU" ? number_in(id) : std::nullopt,
                             .system = name,
                             .failure = health == "Failure",
                             .text = message_of(system)});
      }
    }
  }
  return incidents;
}

bool dcgm_watches_nothing(std::string_view output) {
  return output.find("Health watches not enabled") != std::string_view::npos;
}

}  // namespace holdfast
