#include "core/governance/governance.h"

#include <algorithm>
#include <string_view>

namespace holdfast {
namespace {

constexpr std::size_t kNameMax = 63;
constexpr std::size_t kTextMax = 64 << 10;

std::string words_of(GovernanceKind kind) {
  return kind == GovernanceKind::kSchedulerConfig ? "cluster scheduler config" : "compute quota";
}

bool is_lower_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

const GovernanceRecord* find(const GovernanceState& state, const GovernanceChange& change) {
  const auto found = state.records.find(change.id);
  return found == state.records.end() || found->second.kind != change.kind ? nullptr
                                                                           : &found->second;
}

// Two quotas of one team in one cluster.
Result<void> check_team(const GovernanceState& state, const GovernanceChange& change,
                        const std::string& cluster) {
  if (change.kind != GovernanceKind::kComputeQuota || !change.team) return {};
  for (const auto& [id, record] : state.records)
    if (id != change.id && record.kind == change.kind && record.cluster == cluster &&
        record.versions.back().team == *change.team)
      return Error{Errc::kWrongState, "ComputeQuotaTarget: team '" + *change.team +
                                          "' has the compute quota '" + record.name + "' (" + id +
                                          ") already; update that one"};
  return {};
}

Result<void> check_new(const GovernanceState& state, const GovernanceChange& change) {
  if (change.id.size() != 12 || !std::ranges::all_of(change.id, is_lower_or_digit))
    return Error{Errc::kInvalidField, "id: a new record's is 12 of a-z and 0-9"};
  if (change.name.empty() || change.name.size() > kNameMax)
    return Error{Errc::kInvalidField, "Name: give 1 to 63 characters"};
  if (state.records.contains(change.id))
    return Error{Errc::kNameExists, "id: " + change.id + " is in use"};
  if (state.records.size() >= kGovernanceRecordsMax)
    return Error{Errc::kWrongState, "there are " + std::to_string(kGovernanceRecordsMax) +
                                        " scheduler configs and quotas, which are the most; "
                                        "delete one first"};
  if (!change.config || (change.kind == GovernanceKind::kComputeQuota && !change.team))
    return Error{Errc::kInvalidField, "config and target: a new record needs them"};
  for (const auto& [id, record] : state.records) {
    if (record.kind != change.kind || record.cluster != change.cluster) continue;
    if (record.name == change.name)
      return Error{Errc::kNameExists, "Name: '" + change.name + "' is that of " + id + " already"};
    if (change.kind == GovernanceKind::kSchedulerConfig)
      return Error{Errc::kWrongState, "ClusterArn: the cluster has the scheduler config '" +
                                          record.name + "' (" + id +
                                          ") already, and can have one; update that one"};
  }
  return check_team(state, change, change.cluster);
}

}  // namespace

Result<void> check_governance(const GovernanceState& state, const GovernanceChange& change) {
  for (const auto* text : {&change.description, &change.config, &change.target, &change.team})
    if (*text && (*text)->size() > kTextMax)
      return Error{Errc::kInvalidField, "the request is larger than " + std::to_string(kTextMax) +
                                            " bytes in one field"};
  if (change.action == GovernanceAction::kCreate) return check_new(state, change);
  const GovernanceRecord* record = find(state, change);
  if (record == nullptr)
    return Error{Errc::kNotFound,
                 "there is no " + words_of(change.kind) + " with the id '" + change.id + "'"};
  if (change.action == GovernanceAction::kDelete) return {};
  const std::uint32_t present = record->versions.back().number;
  if (change.target_version != present)
    return Error{Errc::kWrongState, "TargetVersion: the " + words_of(change.kind) +
                                        " is at version " + std::to_string(present) + ", not " +
                                        std::to_string(change.target_version) +
                                        "; describe it, and update what it is now"};
  return check_team(state, change, record->cluster);
}

bool apply_governance(GovernanceState& state, const GovernanceChange& change, WallTime at,
                      const std::string& by) {
  if (!check_governance(state, change).ok()) return false;
  if (change.action == GovernanceAction::kDelete) {
    state.records.erase(change.id);
    return true;
  }
  GovernanceRecord& record = state.records[change.id];
  if (change.action == GovernanceAction::kCreate) {
    record.kind = change.kind;
    record.id = change.id;
    record.cluster = change.cluster;
    record.name = change.name;
    record.created = at;
    record.created_by = by;
  }
  GovernanceVersion next = record.versions.empty() ? GovernanceVersion{} : record.versions.back();
  ++next.number;
  if (change.description) next.description = *change.description;
  if (change.config) next.config = *change.config;
  if (change.target) next.target = *change.target;
  if (change.team) next.team = *change.team;
  if (change.is_active) next.is_active = *change.is_active;
  next.modified = at;
  next.modified_by = by;
  record.versions.push_back(std::move(next));
  if (record.versions.size() > kGovernanceVersionsKept)
    record.versions.erase(record.versions.begin());
  return true;
}

}  // namespace holdfast
