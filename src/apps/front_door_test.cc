#include "apps/front_door.h"

#include <signal.h>
#include <sys/resource.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <future>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/scratch_folder_test.h"
#include "io/sigv4.h"

namespace holdfast {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr WallTime kNow{1'764'093'600'000'000'000};

class FrontDoorTest : public ScratchFolder {
 protected:
  FrontDoorTest()
      : keys_(AccessKeys::open(folder()).value()), log_(AuditLog::open(path("audit.log")).value()) {
    for (const AccessRole role : {AccessRole::kViewer, AccessRole::kOperator, AccessRole::kAdmin})
      made_.push_back(*keys_->create(role, kNow));
    open({});
  }

  void open(FrontDoorLimits limits) {
    seen_ = SeenFile::open(path("seen_requests"), kNow).value();
    door_ = std::make_unique<FrontDoor>(
        *keys_, *log_, *seen_, "us-east-1",
        [this](const Caller& caller, std::string_view operation, const std::string& body) {
          return handler_(caller, operation, body);
        },
        limits);
  }

  [[nodiscard]] const NewAccessKey& key(AccessRole role) const {
    return made_[static_cast<std::size_t>(role)];
  }

  [[nodiscard]] HttpRequest request(const NewAccessKey& key, const std::string& operation,
                                    const std::string& body = "{}", WallTime at = kNow) const {
    SigV4Request unsigned_request{"POST",
                                  "/",
                                  {},
                                  {{"host", "127.0.0.1"},
                                   {"content-type", "application/x-amz-json-1.1"},
                                   {"x-amz-target", "SageMaker." + operation}},
                                  sha256_hex(body)};
    HttpRequest sent{.method = "POST", .path = "/", .body = body, .target = "/"};
    sent.headers =
        sign(unsigned_request, {key.key.id, key.secret, ""}, {at, "us-east-1", "sagemaker"});
    sent.address = "127.0.0.1";
    sent.id = "request-1";
    return sent;
  }

  HttpResponse call(AccessRole role, const std::string& operation, const std::string& body = "{}",
                    WallTime at = kNow) {
    return door_->answer(request(key(role), operation, body, at), kNow, at_);
  }
  static std::string type_of(const HttpResponse& response) {
    return response.status == 200 ? "" : json::parse(response.body).at("__type");
  }
  [[nodiscard]] std::vector<json> audited() const {
    std::vector<json> lines;
    std::ifstream file(path("audit.log"));
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
    return lines;
  }

