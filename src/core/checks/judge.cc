#include "core/checks/judge.h"

#include <algorithm>
#include <set>

#include "core/checks/blame.h"
#include "core/checks/plan.h"
#include "core/checks/threshold.h"

namespace holdfast {
namespace {

constexpr std::size_t kConfirmedMax = 16;  // links and tests that are measured once more

std::pair<NodeId, NodeId> ends_of(const CheckResult& result) {
  return std::minmax(result.node, result.peer);
}

// "12.5 GB/s"
std::string number_text(std::int64_t value, const std::string& unit) {
  std::string text = std::to_string(value / 1000);
  const std::int64_t rest = std::abs(value) % 1000;
  if (rest != 0 && std::abs(value) < 100'000)
    text += "." + std::to_string(1000 + rest).substr(1, 2);
  return text + " " + unit;
}

class Judge {
 public:
  Judge(const CheckRun& run, const FleetValues& fleet, const std::vector<CheckFloor>& floors,
        const std::map<NodeId, std::string>& types)
      : run_(run), fleet_(fleet), floors_(floors), types_(types) {
    judgement_.results = run.results;
  }

  Judgement judge() {
    keep_newest();
    set_thresholds();
    blame_links();
    for (const CheckResult* result : newest_)
      if (result->verdict == CheckVerdict::kFailed && !is_link(*result))
        find(culprit_of(*result), *result, text_of_failure(*result));
    if (run_.is_confirming) return std::move(judgement_);
    plan_confirmation();
    return std::move(judgement_);
  }

 private:
  // In an all-reduce a node finds the fault of the one that sends to it: no link is measured.
  static bool is_link(const CheckResult& result) {
    return result.peer && result.test != check_test::kAllReduce;
  }
  static NodeId culprit_of(const CheckResult& result) {
    return result.peer ? result.peer : result.node;
  }

  [[nodiscard]] const CheckMember* member(NodeId node) const {
    const auto found = std::find_if(run_.members.begin(), run_.members.end(),
                                    [&](const CheckMember& one) { return one.node == node; });
    return found == run_.members.end() ? nullptr : &*found;
  }

  void keep_newest() {
    std::map<std::pair<std::string, std::pair<NodeId, NodeId>>, CheckResult*> newest;
    for (CheckResult& result : judgement_.results) {
      const auto ends = is_link(result) ? ends_of(result) : std::pair(result.node, NodeId{});
      newest[{result.test, ends}] = &result;
    }
    for (const auto& [key, result] : newest) newest_.push_back(result);
  }

  [[nodiscard]] const CheckFloor* floor_of(const CheckResult& result) const {
    const CheckFloor* general = nullptr;
    for (const CheckFloor& floor : floors_) {
      if (floor.test != result.test) continue;
      if (floor.instance_type == type_of(result.node)) return &floor;
      if (floor.instance_type == "*") general = &floor;
    }
    return general;
  }

  [[nodiscard]] std::string type_of(NodeId node) const {
    const auto found = types_.find(node);
    return found == types_.end() ? std::string() : found->second;
  }

  // A link is compared with all links, a node with all other nodes; of one instance type each.
  [[nodiscard]] std::vector<std::int64_t> peers_of(const CheckResult& result) const {
    std::vector<std::int64_t> values;
    std::set<NodeId> here;
    for (const CheckResult* other : newest_) {
      if (other->test != result.test || other->unit.empty()) continue;
      here.insert(other->node);
      if ((is_link(result) ? other != &result : other->node != result.node) &&
          type_of(other->node) == type_of(result.node))
        values.push_back(other->value);
    }
    if (const auto before = fleet_.find(result.test); before != fleet_.end())
      for (const auto& [node, value] : before->second)
        if (!here.contains(node) && type_of(node) == type_of(result.node)) values.push_back(value);
    return values;
  }

  void set_thresholds() {
    for (CheckResult* result : newest_) {
      if (result->unit.empty() || result->verdict != CheckVerdict::kPassed) continue;
      if (run_.is_confirming && result->threshold) continue;
      std::string where;
      if (const CheckFloor* floor = floor_of(*result)) {
        result->threshold = floor->value;
        where = "set for instance type " + floor->instance_type;
      }
      const auto usual = fleet_threshold(peers_of(*result), result->less_is_better);
      if (usual && (!result->threshold ||
                    is_beyond(*result->threshold, usual->value, result->less_is_better))) {
        result->threshold = usual->value;
        where = std::to_string(usual->peers) + " peers, median " +
                number_text(usual->median, result->unit);
      }
      if (!result->threshold) continue;
      if (!is_beyond(result->value, *result->threshold, result->less_is_better)) {
        if (result->reason.empty()) result->reason = "threshold: " + where;
        continue;
      }
      by_number_.insert(result);
      result->verdict = CheckVerdict::kFailed;
      result->reason = number_text(result->value, result->unit) + " is beyond the threshold of " +
                       number_text(*result->threshold, result->unit) + " (" + where + ")";
    }
  }

  void blame_links() {
    std::map<NodeId, std::size_t> position;
    for (std::size_t i = 0; i < run_.members.size(); ++i) position[run_.members[i].node] = i;
    std::map<std::pair<NodeId, NodeId>, bool> measured;
    for (const CheckResult* result : newest_) {
      if (!is_link(*result) || result->verdict == CheckVerdict::kSkipped) continue;
      if (!position.contains(result->node) || !position.contains(result->peer)) continue;
      const bool is_bad = result->verdict == CheckVerdict::kFailed;
      bool& known_bad = measured[ends_of(*result)];
      known_bad = known_bad || is_bad;
      if (is_bad) bad_links_.insert(ends_of(*result));
    }
    std::vector<MeasuredLink> links;
    for (const auto& [ends, is_bad] : measured)
      links.push_back({position[ends.first], position[ends.second], is_bad});
    const Blame blamed = blame(run_.members.size(), links);
    std::set<NodeId> guilty;
    for (const std::size_t i : blamed.nodes) guilty.insert(run_.members[i].node);
    for (const auto& [a, b] : blamed.links) {
      const NodeId first = run_.members[a].node, second = run_.members[b].node;
      if (guilty.contains(first) || guilty.contains(second)) continue;
      const bool second_goes = member(first)->is_partner == member(second)->is_partner
                                   ? second > first
                                   : member(first)->is_partner;
      guilty.insert(second_goes ? second : first);
    }
    for (const NodeId node : guilty)
      for (const CheckResult* result : newest_)
        if (is_link(*result) && result->verdict == CheckVerdict::kFailed &&
            (result->node == node || result->peer == node))
          find(node, *result, text_of_failure(*result));
  }

  static std::string text_of_failure(const CheckResult& result) {
    std::string text = result.test;
    if (result.peer)
      text += " between " + to_string(result.node) + " and " + to_string(result.peer);
    return text + " failed" + (result.reason.empty() ? "" : ": " + result.reason);
  }

  void find(NodeId node, const CheckResult& result, const std::string& text) {
    const auto [found, is_first] = judgement_.bad.try_emplace(node);
    CheckFinding& finding = found->second;
    if (is_first) {
      finding.cause = cause_of_test(result.test);
      finding.summary = "deep checks " + to_string(run_.id) + ": " + text;
    }
    finding.action = std::max(finding.action, cure_of(result));
    finding.evidence.push_back(text);
  }

  void plan_confirmation() {
    std::map<std::string, std::set<NodeId>> alone;
    for (const CheckResult* result : by_number_)
      if (!is_link(*result) && !needs_peers(result->test))
        alone[test_that_measures(result->test)].insert(result->node);
    for (const auto& [test, nodes] : alone)
      judgement_.confirm.push_back({test, 0, {nodes.begin(), nodes.end()}});
    for (const auto& [a, b] : bad_links_) {
      if (judgement_.confirm.size() >= kConfirmedMax) return;
      judgement_.confirm.push_back({std::string(check_test::kLink), 0, {a, b}});
    }
  }

  // "memory_bandwidth" is measured by "memory"; what no built-in test measures is a script's.
  static std::string test_that_measures(const std::string& number) {
    for (const std::string_view test : {check_test::kCpu, check_test::kMemory, check_test::kGemm,
                                        check_test::kDisk, check_test::kAccelerator})
      if (number == test || number.starts_with(std::string(test) + "_")) return std::string(test);
    if (number.starts_with("nccl")) return std::string(check_test::kAccelerator);
    return std::string(check_test::kScripts);
  }

  const CheckRun& run_;
  const FleetValues& fleet_;
  const std::vector<CheckFloor>& floors_;
  const std::map<NodeId, std::string>& types_;
  Judgement judgement_;
  std::vector<CheckResult*> newest_;  // into the judgement
  std::set<const CheckResult*> by_number_;
  std::set<std::pair<NodeId, NodeId>> bad_links_;
};

}  // namespace

Judgement judge(const CheckRun& run, const FleetValues& fleet,
                const std::vector<CheckFloor>& floors,
                const std::map<NodeId, std::string>& instance_types) {
  return Judge(run, fleet, floors, instance_types).judge();
}

}  // namespace holdfast
