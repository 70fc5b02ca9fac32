#include "io/sigv4_verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/sigv4.h"

namespace holdfast {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr WallTime kNow{1'764'093'600'000'000'000};  // 2025-11-25T18:00:00Z
constexpr const char* kSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
constexpr const char* kBody = R"({"ClusterName":"demo"})";

// As an SDK sends it.
HttpRequest signed_request(WallTime at = kNow, const std::string& region = "us-east-1",
                           const std::string& service = "sagemaker",
                           const std::string& session = "") {
  SigV4Request request{"POST",
                       "/",
                       {},
                       {{"Host", "127.0.0.1:18080"},
                        {"Content-Type", "application/x-amz-json-1.1"},
                        {"X-Amz-Target", "SageMaker.DescribeCluster"}},
                       sha256_hex(kBody)};
  HttpRequest sent{.method = "POST", .path = "/", .body = kBody, .target = "/"};
  for (const auto& [name, value] :
       sign(request, {"AKIAIOSFODNN7EXAMPLE", kSecret, session}, {at, region, service})) {
    std::string key = name;
    for (char& c : key) c = static_cast<char>(std::tolower(c));
    sent.headers[key] = value;
  }
  return sent;
}

// "": it verifies; else the error's type.
std::string verdict(const HttpRequest& request, WallTime now = kNow,
                    std::string_view secret = kSecret) {
  const auto read = read_signature(request);
  if (const auto* error = std::get_if<AwsError>(&read)) return error->type;
  const auto error = check_signature(std::get<SignatureClaim>(read), request, secret, "us-east-1",
                                     "sagemaker", now);
  return error ? error->type : "";
}

std::string message(const HttpRequest& request, WallTime now = kNow) {
  const auto read = read_signature(request);
  if (const auto* error = std::get_if<AwsError>(&read)) return error->message;
  const auto error = check_signature(std::get<SignatureClaim>(read), request, kSecret, "us-east-1",
                                     "sagemaker", now);
  return error ? error->message : "";
}

TEST(SigV4Verify, WhatOurSignerSigns) {
  const HttpRequest request = signed_request();
  EXPECT_EQ(verdict(request), "");
  const auto claim = std::get<SignatureClaim>(read_signature(request));
  EXPECT_EQ(claim.access_key_id, "AKIAIOSFODNN7EXAMPLE");
  EXPECT_EQ(claim.at, kNow);
  EXPECT_EQ(verdict(request, kNow, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEZ"),
            "InvalidSignatureException");
}

// The first case of AWS's signature test suite: GET of "/" for "service", with nothing else signed.
TEST(SigV4Verify, TheSuitesSimplestRequest) {
  HttpRequest request{.method = "GET", .path = "/", .target = "/"};
  request.headers = {
      {"host", "example.amazonaws.com"},
      {"x-amz-date", "20150830T123600Z"},
      {"authorization",
       "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
       "SignedHeaders=host;x-amz-date, "
       "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"}};
  const auto read = read_signature(request);
  ASSERT_TRUE(std::holds_alternative<SignatureClaim>(read));
  const WallTime at{1'440'938'160'000'000'000};
  EXPECT_EQ(
      check_signature(std::get<SignatureClaim>(read), request, kSecret, "us-east-1", "service", at),
      std::nullopt);
}

TEST(SigV4Verify, OneBitAnywhere) {
  const HttpRequest good = signed_request();
  const auto refused = [&](const HttpRequest& changed, const std::string& where) {
    EXPECT_NE(verdict(changed), "") << where;
  };
  for (int bit = 0; bit < 8; ++bit) {
    const auto flipped = [bit](std::string text, std::size_t at) {
      text[at] = static_cast<char>(text[at] ^ (1 << bit));
      return text;
    };
    for (std::size_t i = 0; i < good.body.size(); ++i) {
      HttpRequest bad = good;
      bad.body = flipped(good.body, i);
      refused(bad, "body " + std::to_string(i));
    }
    for (const auto& [name, value] : good.headers) {
      for (std::size_t i = 0; i < value.size(); ++i) {
        HttpRequest bad = good;
        bad.headers[name] = flipped(value, i);
        // The id of another key is another caller's claim, with a secret of its own.
        if (name == "authorization" && i >= 28 && i < 48) continue;
        refused(bad, name + " " + std::to_string(i) + ": " + bad.headers[name]);
      }
    }
    for (std::size_t i = 0; i < good.method.size(); ++i) {
      HttpRequest bad = good;
      bad.method = flipped(good.method, i);
      refused(bad, "method");
    }
  }
  HttpRequest elsewhere = good;
  elsewhere.target = "/?x=1";
  refused(elsewhere, "target");
}

TEST(SigV4Verify, TheWindow) {
  const Duration edge = kSignatureWindow;
  const HttpRequest request = signed_request();
  EXPECT_EQ(verdict(request, WallTime{kNow.ns + edge.ns}), "");
  EXPECT_EQ(verdict(request, WallTime{kNow.ns - edge.ns}), "");
  EXPECT_THAT(message(request, WallTime{kNow.ns + edge.ns + 1'000'000'000}),
              StartsWith("Signature expired: 20251125T180000Z is now earlier than "
                         "20251125T180001Z (20251125T181501Z - 15 min.)"));
  EXPECT_THAT(message(request, WallTime{kNow.ns - edge.ns - 1'000'000'000}),
              StartsWith("Signature not yet current: 20251125T180000Z"));
}

TEST(SigV4Verify, TheScope) {
  EXPECT_THAT(message(signed_request(kNow, "eu-west-1")),
              HasSubstr("'us-east-1', not 'eu-west-1'"));
  EXPECT_THAT(message(signed_request(kNow, "us-east-1", "s3")), HasSubstr("'sagemaker'"));
  HttpRequest other_day = signed_request();
  std::string& text = other_day.headers["authorization"];
  text.replace(text.find("20251125"), 8, "20251124");
  EXPECT_EQ(verdict(other_day), "InvalidSignatureException");
}

TEST(SigV4Verify, WhatIsNotSignedOrNotTaken) {
  HttpRequest bare{.method = "POST", .target = "/"};
  EXPECT_EQ(verdict(bare), "MissingAuthenticationTokenException");
  bare.target = "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00";
  EXPECT_THAT(message(bare), HasSubstr("presigned"));
  EXPECT_EQ(verdict(signed_request(kNow, "us-east-1", "sagemaker", "session")),
            "UnrecognizedClientException");

  HttpRequest more = signed_request();
  more.headers["x-amz-something"] = "1";
  EXPECT_THAT(message(more), HasSubstr("'x-amz-something' must be signed"));
  more = signed_request();
  more.headers["user-agent"] = "aws-cli";
  more.headers["x-amz-user-agent"] = "aws-sdk-js";
  more.headers["x-amzn-trace-id"] = "1";
  EXPECT_EQ(verdict(more), "");
  HttpRequest less = signed_request();
  less.headers.erase("x-amz-target");
  EXPECT_EQ(verdict(less), "IncompleteSignatureException");
}

TEST(SigV4Verify, TheBodyIsAlwaysSigned) {
  SigV4Request request{"POST", "/", {}, {{"host", "a"}}, std::string(kUnsignedPayload)};
  HttpRequest sent{.method = "POST", .body = kBody, .target = "/"};
  sent.headers =
      sign(request, {"AKIAIOSFODNN7EXAMPLE", kSecret, ""}, {kNow, "us-east-1", "sagemaker"});
  EXPECT_EQ(message(sent), "x-amz-content-sha256: the body must be signed");
}

TEST(SigV4Verify, AuthorizationThatIsNone) {
  const std::string credential = "Credential=AKIA/20251125/us-east-1/sagemaker/aws4_request";
  const std::string signature = "Signature=" + std::string(64, '0');
  for (const std::string& text :
       {std::string("Bearer x"), std::string("AWS4-HMAC-SHA256"), "AWS4-HMAC-SHA256 " + credential,
        "AWS4-HMAC-SHA256 " + credential + ", SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 " + credential + ", SignedHeaders=host;host, " + signature,
        "AWS4-HMAC-SHA256 " + credential + ", SignedHeaders=nobody, " + signature,
        "AWS4-HMAC-SHA256 " + credential + ", SignedHeaders=x-amz-date, " + signature,
        "AWS4-HMAC-SHA256 " + credential + ", " + credential + ", " + signature,
        "AWS4-HMAC-SHA256 Credential=AKIA/x, SignedHeaders=host, " + signature}) {
    HttpRequest request{.method = "POST", .target = "/"};
    request.headers = {{"host", "a"}, {"x-amz-date", "20251125T180000Z"}, {"authorization", text}};
    EXPECT_EQ(verdict(request), "IncompleteSignatureException") << text;
  }
}

TEST(SigV4Verify, Dates) {
  EXPECT_EQ(parse_amz_date("20150830T123600Z"), WallTime{1'440'938'160'000'000'000});
  for (const char* text :
       {"20150230T123600Z", "20150830T253600Z", "20150830T12360 Z", "20150830t123600Z",
        "20150830T123600", "99991231T000000Z", "", "19690830T123600Z", "2015-830T123600Z"})
    EXPECT_EQ(parse_amz_date(text), std::nullopt) << text;
}

}  // namespace
}  // namespace holdfast
