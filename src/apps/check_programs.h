#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/check.h"
#include "model/link.h"

namespace holdfast {

// One step of deep checks on this node: its programs, one after the other, and what they found.
// Blocks, for as long as the budgets say. In a process of its own: see run_captured().
// `folder`: for what the tests write, with a file `step` in it that has the step.
[[nodiscard]] std::vector<CheckResult> run_check_step(const server_message::StartCheck& step,
                                                      NodeId node, const std::string& folder);

// The tests that this program is itself, as one of those programs: JSON for its last line.
[[nodiscard]] std::string run_builtin_check(const server_message::StartCheck& step, NodeId node);

// A step and its report, as files in a folder: FOLDER/step, FOLDER/report.
[[nodiscard]] Result<void> write_check_step(const std::string& folder,
                                            const server_message::StartCheck& step);
[[nodiscard]] Result<server_message::StartCheck> read_check_step(const std::string& folder);
[[nodiscard]] Result<void> write_check_report(const std::string& folder,
                                              const agent_message::CheckReport& report);
[[nodiscard]] Result<agent_message::CheckReport> read_check_report(const std::string& folder);

}  // namespace holdfast
