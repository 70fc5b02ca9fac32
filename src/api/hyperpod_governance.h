#pragma once

// Task governance in HyperPod's words: requests of the ClusterSchedulerConfig and ComputeQuota
// operations to model values, records to answers. What a request looks like (types, required
// members, patterns, lengths) has been checked against the service model before.

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "base/time.h"
#include "model/governance.h"

namespace holdfast {

// Where ARNs of this cluster are: arn:aws:sagemaker:REGION:ACCOUNT:...
struct ArnScope {
  std::string region;   // "us-east-1"
  std::string account;  // 12 digits
};

// "cluster-scheduler-config" or "compute-quota".
[[nodiscard]] std::string_view governance_arn_word(GovernanceKind kind);
// "arn:aws:sagemaker:REGION:ACCOUNT:cluster-scheduler-config/ID", or compute-quota/ID.
[[nodiscard]] std::string governance_arn(const ArnScope& scope, GovernanceKind kind,
                                         const std::string& id);

// "DescribeComputeQuota" and the like: one of the ten operations.
[[nodiscard]] bool is_governance_operation(std::string_view operation);
// Create, Update and Delete.
[[nodiscard]] bool is_governance_change(std::string_view operation);

// `new_id`: [a-z0-9]{12}, for what is created. REQUIRES: is_governance_change(operation).
// kInvalidField where a member has not the type that its operation gives it.
[[nodiscard]] Result<GovernanceChange> read_governance_change(std::string_view operation,
                                                              const nlohmann::json& request,
                                                              const std::string& new_id);

// The body of the answer once the change is made; `state` is the one after it.
[[nodiscard]] std::string render_governance_change(const GovernanceChange& change,
                                                   const GovernanceState& state,
                                                   const ArnScope& scope);

// The body of an answer to a Describe or List. Errors: kNotFound (also a version that is not kept),
// kInvalidField (a token that is none of this listing).
[[nodiscard]] Result<std::string> answer_governance_look(std::string_view operation,
                                                         const nlohmann::json& request,
                                                         const GovernanceState& state,
                                                         const ArnScope& scope);

// How AWS names what core/governance and the two above refuse: "ConflictException" and the like.
[[nodiscard]] std::string_view governance_error_type(Errc code);

}  // namespace holdfast
