#include "io/s3_bucket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstring>
#include <filesystem>

#include "io/certificates.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/http_server.h"
#include "io/s3_store_test.h"

namespace holdfast {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::size_t kKiB = 1024;

std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  Prng prng(bytes);
  for (char& c : text) c = static_cast<char>(prng.next());
  return text;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class S3BucketTest : public testing::Test {
 protected:
  S3BucketTest() {
    ::signal(SIGPIPE, SIG_IGN);
    options_.retry = {milliseconds(1), milliseconds(20)};
    options_.part_bytes = options_.read_bytes = 64 * kKiB;
    options_.parallel = 4;
    options_.stall = seconds(1);
    options_.patience = seconds(10);
    open();
  }

  void open() {
    auto bucket = S3Bucket::open("bucket", sources(), options_);
    ASSERT_TRUE(bucket.ok()) << bucket.error().text();
    bucket_ = std::move(*bucket);
  }

  AwsSources sources() {
    return {[this](const std::string& name) -> std::optional<std::string> {
              if (name == "AWS_ENDPOINT_URL") return store_.endpoint();
              if (name == "AWS_ACCESS_KEY_ID") return "AKID";
              if (name == "AWS_SECRET_ACCESS_KEY") return "hunter2";
              if (name == "AWS_SESSION_TOKEN")
                return tokens_[std::min(reads_++, tokens_.size() - 1)];
              return std::nullopt;
            },
            [](const std::string&) { return std::optional<std::string>(); }};
  }

  std::string get(const std::string& key) {
    const auto head = bucket_->head(key);
    EXPECT_TRUE(head.ok()) << head.error().text();
    if (!head.ok() || !head->has_value()) return "";
    std::string text((*head)->bytes, '\0');
    const auto got = bucket_->get(key, **head, 0, std::as_writable_bytes(std::span(text)));
    EXPECT_TRUE(got.ok()) << got.error().text();
    return text;
  }

  std::vector<std::string> tokens_ = {""};
  std::size_t reads_ = 0;
  S3StoreForTest store_;
  S3Options options_;
  std::unique_ptr<S3Bucket> bucket_;
};

TEST_F(S3BucketTest, PutsAndGetsSmallAndLarge) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, 64 * kKiB, 64 * kKiB + 1, 300 * kKiB}) {
    const std::string key = "some folder/k+" + std::to_string(size);
    const std::string content = pattern(size);
    const auto put = bucket_->put(key, bytes_of(content));
    ASSERT_TRUE(put.ok()) << put.error().text();
    EXPECT_TRUE(store_.object(key) == content);
    EXPECT_TRUE(get(key) == content) << key;
  }
  EXPECT_EQ(store_.parts_received(), 2u + 5u);
  EXPECT_EQ(store_.pending_uploads(), 0u);
}

TEST_F(S3BucketTest, ReadsARangeOfAnObject) {
  const std::string content = pattern(200 * kKiB);
  ASSERT_TRUE(bucket_->put("k", bytes_of(content)).ok());
  std::string text(70 * kKiB, '\0');
  const auto head = bucket_->head("k");
  ASSERT_TRUE(bucket_->get("k", **head, 100, std::as_writable_bytes(std::span(text))).ok());
  EXPECT_TRUE(text == content.substr(100, text.size()));
}

TEST_F(S3BucketTest, WhatIsNotThereIsAValueOrSaidSo) {
  EXPECT_FALSE(bucket_->head("nothing")->has_value());
  EXPECT_EQ(bucket_->get_small("nothing", 10).error().code, Errc::kNotFound);
  EXPECT_TRUE(bucket_->remove("nothing").ok());
  ASSERT_TRUE(bucket_->put("k", bytes_of("text")).ok());
  EXPECT_EQ(*bucket_->get_small("k", 10), "text");
  EXPECT_EQ(bucket_->get_small("k", 3).error().code, Errc::kUnparsable);
  EXPECT_TRUE(bucket_->remove("k").ok());
  EXPECT_FALSE(bucket_->head("k")->has_value());
}

