#pragma once

#include <set>
#include <string>

#include <nlohmann/json.hpp>

namespace holdfast {

// A page that shows what deep checks found: each number of a node among those of its peers, with
// the threshold; the links as a matrix; every test with its reason and log. Self-contained: no
// network, no script. `runs` and `nodes` are lists of the REST API; of each test the newest result
// of a node counts. `only`: the nodes that are named in the pictures and whose tests are listed;
// empty: all that are members.
[[nodiscard]] std::string check_report_page(const nlohmann::json& runs, const nlohmann::json& nodes,
                                            const std::set<std::string>& only);

}  // namespace holdfast
