#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/check.h"

namespace holdfast {

// The tests that the program brings along, and the one step in which all scripts run.
namespace check_test {
inline constexpr std::string_view kCpu = "cpu";
inline constexpr std::string_view kMemory = "memory";
inline constexpr std::string_view kGemm = "gemm";
inline constexpr std::string_view kDisk = "disk";
inline constexpr std::string_view kAccelerator = "accelerator";
inline constexpr std::string_view kScripts = "scripts";
inline constexpr std::string_view kLink = "link";
inline constexpr std::string_view kAllReduce = "all_reduce";
}  // namespace check_test

// The steps of a run over so many nodes, in order: what a node does alone first, then the rounds of
// links, then all together.
[[nodiscard]] std::vector<CheckStep> plan_checks(const std::vector<CheckKind>& kinds,
                                                 bool has_scripts, std::size_t nodes);

// Of a test in which nodes measure together.
[[nodiscard]] bool needs_peers(std::string_view test);

// Who does the step: groups that measure together, or single nodes. `members` that are `out` (lost,
// or failed already) are left out; a link of which one end is out is not measured.
[[nodiscard]] std::vector<std::vector<NodeId>> groups_of(const CheckStep& step,
                                                         const std::vector<CheckMember>& members,
                                                         const std::set<NodeId>& out);

// What a failed test points to, and the mildest cure where the test itself asks for none.
[[nodiscard]] CauseClass cause_of_test(std::string_view test);
[[nodiscard]] Action cure_of(const CheckResult& failed);

// "link (round 2)" for people.
[[nodiscard]] std::string text_of(const CheckStep& step);

}  // namespace holdfast
