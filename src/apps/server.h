#pragma once

#include <string>

#include "base/result.h"

namespace holdfast {

// Runs the control planes of a state folder, its own cluster's (DIR/cluster.json) and those of the
// clusters that were made through the API (DIR/clusters/ID/cluster.json), until its own is taken
// down. Returns the exit status. `keeper`: the process that starts it again when it dies, and is
// started again when it dies itself; 0: none.
Result<int> serve(const std::string& state, int keeper);

// Takes down the clusters of a folder whose server does not run: ends what is left of them.
Result<int> end_clusters(const std::string& state);

}  // namespace holdfast
