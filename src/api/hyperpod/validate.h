#pragma once

// Any JSON against a shape of the service model, as AWS does it: unknown members are ignored, null
// is as if absent, and one answer names everything that is wrong:
//
//   2 validation errors detected: Value null at 'clusterName' failed to satisfy constraint: Member
//   must not be null; Value '7000' at 'instanceGroups.1.member.instanceCount' failed to satisfy
//   constraint: Member must have value less than or equal to 6758
//
// Time and memory are linear in the size of the value, whatever is in it.

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "api/hyperpod/api_error.h"
#include "api/hyperpod/service_model.h"

namespace holdfast::hyperpod {

// nullopt: `value` is one of `shape`. Otherwise a SerializationException for the first value of
// another type, or a ValidationException with the first 20 violations, and how many there are.
[[nodiscard]] std::optional<ApiError> validate(const Shape& shape, const nlohmann::json& value);

// What `shape` knows of it: without unknown members and nulls.
// REQUIRES: `value` is one of `shape`.
[[nodiscard]] nlohmann::json known_part(const Shape& shape, const nlohmann::json& value);

}  // namespace holdfast::hyperpod