  std::unique_ptr<AccessKeys> keys_;
  std::unique_ptr<AuditLog> log_;
  std::unique_ptr<SeenFile> seen_;
  std::vector<NewAccessKey> made_;
  int carried_out_ = 0;
  FrontDoor::Handler handler_ = [this](const Caller& caller, std::string_view operation,
                                       const std::string& body) {
    ++carried_out_;
    return HttpResponse{200, json{{"key", caller.key_id},
                                  {"operation", operation},
                                  {"body", body},
                                  {"count", carried_out_}}
                                 .dump()};
  };
  Instant at_{seconds(1).ns};
  std::unique_ptr<FrontDoor> door_;
};

TEST_F(FrontDoorTest, WhoMayDoWhat) {
  const auto may = [&](AccessRole role, const char* operation) {
    const HttpResponse response = call(role, operation);
    EXPECT_EQ(type_of(response), response.status == 200 ? "" : "AccessDeniedException");
    return response.status == 200;
  };
  EXPECT_TRUE(may(AccessRole::kViewer, "ListClusters"));
  EXPECT_FALSE(may(AccessRole::kViewer, "BatchRebootClusterNodes"));
  EXPECT_FALSE(may(AccessRole::kViewer, "CreateCluster"));
  EXPECT_TRUE(may(AccessRole::kOperator, "DescribeCluster"));
  EXPECT_TRUE(may(AccessRole::kOperator, "BatchRebootClusterNodes"));
  EXPECT_FALSE(may(AccessRole::kOperator, "DeleteCluster"));
  EXPECT_TRUE(may(AccessRole::kAdmin, "DeleteCluster"));
  const json answer = json::parse(call(AccessRole::kAdmin, "ListClusters", "{\"a\":1}").body);
  EXPECT_EQ(answer["key"], key(AccessRole::kAdmin).key.id);
  EXPECT_EQ(answer["operation"], "ListClusters");
  EXPECT_EQ(answer["body"], "{\"a\":1}");
}

TEST_F(FrontDoorTest, WhoIsNotLetIn) {
  HttpRequest forged = request(key(AccessRole::kAdmin), "DeleteCluster");
  forged.body = "{ }";
  EXPECT_EQ(type_of(door_->answer(forged, kNow, at_)), "InvalidSignatureException");
  NewAccessKey stranger = key(AccessRole::kAdmin);
  stranger.key.id = "AKIA0000000000000000";
  EXPECT_EQ(type_of(door_->answer(request(stranger, "ListClusters"), kNow, at_)),
            "UnrecognizedClientException");
  EXPECT_EQ(type_of(call(AccessRole::kAdmin, "Nothing")), "UnknownOperationException");
  HttpRequest get = request(key(AccessRole::kAdmin), "ListClusters");
  get.method = "GET";
  EXPECT_EQ(type_of(door_->answer(get, kNow, at_)), "UnknownOperationException");
  EXPECT_EQ(type_of(door_->answer({.method = "POST", .path = "/", .target = "/"}, kNow, at_)),
            "UnknownOperationException");
  ASSERT_TRUE(keys_->disable(key(AccessRole::kViewer).key.id).ok());
  EXPECT_EQ(type_of(call(AccessRole::kViewer, "ListClusters")), "UnrecognizedClientException");
  ASSERT_TRUE(keys_->remove(key(AccessRole::kOperator).key.id).ok());
  EXPECT_EQ(type_of(call(AccessRole::kOperator, "ListClusters")), "UnrecognizedClientException");
  EXPECT_EQ(carried_out_, 0);
}

TEST_F(FrontDoorTest, AChangeIsCarriedOutOncePerSignature) {
  HttpRequest change = request(key(AccessRole::kAdmin), "CreateCluster");
  change.headers["amz-sdk-invocation-id"] = "call-1";
  const HttpResponse first = door_->answer(change, kNow, at_);
  const HttpResponse again = door_->answer(change, kNow, at_);
  EXPECT_EQ(carried_out_, 1);
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(again.body, first.body);
  // Who says just the same within the same second is told to come again.
  change.headers["amz-sdk-invocation-id"] = "call-2";
  EXPECT_EQ(type_of(door_->answer(change, kNow, at_)), "ThrottlingException");
  change.headers.erase("amz-sdk-invocation-id");
  EXPECT_EQ(type_of(door_->answer(change, kNow, at_)), "ThrottlingException");
  EXPECT_EQ(carried_out_, 1);
  // Signed anew, it is another request.
  const WallTime later{kNow.ns + 1'000'000'000};
  EXPECT_EQ(call(AccessRole::kAdmin, "CreateCluster", "{}", later).status, 200);
  EXPECT_EQ(carried_out_, 2);
  // Looking is free.
  (void)call(AccessRole::kAdmin, "ListClusters");
  (void)call(AccessRole::kAdmin, "ListClusters");
  EXPECT_EQ(carried_out_, 4);
  std::vector<bool> repeated;
  for (const json& line : audited()) repeated.push_back(line.contains("repeated"));
  EXPECT_EQ(repeated, std::vector({false, true, true, true, false}));
}

TEST_F(FrontDoorTest, AChangeIsCarriedOutOnceAcrossARestart) {
  const HttpRequest change = request(key(AccessRole::kAdmin), "CreateCluster");
  EXPECT_EQ(door_->answer(change, kNow, at_).status, 200);
  door_.reset();
  open({});
  EXPECT_EQ(type_of(door_->answer(change, kNow, at_)), "InvalidSignatureException");
  EXPECT_EQ(carried_out_, 1);
  const WallTime later{kNow.ns + 1'000'000'000};
  EXPECT_EQ(call(AccessRole::kAdmin, "CreateCluster", "{}", later).status, 200);
}

TEST_F(FrontDoorTest, WhatCannotBeRecordedIsNotCarriedOut) {
  struct rlimit none {
  }, before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  none.rlim_max = before.rlim_max;
  ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  const HttpResponse refused = call(AccessRole::kAdmin, "CreateCluster");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(carried_out_, 0);
}

TEST_F(FrontDoorTest, TheSameChangeTwiceAtOnce) {
  std::promise<void> taken, go;
  handler_ = [&](const Caller&, std::string_view, const std::string&) {
    ++carried_out_;
    taken.set_value();
    go.get_future().wait();
    return HttpResponse{200, "{}"};
  };
  HttpRequest change = request(key(AccessRole::kAdmin), "DeleteCluster");
  change.headers["amz-sdk-invocation-id"] = "call-1";
  auto first =
      std::async(std::launch::async, [&] { return door_->answer(change, kNow, at_).status; });
  taken.get_future().wait();
  EXPECT_EQ(type_of(door_->answer(change, kNow, at_)), "ThrottlingException");
  go.set_value();
  EXPECT_EQ(first.get(), 200);
  EXPECT_EQ(door_->answer(change, kNow, at_).status, 200);
  EXPECT_EQ(carried_out_, 1);
}

TEST_F(FrontDoorTest, LimitsOfAKeyAndOfAll) {
  open({.all_per_second = 100,
        .all_burst = 6,
        .key_per_second = 100,
        .key_burst = 4,
        .changes_per_second = 1,
        .changes_burst = 1});
  EXPECT_EQ(type_of(call(AccessRole::kAdmin, "UpdateCluster", "{\"a\":1}")), "");
  const HttpResponse refused = call(AccessRole::kAdmin, "UpdateCluster", "{\"a\":2}");
  EXPECT_EQ(type_of(refused), "ThrottlingException");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(type_of(call(AccessRole::kAdmin, "ListClusters")), "");
  EXPECT_EQ(type_of(call(AccessRole::kAdmin, "ListClusters")), "");
  EXPECT_EQ(type_of(call(AccessRole::kAdmin, "ListClusters")), "ThrottlingException");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(type_of(call(AccessRole::kViewer, "ListClusters")), "");
  EXPECT_THAT(call(AccessRole::kViewer, "ListClusters").body, HasSubstr("all keys"));
  at_ = at_ + seconds(1);
  EXPECT_EQ(type_of(call(AccessRole::kAdmin, "UpdateCluster", "{\"a\":3}")), "");
}

TEST_F(FrontDoorTest, TheAuditLog) {
  const std::string& secret = key(AccessRole::kOperator).secret;
  (void)call(AccessRole::kOperator, "BatchRebootClusterNodes",
             json{{"ClusterName", "demo"}, {"NodeIds", {"i-1"}}, {"Password", secret}}.dump());
  (void)call(AccessRole::kOperator, "DeleteCluster", R"({"ClusterName":"demo"})");
  (void)call(AccessRole::kOperator, "ListClusters");
  HttpRequest forged = request(key(AccessRole::kAdmin), "DeleteCluster");
  forged.body = R"({"ClusterName":"x"})";
  (void)door_->answer(forged, kNow, at_);
  const auto lines = audited();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], json({{"time", "2025-11-25T18:00:00.000Z"},
                            {"request_id", "request-1"},
                            {"key_id", key(AccessRole::kOperator).key.id},
                            {"role", "operator"},
                            {"operation", "BatchRebootClusterNodes"},
                            {"cluster", "demo"},
                            {"outcome", "ok"},
                            {"status", 200},
                            {"address", "127.0.0.1"}}));
  EXPECT_EQ(lines[1]["outcome"], "AccessDeniedException");
  EXPECT_EQ(lines[2]["outcome"], "InvalidSignatureException");
  EXPECT_EQ(lines[2]["role"], "");
  EXPECT_EQ(lines[2]["cluster"], "");
  for (const json& line : lines) EXPECT_THAT(line.dump(), Not(HasSubstr(secret)));
}

TEST_F(FrontDoorTest, RefusedCallsCannotFloodTheAuditLog) {
  open({.refused_lines_per_second = 1, .refused_lines_burst = 3});
  for (int i = 0; i < 10; ++i) {
    (void)door_->answer({.method = "POST", .path = "/", .target = "/"}, kNow, at_);
    (void)call(AccessRole::kViewer, "DeleteCluster");
  }
  EXPECT_EQ(audited().size(), 6u);
}

TEST_F(FrontDoorTest, AHandlerThatThrows) {
  handler_ = [](const Caller&, std::string_view, const std::string&) -> HttpResponse {
    throw std::runtime_error("inside");
  };
  const HttpResponse response = call(AccessRole::kAdmin, "DeleteCluster");
  EXPECT_EQ(response.status, 500);
  EXPECT_EQ(type_of(response), "InternalFailure");
  EXPECT_THAT(response.body, Not(HasSubstr("inside")));
}

}  // namespace
}  // namespace holdfast
