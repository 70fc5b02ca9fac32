#pragma once

// What programs that check a node print, as results. Every text is from outside: any bytes give
// results, at worst a failed one that says what could not be understood.

#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "model/check.h"

namespace holdfast {

// How the program ended, and the end of its output.
struct CheckOutput {
  int code = 0;    // meaningless when signal != 0
  int signal = 0;  // 0: it exited by itself
  bool timed_out = false;
  bool flooded = false;
  std::string text;
  Duration took;
};

inline constexpr std::size_t kCheckResultsMax = 64;
inline constexpr std::size_t kCheckLogMax = 4096;

// Any program that is a check. Its verdict is, first of these that there is:
//
//   HEALTH_CHECK_RESULT:<host>:<Passed|Failed|Skipped>:<none|reboot|replace>:<reason>
//       the last such line, as in HyperPod's health checks
//   {"verdict": "Failed", "action": "replace", "reason": "...", "value": 12.5, "unit": "GB/s"}
//       one JSON object on the last line, each field optional; also "test" (a name of its own),
//       "less_is_better", and "results": a list of such objects in place of one
//   its exit status: 0 passed
//
// A status that is not 0, a signal, too long a time and too much output fail whatever it said. A
// word that is not known, and a value that is no number of a measurement, fail too.
// `name` is the program's. Never empty; each result has the end of the output as its log.
[[nodiscard]] std::vector<CheckResult> read_check_output(const std::string& name,
                                                         const CheckOutput& output);

// fio --output-format=json, of one job that writes and then verifies: disk_write and disk_read.
[[nodiscard]] std::vector<CheckResult> read_fio_output(const CheckOutput& output);

// dcgmi diag --json: one result for each test that failed, and one for all of them.
[[nodiscard]] std::vector<CheckResult> read_dcgmi_output(const CheckOutput& output);

// NVIDIA's nccl-tests, one of the *_perf programs: nccl_bandwidth, and whether values were wrong.
[[nodiscard]] std::vector<CheckResult> read_nccl_output(const CheckOutput& output);

}  // namespace holdfast
