#include "apps/rule_pages.h"

#include <algorithm>
#include <vector>

#include "core/diagnose/kernel_rules.h"
#include "core/health/health_rules.h"

namespace holdfast {
namespace {

std::string section(const Paint& paint, std::string_view title, std::string_view text) {
  return paint(Ink::kBold, title) + "\n  " + std::string(text) + "\n\n";
}

std::string upper_first(std::string_view text) {
  std::string result(text);
  if (!result.empty() && result[0] >= 'a' && result[0] <= 'z')
    result[0] = static_cast<char>(result[0] - 'a' + 'A');
  return result;
}

// How people write them.
std::string_view spelled(std::string_view kind) {
  return kind == "xid" ? "Xid" : "SXid";
}

std::string code_table(std::string_view kind, const Paint& paint) {
  const bool xid = kind == "xid";
  std::vector<std::vector<std::string>> rows{
      {">CODE", "CAUSE", "ACTION", xid ? "NVIDIA'S WORD" : "THE GUIDE SAYS", "MEANING"}};
  for (const std::int32_t code : xid ? xid_codes() : sxid_codes()) {
    const CodeRule rule = *(xid ? xid_rule(code) : sxid_rule(code));
    rows.push_back({std::to_string(code), std::string(word_of(rule.cause)),
                    std::string(word_of(rule.action)), std::string(rule.vendor_action),
                    std::string(rule.meaning)});
  }
  return render_table(rows, paint) + "\nSource: " + std::string(xid ? kXidSource : kSxidGuide) +
         "\nOne of them: holdfast explain " + std::string(kind) + " " + rows[1][0] + "\n";
}

std::string health_rule_page(const HealthRule& rule, const Paint& paint) {
  const std::string looks =
      rule.looks == 1 ? "" : ", in " + std::to_string(rule.looks) + " looks in a row";
  return section(paint, rule.kind, upper_first(rule.condition) + looks + ".") +
         section(paint, "Cause class", word_of(rule.cause)) +
         section(paint, "What Holdfast does",
                 std::string(word_of(rule.action)) + ": " + std::string(action_text(rule.action)) +
                     ".") +
         section(paint, "Why", upper_first(rule.why) + ".") + paint(Ink::kBold, "Source") + "\n  " +
         std::string(rule.source) + "\n";
}

}  // namespace

std::string_view action_text(Action action) {
  switch (action) {
    case Action::kNone:
      return "touches no node and no device; how the ranks end decides about the job";
    case Action::kRestartRanks:
      return "restarts the job's ranks from the last commit; the node stays";
    case Action::kRestartOnOtherNodes:
      return "gives the node no new work while it lasts; a spare takes its place";
    case Action::kResetDevice:
      return "takes the node out of service and resets the device; a spare takes its place, and "
             "the "
             "node comes back as one. Ill again within a day: reboot, then replace";
    case Action::kRebootNode:
      return "takes the node out of service and reboots it; a spare takes its place, and the node "
             "comes back as one. Ill again within a day: replace";
    case Action::kReplaceNode:
      return "replaces the node";
    case Action::kStopJob:
      return "stops the job";
    case Action::kAskOperator:
      return "alerts the operator and touches nothing: a person decides";
  }
  return {};
}

std::optional<std::string> code_page(std::string_view kind, std::int32_t code, const Paint& paint) {
  if (kind != "xid" && kind != "sxid") return std::nullopt;
  const auto rule = kind == "xid" ? xid_rule(code) : sxid_rule(code);
  const std::string name = std::string(spelled(kind)) + " " + std::to_string(code);
  if (!rule)
    return section(paint, name, "Not documented by NVIDIA (catalogue and guide of 2026-11-24).") +
           section(paint, "What Holdfast does",
                   "ask_operator: " + std::string(action_text(Action::kAskOperator)) + ".");
  std::string vendor = std::string(rule->vendor_action);
  return section(paint, name, upper_first(rule->meaning) + ".") +
         section(paint, "Cause class", word_of(rule->cause)) +
         section(paint, "What Holdfast does",
                 std::string(word_of(rule->action)) + ": " +
                     std::string(action_text(rule->action)) + ".") +
         section(paint, "Why", upper_first(rule->why) + ". NVIDIA's word: " + vendor + ".") +
         paint(Ink::kBold, "Source") + "\n  " + std::string(rule->source) + "\n";
}

std::optional<std::string> kind_page(std::string_view kind, const Paint& paint) {
  if (kind == "xid" || kind == "sxid") return code_table(kind, paint);
  std::vector<std::vector<std::string>> rows{{"MESSAGE", "CAUSE", "ACTION", "MEANING", "SOURCE"}};
  for (const KernelRule& rule : kernel_rules()) {
    if (rule.kind != kind) continue;
    const std::string driver = rule.driver.empty() ? "" : std::string(rule.driver) + " DEVICE: ";
    rows.push_back({driver + std::string(rule.pattern), std::string(word_of(rule.cause)),
                    std::string(word_of(rule.action)), std::string(rule.meaning),
                    std::string(rule.source)});
  }
  std::string page;
  if (const HealthRule* rule = health_rule(kind)) page = health_rule_page(*rule, paint);
  if (rows.size() == 1) return page.empty() ? std::nullopt : std::optional(page);
  return page + (page.empty() ? "" : "\n") + render_table(rows, paint) +
         "\nIn a message: * anything, # a number, @ a device, % a process.\n";
}

std::string kinds_text() {
  std::vector<std::string_view> kinds{"xid", "sxid"};
  for (const KernelRule& rule : kernel_rules())
    if (std::ranges::find(kinds, rule.kind) == kinds.end()) kinds.push_back(rule.kind);
  for (const std::span<const HealthRule> rules : {device_rules(), host_rules()})
    for (const HealthRule& rule : rules)
      if (std::ranges::find(kinds, rule.kind) == kinds.end()) kinds.push_back(rule.kind);
  std::string text;
  for (const std::string_view kind : kinds) text += (text.empty() ? "" : " ") + std::string(kind);
  return text;
}

}  // namespace holdfast
