#include "api/hyperpod_governance.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::size_t kPageMax = 100;
constexpr std::size_t kPage = 100;

// What the two kinds call the same things.
struct Names {
  std::string_view noun, nouns, arn_word, summaries;
};
constexpr Names kNames[] = {
    {"ClusterSchedulerConfig", "ClusterSchedulerConfigs", "cluster-scheduler-config",
     "ClusterSchedulerConfigSummaries"},
    {"ComputeQuota", "ComputeQuotas", "compute-quota", "ComputeQuotaSummaries"}};
const Names& names_of(GovernanceKind kind) {
  return kNames[static_cast<std::size_t>(kind)];
}
std::string member(GovernanceKind kind, std::string_view suffix) {
  return std::string(names_of(kind).noun) + std::string(suffix);
}

enum class Verb { kCreate, kUpdate, kDelete, kDescribe, kList };
struct Operation {
  Verb verb;
  GovernanceKind kind;
};
constexpr auto kVerbs =
    std::to_array<std::pair<std::string_view, Verb>>({{"Create", Verb::kCreate},
                                                      {"Update", Verb::kUpdate},
                                                      {"Delete", Verb::kDelete},
                                                      {"Describe", Verb::kDescribe},
                                                      {"List", Verb::kList}});

std::optional<Operation> parse_operation(std::string_view text) {
  for (const auto& [word, verb] : kVerbs) {
    if (!text.starts_with(word)) continue;
    for (const auto kind : {GovernanceKind::kSchedulerConfig, GovernanceKind::kComputeQuota})
      if (text.substr(word.size()) ==
          (verb == Verb::kList ? names_of(kind).nouns : names_of(kind).noun))
        return Operation{verb, kind};
  }
  return std::nullopt;
}

Error invalid(const std::string& name, const char* what) {
  return {Errc::kInvalidField, name + ": " + what};
}

// Members of a request; absent is none.
Result<std::optional<std::string>> text_in(const json& request, const std::string& name) {
  const auto found = request.find(name);
  if (found == request.end() || found->is_null()) return std::optional<std::string>();
  if (!found->is_string()) return invalid(name, "it is not a text");
  return std::optional(found->get<std::string>());
}

Result<std::optional<std::string>> object_in(const json& request, const std::string& name) {
  const auto found = request.find(name);
  if (found == request.end() || found->is_null()) return std::optional<std::string>();
  if (!found->is_object()) return invalid(name, "it is not an object");
  return std::optional(found->dump(-1, ' ', false, json::error_handler_t::replace));
}

Result<std::optional<std::uint32_t>> number_in(const json& request, const std::string& name) {
  const auto found = request.find(name);
  if (found == request.end() || found->is_null()) return std::optional<std::uint32_t>();
  if (!found->is_number_integer() || *found < 0 || *found > 0x7fffffff)
    return invalid(name, "it is not a whole number from 0");
  return std::optional(found->get<std::uint32_t>());
}

// Unix time in seconds, perhaps with a fraction.
Result<std::optional<WallTime>> time_in(const json& request, const std::string& name) {
  const auto found = request.find(name);
  if (found == request.end() || found->is_null()) return std::optional<WallTime>();
  const double seconds = found->is_number() ? found->get<double>() : -1;
  if (!(seconds >= 0 && seconds < 9e9)) return invalid(name, "it is not a Unix time in seconds");
  return std::optional(WallTime{std::llround(seconds * 1e3) * 1'000'000});
}

json time_of(WallTime at) {
  return static_cast<double>(at.ns / 1'000'000) / 1e3;
}

std::string cluster_arn(const ArnScope& scope, const std::string& id) {
  return "arn:aws:sagemaker:" + scope.region + ":" + scope.account + ":cluster/" + id;
}

std::string id_of_arn(const std::string& arn) {
  return arn.substr(arn.rfind('/') + 1);
}

std::string_view status_of(const GovernanceRecord& record) {
  return record.versions.back().number == 1 ? "Created" : "Updated";
}

