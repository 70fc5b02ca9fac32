#pragma once

#include "model/cluster.h"

namespace holdfast {

// Whether an update changes what is only kept and shown (tags, settings), and no group: there is
// nothing to be done on any machine then, so it is no update that anybody waits for.
[[nodiscard]] bool changes_only_words(const ClusterSpec& now, const ClusterSpec& asked);

}  // namespace holdfast
