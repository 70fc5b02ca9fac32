#include "core/checkpoint/replicas.h"

#include <algorithm>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/prng.h"

namespace holdfast {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Replicas, OfAFewNodes) {
  EXPECT_THAT(place_replicas({}), IsEmpty());
  EXPECT_THAT(place_replicas({"a"}), ElementsAre(0u));
  EXPECT_THAT(place_replicas({"a", "a", "a"}), ElementsAre(1u, 2u, 0u));
  EXPECT_THAT(place_replicas({"a", "b", "a", "b"}), ElementsAre(1u, 0u, 3u, 2u));
}

TEST(Replicas, EachNodeKeepsOneOfAnotherNodeAndDomainWherePossible) {
  Prng prng(7);
  for (int round = 0; round < 2000; ++round) {
    const auto nodes = static_cast<std::size_t>(2 + prng.below(40));
    const std::uint64_t racks = 1 + prng.below(8);
    std::vector<std::string> domains(nodes);
    std::map<std::string, std::size_t> sizes;
    for (std::string& domain : domains) {
      domain = "rack-" + std::to_string(prng.below(racks));
      ++sizes[domain];
    }
    std::size_t largest = 0;
    for (const auto& [domain, size] : sizes) largest = std::max(largest, size);

    const std::vector<std::uint32_t> keeper = place_replicas(domains);
    std::vector<bool> keeps(nodes);
    for (std::size_t i = 0; i < nodes; ++i) {
      EXPECT_NE(keeper[i], i);
      EXPECT_FALSE(keeps.at(keeper[i])) << "two copies on one node";
      keeps[keeper[i]] = true;
      if (largest * 2 > nodes) continue;
      EXPECT_NE(domains[keeper[i]], domains[i]) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace holdfast