// Text that was an object when it was taken in.
json object_of(const std::string& text) {
  json object = parse_json_text(text);
  return object.is_object() ? object : json::object();
}

std::string written(const json& answer) {
  return answer.dump(-1, ' ', false, json::error_handler_t::replace);
}

json person(const ArnScope& scope, const std::string& key_id) {
  return {
      {"IamIdentity",
       {{"Arn", "arn:aws:iam::" + scope.account + ":user/" + key_id}, {"PrincipalId", key_id}}}};
}

json summary_of(const GovernanceRecord& record, const ArnScope& scope) {
  const GovernanceVersion& version = record.versions.back();
  json summary{{member(record.kind, "Arn"), governance_arn(scope, record.kind, record.id)},
               {member(record.kind, "Id"), record.id},
               {member(record.kind, "Version"), version.number},
               {"Name", record.name},
               {"Status", status_of(record)},
               {"ClusterArn", cluster_arn(scope, record.cluster)},
               {"CreationTime", time_of(record.created)},
               {"LastModifiedTime", time_of(version.modified)}};
  if (record.kind == GovernanceKind::kComputeQuota) {
    summary["ComputeQuotaConfig"] = object_of(version.config);
    summary["ComputeQuotaTarget"] = object_of(version.target);
    summary["ActivationState"] = version.is_active ? "Enabled" : "Disabled";
  }
  return summary;
}

Result<std::string> describe(GovernanceKind kind, const json& request, const GovernanceState& state,
                             const ArnScope& scope) {
  HF_TRY(const auto id, text_in(request, member(kind, "Id")));
  HF_TRY(const auto asked, number_in(request, member(kind, "Version")));
  const auto found = state.records.find(id.value_or(""));
  if (found == state.records.end() || found->second.kind != kind)
    return Error{Errc::kNotFound,
                 member(kind, "Id") + ": there is none with the id '" + id.value_or("") + "'"};
  const GovernanceRecord& record = found->second;
  const auto version = asked
                           ? std::ranges::find(record.versions, *asked, &GovernanceVersion::number)
                           : record.versions.end() - 1;
  if (version == record.versions.end())
    return Error{Errc::kNotFound, member(kind, "Version") + ": version " + std::to_string(*asked) +
                                      " is not there; the last ones are, from " +
                                      std::to_string(record.versions.front().number) + " to " +
                                      std::to_string(record.versions.back().number)};
  json answer{{member(kind, "Arn"), governance_arn(scope, kind, record.id)},
              {member(kind, "Id"), record.id},
              {member(kind, "Version"), version->number},
              {"Name", record.name},
              {"Status", status_of(record)},
              {"ClusterArn", cluster_arn(scope, record.cluster)},
              {"CreationTime", time_of(record.created)},
              {"CreatedBy", person(scope, record.created_by)},
              {"LastModifiedTime", time_of(version->modified)},
              {"LastModifiedBy", person(scope, version->modified_by)}};
  if (!version->description.empty()) answer["Description"] = version->description;
  if (kind == GovernanceKind::kSchedulerConfig) {
    answer["SchedulerConfig"] = object_of(version->config);
  } else {
    answer["ComputeQuotaConfig"] = object_of(version->config);
    answer["ComputeQuotaTarget"] = object_of(version->target);
    answer["ActivationState"] = version->is_active ? "Enabled" : "Disabled";
  }
  return written(answer);
}

// What is listed, and in which order.
struct Listing {
  GovernanceKind kind = GovernanceKind::kSchedulerConfig;
  std::optional<WallTime> after, before;
  std::optional<std::string> name_contains, cluster, status;
  std::string sort_by = "CreationTime";
  bool is_ascending = false;
  std::size_t page = kPage;
  std::optional<std::string> token;
};

