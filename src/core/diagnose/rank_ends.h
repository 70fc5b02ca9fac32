#pragma once

#include <string>

#include "core/diagnose/incident_evidence.h"

namespace holdfast {

// How the ranks of an attempt ended, before anyone asks why.

[[nodiscard]] bool is_failure(const RankEvidence& rank);

// One end of a rank that says something by itself, and is no echo of another's.
[[nodiscard]] bool is_own(const RankEvidence& rank);

// "rank 3 on n7"
[[nodiscard]] std::string name_of(const RankEvidence& rank);

// Brings together what is known of each end: from the rank's own log, the kernel's record of kills,
// the launcher's summary and the order in time. What only followed counts as asked for; ranks of a
// hang that were killed all at once count as running.
void settle_ends(IncidentEvidence& evidence);

}  // namespace holdfast