TEST_F(S3BucketTest, WhatIsThereIsNotReplacedByPutNew) {
  ASSERT_TRUE(bucket_->put_new("k", bytes_of("first")).ok());
  EXPECT_EQ(bucket_->put_new("k", bytes_of("second")).error().code, Errc::kNameExists);
  EXPECT_EQ(store_.object("k"), "first");
  // A store that does not know the condition.
  store_.misbehave("PUT", "old", Misbehaviour::k501, 1);
  const auto put = bucket_->put_new("old", bytes_of("first"));
  ASSERT_TRUE(put.ok()) << put.error().text();
  EXPECT_EQ(bucket_->put_new("old", bytes_of("second")).error().code, Errc::kNameExists);
  EXPECT_EQ(store_.object("old"), "first");
  EXPECT_EQ(store_.misbehaved(), 1u);
  store_.misbehave("PUT", "", Misbehaviour::k501, 1);
  EXPECT_EQ(bucket_->put("k", bytes_of("x")).error().code, Errc::kStoreRefused);
}

TEST_F(S3BucketTest, ListsAllPages) {
  for (int i = 0; i < 7; ++i)
    ASSERT_TRUE(bucket_->put("a/" + std::to_string(i) + " +%/x", bytes_of("12")).ok());
  store_.set_page_size(2);
  const auto all = bucket_->list("a/", false);
  ASSERT_TRUE(all.ok()) << all.error().text();
  ASSERT_EQ(all->objects.size(), 7u);
  EXPECT_EQ(all->objects[3].key, "a/3 +%/x");
  EXPECT_EQ(all->objects[3].bytes, 2u);
  const auto folded = bucket_->list("a/", true);
  ASSERT_TRUE(folded.ok());
  ASSERT_EQ(folded->folders.size(), 7u);
  EXPECT_EQ(folded->folders[6], "a/6 +%/");
}

TEST_F(S3BucketTest, OnlyTheFailedPartIsSentAgain) {
  const std::string content = pattern(300 * kKiB);
  store_.misbehave("PUT", "partNumber=3", Misbehaviour::k500, 2);
  store_.misbehave("PUT", "partNumber=2", Misbehaviour::k503, 1);
  store_.misbehave("PUT", "partNumber=1", Misbehaviour::kCutOff, 1);
  const auto put = bucket_->put("k", bytes_of(content));
  ASSERT_TRUE(put.ok()) << put.error().text();
  EXPECT_TRUE(store_.object("k") == content);
  EXPECT_EQ(store_.parts_received(), 5u);
}

TEST_F(S3BucketTest, EveryStepSurvivesEveryMisbehaviour) {
  const std::string content = pattern(300 * kKiB);
  const std::pair<const char*, const char*> steps[] = {
      {"POST", "uploads"}, {"PUT", "partNumber=2"}, {"POST", "uploadId"},
      {"HEAD", ""},        {"GET", "bytes=65536-"}, {"GET", "list-type"}};
  for (const auto& [method, part] : steps)
    for (const Misbehaviour how :
         {Misbehaviour::k500, Misbehaviour::k503, Misbehaviour::k429, Misbehaviour::kCutOff,
          Misbehaviour::kDoneThenCutOff, Misbehaviour::kWrongLength}) {
      const std::string key = "k" + std::to_string(static_cast<int>(how)) + method;
      store_.misbehave(method, part, how, 2);
      const auto put = bucket_->put(key, bytes_of(content));
      ASSERT_TRUE(put.ok()) << put.error().text();
      EXPECT_TRUE(get(key) == content) << method << " " << part;
      EXPECT_TRUE(bucket_->list("k", false).ok());
      EXPECT_GT(store_.misbehaved(), 0u) << method << " " << part;
      store_.behave();
    }
}

TEST_F(S3BucketTest, SlowIsCutAndTriedAgain) {
  ASSERT_TRUE(bucket_->put("k", bytes_of(pattern(1000))).ok());
  store_.misbehave("GET", "", Misbehaviour::kSlow, 1);
  EXPECT_TRUE(get("k") == pattern(1000));
}