Result<Listing> read_listing(GovernanceKind kind, const json& request) {
  Listing listing{.kind = kind};
  HF_TRY(listing.after, time_in(request, "CreatedAfter"));
  HF_TRY(listing.before, time_in(request, "CreatedBefore"));
  HF_TRY(listing.name_contains, text_in(request, "NameContains"));
  HF_TRY(listing.cluster, text_in(request, "ClusterArn"));
  HF_TRY(listing.status, text_in(request, "Status"));
  HF_TRY(const auto sort_by, text_in(request, "SortBy"));
  HF_TRY(const auto order, text_in(request, "SortOrder"));
  HF_TRY(const auto most, number_in(request, "MaxResults"));
  HF_TRY(listing.token, text_in(request, "NextToken"));
  if (sort_by) listing.sort_by = *sort_by;
  listing.is_ascending = order == "Ascending";
  listing.page = std::clamp<std::size_t>(most.value_or(kPage), 1, kPageMax);
  return listing;
}

bool is_listed(const Listing& listing, const GovernanceRecord& record, const ArnScope& scope) {
  return record.kind == listing.kind && (!listing.after || record.created > *listing.after) &&
         (!listing.before || record.created < *listing.before) &&
         (!listing.name_contains ||
          record.name.find(*listing.name_contains) != std::string::npos) &&
         (!listing.cluster || cluster_arn(scope, record.cluster) == *listing.cluster) &&
         (!listing.status || status_of(record) == *listing.status);
}

// Where a record stands in the order; no two stand at the same place.
using Place = std::tuple<std::string, std::int64_t, std::string>;
Place place_of(const Listing& listing, const GovernanceRecord& record) {
  std::string first;
  if (listing.sort_by == "Name") first = record.name;
  if (listing.sort_by == "Status") first = status_of(record);
  if (listing.sort_by == "ClusterArn") first = record.cluster;
  return {std::move(first), record.created.ns, record.id};
}

// The place of the last one of a page, and the order that it belongs to, so that a page goes on
// where the one before it ended, whatever has come and gone between them.
std::string token_of(const Listing& listing, const Place& last) {
  std::string token;
  for (const unsigned char byte :
       written(json{listing.sort_by, listing.is_ascending, std::get<0>(last), std::get<1>(last),
                    std::get<2>(last)})) {
    token += "0123456789abcdef"[byte >> 4];
    token += "0123456789abcdef"[byte & 15];
  }
  return token;
}

Result<Place> place_of_token(const Listing& listing) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 256;
  };
  std::string text;
  for (std::size_t i = 0; i + 1 < listing.token->size(); i += 2) {
    const int byte = digit((*listing.token)[i]) * 16 + digit((*listing.token)[i + 1]);
    if (byte > 255) break;  // no JSON comes of what is left
    text += static_cast<char>(byte);
  }
  const json token = parse_json_text(text);
  if (!token.is_array() || token.size() != 5 || token[0] != listing.sort_by ||
      token[1] != listing.is_ascending || !token[2].is_string() || !token[3].is_number_integer() ||
      !token[4].is_string())
    return Error{
        Errc::kInvalidField,
        "NextToken: it is not of this listing; give that of the page before, with the same "
        "SortBy and SortOrder"};
  return Place{token[2].get<std::string>(), token[3].get<std::int64_t>(),
               token[4].get<std::string>()};
}

Result<std::string> list(GovernanceKind kind, const json& request, const GovernanceState& state,
                         const ArnScope& scope) {
  HF_TRY(const Listing listing, read_listing(kind, request));
  std::optional<Place> behind;
  if (listing.token) {
    HF_TRY(behind, place_of_token(listing));
  }
  std::vector<std::pair<Place, const GovernanceRecord*>> listed;
  for (const auto& [id, record] : state.records) {
    if (!is_listed(listing, record, scope)) continue;
    Place place = place_of(listing, record);
    if (behind && (listing.is_ascending ? place <= *behind : place >= *behind)) continue;
    listed.emplace_back(std::move(place), &record);
  }
  std::ranges::sort(listed);
  if (!listing.is_ascending) std::ranges::reverse(listed);
  const bool is_more = listed.size() > listing.page;
  if (is_more) listed.resize(listing.page);
  json summaries = json::array();
  for (const auto& [place, record] : listed) summaries.push_back(summary_of(*record, scope));
  json answer{{std::string(names_of(kind).summaries), std::move(summaries)}};
  if (is_more) answer["NextToken"] = token_of(listing, listed.back().first);
  return written(answer);
}

}  // namespace

