#include "engine/checkpoint/copy_past_cache.h"

#include <gtest/gtest.h>

#include <vector>

namespace holdfast::engine {
namespace {

TEST(CopyPastCache, CopiesWhatItIsGivenAndNothingElse) {
  std::vector<std::byte> from(20'000);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + i / 256);
  constexpr std::byte kOther{0xa5};
  for (const std::size_t bytes : {0ul, 1ul, 63ul, 4095ul, 4096ul, 4097ul, 8191ul, 16'384ul + 65})
    for (const std::size_t at : {0ul, 1ul, 8ul, 63ul, 64ul})
      for (const std::size_t begin : {0ul, 3ul}) {
        std::vector<std::byte> to(from.size(), kOther);
        copy_past_cache(to.data() + at, from.data() + begin, bytes);
        for (std::size_t i = 0; i < to.size(); ++i) {
          const bool is_copied = i >= at && i < at + bytes;
          ASSERT_EQ(to[i], is_copied ? from[begin + i - at] : kOther)
              << i << " of " << bytes << " at " << at;
        }
      }
}

}  // namespace
}  // namespace holdfast::engine
