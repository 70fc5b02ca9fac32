#include "core/cluster/spec_change.h"

#include "model/codec.h"

namespace holdfast {

bool changes_only_words(const ClusterSpec& now, const ClusterSpec& asked) {
  if (asked.specification == now.specification) return false;
  ClusterSpec same = asked;
  same.specification = now.specification;
  return encode(same) == encode(now);
}

}  // namespace holdfast