TEST_F(S3BucketTest, ACutOffRangeGoesOnWhereItWas) {
  const std::string content = pattern(64 * kKiB);
  ASSERT_TRUE(bucket_->put("k", bytes_of(content)).ok());
  store_.misbehave("GET", "", Misbehaviour::kHalf, 1);
  EXPECT_TRUE(get("k") == content);
  EXPECT_EQ(store_.last_range(), "bytes=32768-65535");
}

TEST_F(S3BucketTest, OtherBytesThanWereSentAreNoticed) {
  store_.misbehave("PUT", "", Misbehaviour::kFlipsABit, 1);
  const std::string content = pattern(1000);
  ASSERT_TRUE(bucket_->put("k", bytes_of(content)).ok());
  EXPECT_TRUE(store_.object("k") == content);
  EXPECT_EQ(store_.misbehaved(), 1u);
  store_.misbehave("GET", "", Misbehaviour::kFlipsABit, 1);
  EXPECT_TRUE(*bucket_->get_small("k", 1000) == content);
  EXPECT_EQ(store_.misbehaved(), 2u);

  options_.patience = milliseconds(200);
  open();
  store_.misbehave("PUT", "partNumber=2", Misbehaviour::kFlipsABit, 1000);
  const auto put = bucket_->put("large", bytes_of(pattern(300 * kKiB)));
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(put.error().code, Errc::kStoreUnavailable);
  EXPECT_THAT(put.error().detail, HasSubstr("other bytes than were sent"));
  EXPECT_EQ(store_.object("large"), "");
  EXPECT_EQ(store_.pending_uploads(), 0u);
}

TEST_F(S3BucketTest, AnotherVersionIsNotMixedIn) {
  ASSERT_TRUE(bucket_->put("k", bytes_of(pattern(1000))).ok());
  const auto head = bucket_->head("k");
  ASSERT_TRUE(bucket_->put("k", bytes_of(std::string(1000, 'x'))).ok());
  std::string text(1000, '\0');
  const auto got = bucket_->get("k", **head, 0, std::as_writable_bytes(std::span(text)));
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, Errc::kWrongState);
  ASSERT_TRUE(bucket_->remove("k").ok());
  EXPECT_EQ(bucket_->get("k", **head, 0, std::as_writable_bytes(std::span(text))).error().code,
            Errc::kNotFound);
}

TEST_F(S3BucketTest, TheDeadlineEndsIt) {
  options_.patience = milliseconds(300);
  open();
  store_.misbehave("PUT", "", Misbehaviour::k503, 1'000'000);
  const auto put = bucket_->put("k", bytes_of("x"));
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(put.error().code, Errc::kStoreUnavailable);
  EXPECT_THAT(put.error().detail, HasSubstr("PUT s3://bucket/k: 503 SlowDown"));
  EXPECT_THAT(put.error().detail, HasSubstr("tries"));
  EXPECT_GT(store_.misbehaved(), 3u);
}

TEST_F(S3BucketTest, ExpiredCredentialsAreReadAgainOnce) {
  reads_ = 0;
  tokens_ = {"old", "new"};
  open();
  store_.expire_token("old");
  EXPECT_TRUE(bucket_->put("k", bytes_of("x")).ok());

  reads_ = 0;
  tokens_ = {"old"};
  open();
  const auto put = bucket_->put("k", bytes_of("x"));
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(put.error().code, Errc::kStoreRefused);
  EXPECT_THAT(put.error().detail, HasSubstr("have expired"));
  EXPECT_THAT(put.error().detail, HasSubstr("AWS_ACCESS_KEY_ID in the environment"));
  EXPECT_THAT(put.error().detail, Not(HasSubstr("hunter2")));
}

TEST_F(S3BucketTest, RefusalsAreNotTriedAgain) {
  store_.misbehave("PUT", "", Misbehaviour::k403, 5);
  const auto put = bucket_->put("k", bytes_of("x"));
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(put.error().code, Errc::kStoreRefused);
  EXPECT_THAT(put.error().detail, HasSubstr("403 AccessDenied"));
  EXPECT_EQ(store_.misbehaved(), 1u);
}