std::string_view governance_arn_word(GovernanceKind kind) {
  return names_of(kind).arn_word;
}

std::string governance_arn(const ArnScope& scope, GovernanceKind kind, const std::string& id) {
  return "arn:aws:sagemaker:" + scope.region + ":" + scope.account + ":" +
         std::string(names_of(kind).arn_word) + "/" + id;
}

bool is_governance_operation(std::string_view operation) {
  return parse_operation(operation).has_value();
}

bool is_governance_change(std::string_view operation) {
  const auto parsed = parse_operation(operation);
  return parsed && parsed->verb != Verb::kDescribe && parsed->verb != Verb::kList;
}

Result<GovernanceChange> read_governance_change(std::string_view operation, const json& request,
                                                const std::string& new_id) {
  const auto parsed = parse_operation(operation);
  CHECK(parsed && is_governance_change(operation));
  const GovernanceKind kind = parsed->kind;
  GovernanceChange change{.kind = kind};
  HF_TRY(const auto id, text_in(request, member(kind, "Id")));
  change.id = id.value_or("");
  if (parsed->verb == Verb::kDelete) {
    change.action = GovernanceAction::kDelete;
    return change;
  }
  if (parsed->verb == Verb::kUpdate) {
    change.action = GovernanceAction::kUpdate;
    HF_TRY(const auto version, number_in(request, "TargetVersion"));
    change.target_version = version.value_or(0);
  } else {
    change.id = new_id;
    HF_TRY(const auto name, text_in(request, "Name"));
    HF_TRY(const auto cluster, text_in(request, "ClusterArn"));
    change.name = name.value_or("");
    change.cluster = id_of_arn(cluster.value_or(""));
  }
  HF_TRY(change.description, text_in(request, "Description"));
  const bool is_quota = kind == GovernanceKind::kComputeQuota;
  HF_TRY(change.config, object_in(request, is_quota ? "ComputeQuotaConfig" : "SchedulerConfig"));
  if (!is_quota) return change;
  HF_TRY(change.target, object_in(request, "ComputeQuotaTarget"));
  if (change.target) {
    HF_TRY(change.team, text_in(request.at("ComputeQuotaTarget"), "TeamName"));
  }
  HF_TRY(const auto activation, text_in(request, "ActivationState"));
  if (activation) change.is_active = *activation == "Enabled";
  return change;
}

std::string render_governance_change(const GovernanceChange& change, const GovernanceState& state,
                                     const ArnScope& scope) {
  const auto found = state.records.find(change.id);
  if (change.action == GovernanceAction::kDelete || found == state.records.end()) return "{}";
  json answer{{member(change.kind, "Arn"), governance_arn(scope, change.kind, change.id)}};
  if (change.action == GovernanceAction::kCreate)
    answer[member(change.kind, "Id")] = change.id;
  else
    answer[member(change.kind, "Version")] = found->second.versions.back().number;
  return written(answer);
}

Result<std::string> answer_governance_look(std::string_view operation, const json& request,
                                           const GovernanceState& state, const ArnScope& scope) {
  const auto parsed = parse_operation(operation);
  CHECK(parsed && !is_governance_change(operation));
  if (parsed->verb == Verb::kDescribe) return describe(parsed->kind, request, state, scope);
  return list(parsed->kind, request, state, scope);
}

std::string_view governance_error_type(Errc code) {
  switch (code) {
    case Errc::kNotFound:
      return "ResourceNotFound";
    case Errc::kNameExists:
    case Errc::kWrongState:
      return "ConflictException";
    default:
      return "ValidationException";
  }
}

}  // namespace holdfast
