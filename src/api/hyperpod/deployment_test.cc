#include "api/hyperpod/deployment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/event.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(HyperPodDeployment, IsReadAndShown) {
  const json asked = {{"WaitIntervalInSeconds", 300},
                      {"RollingUpdatePolicy",
                       {{"MaximumBatchSize", {{"Type", "CAPACITY_PERCENTAGE"}, {"Value", 10}}},
                        {"RollbackMaximumBatchSize", {{"Type", "INSTANCE_COUNT"}, {"Value", 3}}}}},
                      {"AutoRollbackConfiguration",
                       {{{"AlarmName", "job.failed"}}, {{"AlarmName", "node.fault"}}}}};
  const auto read = std::get<Deployment>(read_deployment(asked));
  EXPECT_EQ(read.batch, BatchSize{.percent = 10});
  EXPECT_EQ(read.rollback_batch, BatchSize{.nodes = 3});
  EXPECT_EQ(read.wait, seconds(300));
  EXPECT_THAT(read.alarms, ElementsAre("job.failed", "node.fault"));
  EXPECT_EQ(show_deployment(read), asked);
}

TEST(HyperPodDeployment, OfNothingIsAsUsual) {
  EXPECT_EQ(std::get<Deployment>(read_deployment(json::object())), Deployment{});
  EXPECT_EQ(show_deployment({}), json({{"WaitIntervalInSeconds", 0}}));
}

TEST(HyperPodDeployment, RefusesAnAlarmThatIsNoAlertWithTheirList) {
  const auto read =
      read_deployment({{"AutoRollbackConfiguration", {{{"AlarmName", "node.lost"}}}}});
  const auto& error = std::get<ApiError>(read);
  EXPECT_EQ(error.type, ErrorType::kValidation);
  EXPECT_THAT(error.message, HasSubstr("there is no alarm 'node.lost'"));
  for (const std::string_view kind : effect::kAlertKinds)
    EXPECT_THAT(error.message, HasSubstr(std::string(kind)));
}

TEST(HyperPodDeployment, RefusesMoreThanAll) {
  const auto read = read_deployment(
      {{"RollingUpdatePolicy",
        {{"RollbackMaximumBatchSize", {{"Type", "CAPACITY_PERCENTAGE"}, {"Value", 101}}}}}});
  EXPECT_THAT(std::get<ApiError>(read).message,
              HasSubstr("RollbackMaximumBatchSize.Value 101 is not allowed"));
}

}  // namespace
}  // namespace holdfast::hyperpod