TEST_F(S3BucketTest, NobodyThere) {
  options_.patience = milliseconds(100);
  store_.stop();
  open();
  const auto put = bucket_->put("k", bytes_of("x"));
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(put.error().code, Errc::kStoreUnavailable);
}

TEST_F(S3BucketTest, OldUploadsAreAborted) {
  auto left = bucket_->begin_upload("a/k", 2);
  ASSERT_TRUE(left.ok());
  ASSERT_TRUE((*left)->put(0, bytes_of("x")).ok());
  auto other = bucket_->begin_upload("b/k", 1);
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(store_.pending_uploads(), 2u);
  EXPECT_EQ(*bucket_->abort_uploads("a/", WallTime{0}), 0u);
  EXPECT_EQ(*bucket_->abort_uploads("a/", S3StoreForTest::kInitiated), 0u);
  EXPECT_EQ(*bucket_->abort_uploads("a/", WallTime{S3StoreForTest::kInitiated.ns + 1}), 1u);
  EXPECT_EQ(store_.pending_uploads(), 1u);
  // Somebody else ended it: the part is refused.
  EXPECT_EQ((*left)->put(1, bytes_of("y")).error().code, Errc::kStoreUnavailable);
}

// A server of a CA that the system does not know.
TEST(S3Tls, TheServersCertificateIsChecked) {
  std::string folder = testing::TempDir() + "holdfast_XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  auto ca = ClusterCa::create(folder, "cluster", wall_now());
  ASSERT_TRUE(ca.ok()) << ca.error().text();
  const auto issued = ca->issue("server", Role::kServer, {}, minutes(10), wall_now());
  ASSERT_TRUE(issued.ok()) << issued.error().text();
  const TlsFiles tls{folder + "/ca.crt", folder + "/server.crt", folder + "/server.key"};
  ASSERT_TRUE(write_file_atomic(tls.certificate, issued->certificate_pem, 0600).ok());
  ASSERT_TRUE(write_file_atomic(tls.key, issued->key_pem, 0600).ok());
  const auto server = HttpServer::start({"127.0.0.1", 0, tls}, [](const HttpRequest&) {
    return HttpResponse{404, ""};
  });
  ASSERT_TRUE(server.ok()) << server.error().text();
  const auto head_with = [&](const std::string& bundle, Duration patience) {
    S3Options options;
    options.patience = patience;
    const auto bucket =
        S3Bucket::open("bucket",
                       {[&](const std::string& name) -> std::optional<std::string> {
                          if (name == "AWS_ENDPOINT_URL")
                            return "https://127.0.0.1:" + std::to_string((*server)->port());
                          if (name == "AWS_ACCESS_KEY_ID" || name == "AWS_SECRET_ACCESS_KEY")
                            return "x";
                          if (name == "AWS_CA_BUNDLE") return bundle;
                          return std::nullopt;
                        },
                        [](const std::string&) { return std::optional<std::string>(); }},
                       options);
    return (*bucket)->head("k").error();
  };
  const Error stranger = head_with("", seconds(60));
  EXPECT_EQ(stranger.code, Errc::kStoreRefused);
  EXPECT_THAT(stranger.detail, HasSubstr("AWS_CA_BUNDLE"));
  // It is trusted now, and it is the server that does not want us: we show no certificate.
  EXPECT_THAT(head_with(tls.ca, milliseconds(500)).detail, Not(HasSubstr("cannot trust")));
  std::filesystem::remove_all(folder);
}

TEST(S3Parts, NeverMoreThanTheStoreTakes) {
  constexpr std::uint64_t mib = std::uint64_t{1} << 20;
  EXPECT_EQ(s3_part_bytes(100, 16 * mib), 16 * mib);
  EXPECT_EQ(s3_part_bytes(160'000 * mib, 16 * mib), 16 * mib);
  EXPECT_EQ(s3_part_bytes(160'000 * mib + 1, 16 * mib), 17 * mib);
}

}  // namespace
}  // namespace holdfast
