#include "api/hyperpod/timestamp.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace holdfast::hyperpod {
namespace {

constexpr std::int64_t kMs = 1'000'000;

TEST(Timestamp, ReadsSecondsAndText) {
  EXPECT_EQ(read_timestamp(1'700'000'000), WallTime{1'700'000'000'000 * kMs});
  EXPECT_EQ(read_timestamp(1'700'000'000.123), WallTime{1'700'000'000'123 * kMs});
  EXPECT_EQ(read_timestamp("2023-11-14T22:13:20Z"), WallTime{1'700'000'000'000 * kMs});
  EXPECT_EQ(read_timestamp("2023-11-14T22:13:20.123456789Z"), WallTime{1'700'000'000'123'456'789});
  EXPECT_EQ(read_timestamp("2023-11-15T00:13:20+02:00"), WallTime{1'700'000'000'000 * kMs});
  EXPECT_EQ(read_timestamp("2023-11-14T20:43:20-01:30"), WallTime{1'700'000'000'000 * kMs});
}

TEST(Timestamp, RefusesWhatIsNone) {
  for (const char* text :
       {"", "now", "2023-11-14", "2023-11-14T22:13:20", "2023-02-30T00:00:00Z",
        "2023-11-14T24:00:00Z", "2023-11-14T22:13:20.Z", "2023-11-14T22:13:20Z ", "1700000000",
        "1969-12-31T23:59:59Z", "9999-01-01T00:00:00Z", "-023-11-14T22:13:20Z"})
    EXPECT_FALSE(read_timestamp(text)) << text;
  EXPECT_FALSE(read_timestamp(-1));
  EXPECT_FALSE(read_timestamp(1e300));
  EXPECT_FALSE(read_timestamp(UINT64_MAX));
  EXPECT_FALSE(read_timestamp(true));
  EXPECT_FALSE(read_timestamp(nullptr));
}

TEST(Timestamp, WritesMilliseconds) {
  EXPECT_EQ(write_timestamp(WallTime{1'700'000'000'123'456'789}).dump(), "1700000000.123");
  std::string text = "at ";
  append_timestamp(text, WallTime{1'700'000'000'003'456'789});
  EXPECT_EQ(text, "at 1700000000.003");
}

}  // namespace
}  // namespace holdfast::hyperpod
