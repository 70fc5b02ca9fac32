#include "api/hyperpod/api_error.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "api/hyperpod/service_model.h"

namespace holdfast::hyperpod {
namespace {

using nlohmann::json;

TEST(ApiError, IsSpeltAsTheSdksLookForIt) {
  const HttpResponse missing =
      render_error({ErrorType::kResourceNotFound, "Could not find cluster 'x'."});
  EXPECT_EQ(missing.status, 400);
  EXPECT_EQ(json::parse(missing.body),
            json({{"__type", "ResourceNotFound"}, {"Message", "Could not find cluster 'x'."}}));
  EXPECT_EQ(json::parse(render_error({ErrorType::kValidation, "\xff"}).body),
            json({{"__type", "ValidationException"}, {"message", "\xEF\xBF\xBD"}}));
  EXPECT_EQ(render_error({ErrorType::kInternalFailure, ""}).status, 500);
  EXPECT_EQ(render_error({ErrorType::kServiceUnavailable, ""}).status, 503);
}

TEST(ApiError, KnowsEachErrorOfTheModel) {
  for (const Operation& operation : operations())
    for (const std::string_view error : operation.errors)
      EXPECT_TRUE(parse_word<ErrorType>(error)) << error;
}

TEST(ApiError, IsOneThatTheOperationHas) {
  const HttpResponse conflict = render_error({ErrorType::kConflict, "not now"});
  EXPECT_EQ(as_modelled(*find_operation("DeleteCluster"), conflict).body, conflict.body);
  const HttpResponse told = as_modelled(*find_operation("BatchDeleteClusterNodes"), conflict);
  EXPECT_EQ(json::parse(told.body),
            json({{"__type", "ValidationException"}, {"message", "not now"}}));
  for (const ErrorType type : {ErrorType::kThrottling, ErrorType::kInternalFailure}) {
    const HttpResponse other = render_error({type, "x"});
    EXPECT_EQ(as_modelled(*find_operation("DeleteCluster"), other).body, other.body);
  }
}

TEST(ApiError, TellsWhatTheControlPlaneRefused) {
  const ApiError error = api_error_of({Errc::kWrongState, "the cluster is being deleted"});
  EXPECT_EQ(error.type, ErrorType::kConflict);
  EXPECT_EQ(error.message, "HF1005: the cluster is being deleted");
}

}  // namespace
}  // namespace holdfast::hyperpod
