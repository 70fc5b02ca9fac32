#include "core/checks/blame.h"

#include <algorithm>
#include <cstdint>

namespace holdfast {
namespace {

struct Tally {
  std::uint64_t bad = 0;
  std::uint64_t all = 0;

  [[nodiscard]] bool is_guilty() const { return bad >= 2 && bad * 2 > all; }
  // A larger share of bad links; of equal shares, more of them.
  [[nodiscard]] bool is_worse_than(const Tally& other) const {
    const std::uint64_t mine = bad * other.all;
    const std::uint64_t its = other.bad * all;
    return mine != its ? mine > its : bad > other.bad;
  }
};

}  // namespace

Blame blame(std::size_t nodes, const std::vector<MeasuredLink>& links) {
  std::vector<bool> blamed(nodes);
  const auto is_open = [&](const MeasuredLink& link) { return !blamed[link.a] && !blamed[link.b]; };
  for (;;) {
    std::vector<Tally> tallies(nodes);
    for (const MeasuredLink& link : links) {
      if (!is_open(link)) continue;
      for (const std::size_t end : {link.a, link.b}) {
        ++tallies[end].all;
        if (link.is_bad) ++tallies[end].bad;
      }
    }
    std::size_t worst = nodes;
    for (std::size_t i = 0; i < nodes; ++i)
      if (tallies[i].is_guilty() && (worst == nodes || tallies[i].is_worse_than(tallies[worst])))
        worst = i;
    if (worst == nodes) break;
    blamed[worst] = true;
  }
  Blame found;
  for (std::size_t i = 0; i < nodes; ++i)
    if (blamed[i]) found.nodes.push_back(i);
  for (const MeasuredLink& link : links)
    if (link.is_bad && is_open(link))
      found.links.emplace_back(std::min(link.a, link.b), std::max(link.a, link.b));
  std::sort(found.links.begin(), found.links.end());
  found.links.erase(std::unique(found.links.begin(), found.links.end()), found.links.end());
  return found;
}

}  // namespace holdfast
