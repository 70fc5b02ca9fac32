#include "engine/checkpoint/retention.h"

#include <algorithm>

namespace holdfast::engine {
namespace {

constexpr std::size_t kAlways = 2;

}  // namespace

std::vector<Base> kept(const std::vector<CommitSize>& chain, const Retention& retention) {
  const std::uint64_t last = std::max<std::uint64_t>(kAlways, retention.last);
  std::vector<Base> found;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const std::uint64_t every = retention.every_steps;
    // The one that comes next in the chain is the one before it in time.
    const bool opens_a_span =
        every != 0 &&
        (i + 1 == chain.size() || chain[i + 1].commit.step / every != chain[i].commit.step / every);
    if (i >= last && !opens_a_span) continue;
    bytes += chain[i].bytes;
    if (retention.bytes_max != 0 && bytes > retention.bytes_max && found.size() >= kAlways) break;
    found.push_back(chain[i].commit);
  }
  return found;
}

}  // namespace holdfast::engine
