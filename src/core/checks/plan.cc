#include "core/checks/plan.h"

#include <algorithm>

#include "core/checks/tournament.h"

namespace holdfast {
namespace {

bool wants(const std::vector<CheckKind>& kinds, CheckKind kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

}  // namespace

std::vector<CheckStep> plan_checks(const std::vector<CheckKind>& kinds, bool has_scripts,
                                   std::size_t nodes) {
  std::vector<CheckStep> steps;
  const auto add = [&](std::string_view test, std::uint32_t round = 0) {
    steps.push_back({std::string(test), round, {}});
  };
  if (wants(kinds, CheckKind::kInstanceStress)) {
    for (const std::string_view test : {check_test::kCpu, check_test::kMemory, check_test::kGemm,
                                        check_test::kDisk, check_test::kAccelerator})
      add(test);
    if (has_scripts) add(check_test::kScripts);
  }
  if (wants(kinds, CheckKind::kInstanceConnectivity) && nodes > 1) {
    for (std::uint32_t round = 0; round < rounds_of(nodes); ++round) add(check_test::kLink, round);
    add(check_test::kAllReduce);
  }
  return steps;
}

bool needs_peers(std::string_view test) {
  return test == check_test::kLink || test == check_test::kAllReduce;
}

std::vector<std::vector<NodeId>> groups_of(const CheckStep& step,
                                           const std::vector<CheckMember>& members,
                                           const std::set<NodeId>& out) {
  std::vector<NodeId> in;
  for (const CheckMember& member : members) {
    if (!step.only.empty() &&
        std::find(step.only.begin(), step.only.end(), member.node) == step.only.end())
      continue;
    if (needs_peers(step.test) || !member.is_partner) in.push_back(member.node);
  }
  std::vector<std::vector<NodeId>> groups;
  if (step.test == check_test::kLink) {
    if (step.round >= rounds_of(in.size())) return groups;
    for (const auto& [a, b] : pairs_of_round(in.size(), step.round))
      if (!out.contains(in[a]) && !out.contains(in[b])) groups.push_back({in[a], in[b]});
    return groups;
  }
  std::erase_if(in, [&](NodeId node) { return out.contains(node); });
  if (step.test == check_test::kAllReduce) {
    if (in.size() > 1) groups.push_back(std::move(in));
    return groups;
  }
  for (const NodeId node : in) groups.push_back({node});
  return groups;
}

CauseClass cause_of_test(std::string_view test) {
  if (test.starts_with(check_test::kLink) || test == check_test::kAllReduce)
    return CauseClass::kInterconnect;
  if (test.starts_with(check_test::kDisk)) return CauseClass::kStorage;
  if (test.starts_with(check_test::kAccelerator) || test.starts_with("nccl"))
    return CauseClass::kAccelerator;
  return CauseClass::kHost;
}

Action cure_of(const CheckResult& failed) {
  return failed.action == Action::kNone ? Action::kRebootNode : failed.action;
}

std::string text_of(const CheckStep& step) {
  if (step.test != check_test::kLink || !step.only.empty()) return step.test;
  return step.test + " (round " + std::to_string(step.round + 1) + ")";
}

}  // namespace holdfast
