#pragma once

// Deep checks as text. Reads what the control plane answers, of any age.

#include <set>
#include <string>

#include <nlohmann/json.hpp>

#include "apps/terminal.h"
#include "model/check.h"

namespace holdfast {

// As the REST API has it.
[[nodiscard]] nlohmann::json check_result_json(const CheckResult& result);

// A line for each result: test, node, verdict, number, threshold, reason.
[[nodiscard]] std::string check_result_table(const nlohmann::json& results, const Paint& paint);

// "12.5 GB/s"; "-" where there is no number.
[[nodiscard]] std::string check_number(std::int64_t thousandths, const std::string& unit);

// One whole run. `only`: nodes whose results are shown; empty: all.
[[nodiscard]] std::string check_page(const nlohmann::json& run, const std::set<std::string>& only,
                                     const Paint& paint);

// "c1 [#####.....] step 3 of 9, memory: n2, n3".
[[nodiscard]] std::string check_progress_line(const nlohmann::json& run);

}  // namespace holdfast
