#pragma once

#include <cstddef>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "model/governance.h"

namespace holdfast {

inline constexpr std::size_t kGovernanceVersionsKept = 10;
inline constexpr std::size_t kGovernanceRecordsMax = 1000;

// Whether a change can be made as things stand. A cluster has at most one scheduler config, a team
// at most one quota of a cluster, and a name is used once among those of a kind and cluster.
// Errors: kNotFound (no such record of this kind), kNameExists, kWrongState (there is one already,
// or too many, or another update came first: the target version is not the present one),
// kInvalidField (an id or a name that cannot be).
[[nodiscard]] Result<void> check_governance(const GovernanceState& state,
                                            const GovernanceChange& change);

// Makes it; false, and nothing has changed, where check_governance() has an error.
bool apply_governance(GovernanceState& state, const GovernanceChange& change, WallTime at,
                      const std::string& by);

}  // namespace holdfast
