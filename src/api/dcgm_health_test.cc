#include "api/dcgm_health.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

// Not recorded from a card: written after dcgmi's own source (dcgmi/Health.cpp, DcgmiOutput.h).
constexpr std::string_view kReport = R"({
  "body": {
    "GPU": {"children": {
      "0": {"value": "Warning", "children": {"Errors": {"children": {
        "PCIe system": {"value": "Warning",
                        "overflow": ["Detected more than 8 PCIe replays per minute for GPU 0",
                                     "Reconnect PCIe card."]}}}}},
      "3": {"value": "Failure", "children": {"Errors": {"children": {
        "Memory system": {"value": "Failure", "overflow": ["A DBE has occurred."]},
        "Thermal system": {"value": "Warning", "overflow": ["Throttled."]}}}}}}},
    "NvSwitch": {"children": {"1": {"value": "Failure", "children": {"Errors": {"children": {
        "NVLINK system": {"value": "Failure"}}}}}}},
    "Overall Health": {"value": "Failure"}
  },
  "header": ["Health Monitor Report"]
})";

TEST(DcgmHealth, TellsEachIncidentOfEachEntity) {
  const auto incidents = read_dcgm_health(kReport).value();
  ASSERT_EQ(incidents.size(), 4u);
  EXPECT_EQ(incidents[0].entity, "GPU 0");
  EXPECT_EQ(incidents[0].gpu, 0u);
  EXPECT_EQ(incidents[0].system, "PCIe system");
  EXPECT_FALSE(incidents[0].failure);
  EXPECT_EQ(incidents[0].text,
            "Detected more than 8 PCIe replays per minute for GPU 0 Reconnect PCIe card.");
  EXPECT_EQ(incidents[1].gpu, 3u);
  EXPECT_EQ(incidents[1].system, "Memory system");
  EXPECT_TRUE(incidents[1].failure);
  EXPECT_FALSE(incidents[2].failure);
  EXPECT_EQ(incidents[3].entity, "NvSwitch 1");
  EXPECT_FALSE(incidents[3].gpu);
  EXPECT_TRUE(incidents[3].failure);
}

TEST(DcgmHealth, HealthyIsNotTheSameAsNoReport) {
  for (const std::string_view text :
       {R"({"body": {"Overall Health": {"value": "Healthy"}}})",
        R"({"body": {"GPU": {"children": [1]}}})",
        R"({"body": {"GPU": {"children": {"0": {"children": {"Errors": {"children":
            {"PCIe system": {"value": 7, "overflow": 5}}}}}}}}})"})
    EXPECT_EQ(read_dcgm_health(text).value().size(), 0u) << text;
  for (const std::string_view text :
       {"", "{", "[]", "null", R"({"body": 3})",
        "Error: unable to establish a connection to the specified host: localhost"})
    EXPECT_FALSE(read_dcgm_health(text)) << text;
}

TEST(DcgmHealth, KnowsWhenNothingIsWatched) {
  EXPECT_TRUE(dcgm_watches_nothing("Error: Health watches not enabled. Please enable watches. \n"));
  EXPECT_FALSE(dcgm_watches_nothing(kReport));
}

}  // namespace
}  // namespace holdfast
