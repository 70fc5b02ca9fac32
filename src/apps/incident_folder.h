#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/diagnose/incident_evidence.h"
#include "model/event.h"

namespace holdfast {

// A folder with one attempt of a job (docs/incident-folder.md).
struct IncidentFolder {
  IncidentEvidence evidence;
  std::map<NodeId, std::string> node_names;  // as the folder calls them
  std::vector<std::string> notes;            // what was not used, and why
};

// Errors: kNotFound for a folder or ranks.json that is not there, kUnparsable and kInvalidField for
// what is in them, each with file, field, value and remedy. A log that is not there is no error.
[[nodiscard]] Result<IncidentFolder> read_incident_folder(const std::string& folder);

// Writes such a folder, in place of what is there; the logs are links to those of `logs`
// (JOBS/j1/a2), so they cost no space and go on growing. `started`: of the attempt. Not synced.
Result<void> write_incident_folder(const std::string& folder, const effect::KeepEvidence& kept,
                                   WallTime started, const std::string& logs);

// `text` with the ids that the core uses replaced by the folder's own names.
[[nodiscard]] std::string with_node_names(std::string text, const IncidentFolder& folder);

}  // namespace holdfast
