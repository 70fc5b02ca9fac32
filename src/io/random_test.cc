#include "io/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(Random, HexIsTwoDigitsPerByteAndDiffers) {
  EXPECT_EQ(random_hex(0), "");
  EXPECT_THAT(random_hex(1000), testing::MatchesRegex("[0-9a-f]+"));
  EXPECT_EQ(random_hex(1000).size(), 2000u);
  EXPECT_NE(random_hex(16), random_hex(16));
}

TEST(Random, UuidIsOfVersion4) {
  for (int i = 0; i < 100; ++i) {
    const std::string uuid = new_uuid();
    ASSERT_EQ(uuid.size(), 36u);
    ASSERT_THAT(uuid,
                testing::MatchesRegex("[0-9a-f]+-[0-9a-f]+-4[0-9a-f]+-[89ab][0-9a-f]+-[0-9a-f]+"));
  }
}

}  // namespace
}  // namespace holdfast
