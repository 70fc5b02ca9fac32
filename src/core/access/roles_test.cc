#include "core/access/roles.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(Roles, EachKindOfOperation) {
  const OperationNeeds look{AccessRole::kViewer, false};
  const OperationNeeds operate{AccessRole::kOperator, true};
  const OperationNeeds govern{AccessRole::kAdmin, true};
  for (const char* name : {"DescribeCluster", "ListClusterNodes", "SearchTrainingPlanOfferings"})
    EXPECT_EQ(needs_of(name), look) << name;
  for (const char* name :
       {"BatchDeleteClusterNodes", "StartClusterHealthCheck", "UpdateCluster",
        "UpdateClusterSoftware", "UpdateComputeQuota", "MoveClusterNodes", "AddTags"})
    EXPECT_EQ(needs_of(name), operate) << name;
  for (const char* name :
       {"CreateCluster", "DeleteCluster", "DeleteTags", "AttachClusterNodeVolume",
        "DetachClusterNodeVolume", "ExtendTrainingPlan"})
    EXPECT_EQ(needs_of(name), govern) << name;
}

TEST(Roles, WhatIsNoOperation) {
  for (const char* name : {"", "describeCluster", "Nothing", "Start", "Describe Cluster",
                           "DescribeCluster\n", "Describe.Cluster"})
    EXPECT_EQ(needs_of(name), std::nullopt) << name;
  EXPECT_EQ(needs_of("Describe" + std::string(100, 'x')), std::nullopt);
}

}  // namespace
}  // namespace holdfast
