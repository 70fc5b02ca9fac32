#include "io/sigv4.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

// AWS's published examples: the signature test suite (2015-08-30T12:36:00Z, "service") and those of
// the S3 documentation (2013-05-24).
constexpr WallTime kSuiteTime{1'440'938'160'000'000'000};
constexpr WallTime kS3Time{1'369'353'600'000'000'000};
constexpr const char* kSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
constexpr const char* kS3Secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

SigV4Request suite(std::string method, std::string path = "/") {
  return {std::move(method),
          std::move(path),
          {},
          {{"Host", "example.amazonaws.com"}, {"X-Amz-Date", "20150830T123600Z"}},
          std::string(kEmptySha256)};
}

std::string suite_signature(const SigV4Request& request) {
  const SigningScope scope{kSuiteTime, "us-east-1", "service"};
  return sigv4_signature(kSecret, scope, string_to_sign(scope, canonical_request(request)));
}

std::string s3_signature(SigV4Request request) {
  request.headers["host"] = "examplebucket.s3.amazonaws.com";
  const auto headers = sign(std::move(request), {"AKIAIOSFODNN7EXAMPLE", kS3Secret, ""},
                            {kS3Time, "us-east-1", "s3"});
  const std::string& text = headers.at("authorization");
  return text.substr(text.find("Signature=") + 10);
}

TEST(SigV4, EachStepOfTheSimplestRequest) {
  const SigV4Request request = suite("GET");
  const SigningScope scope{kSuiteTime, "us-east-1", "service"};
  const std::string canonical = canonical_request(request);
  EXPECT_EQ(canonical,
            "GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\n"
            "host;x-amz-date\n"
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(string_to_sign(scope, canonical),
            "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/service/aws4_request\n"
            "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63");
  EXPECT_EQ(suite_signature(request),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  EXPECT_EQ(suite_signature(suite("POST")),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

TEST(SigV4, QueriesAreSorted) {
  SigV4Request request = suite("GET");
  request.query = {{"Param2", "value2"}, {"Param1", "value1"}};
  EXPECT_EQ(suite_signature(request),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
  EXPECT_EQ(canonical_query({{"Param-3", "V 3"}, {"Param", "V2"}, {"\u1234", "a/b"}, {"x", ""}}),
            "%E1%88%B4=a%2Fb&Param=V2&Param-3=V%203&x=");
}

TEST(SigV4, UnreservedCharactersStay) {
  const std::string unreserved =
      "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  EXPECT_EQ(uri_encode(unreserved), unreserved);
  EXPECT_EQ(suite_signature(suite("GET", "/" + uri_encode(unreserved))),
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f");
  EXPECT_EQ(uri_encode("a/b c$+%", true), "a/b%20c%24%2B%25");
}

TEST(SigV4, HeaderValuesAreTrimmed) {
  SigV4Request request = suite("GET");
  request.headers["My-Header1"] = " value1";
  request.headers["My-Header2"] = " \"a   b   c\" ";
  EXPECT_EQ(suite_signature(request),
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
  request = suite("POST");
  request.headers["My-Header1"] = "VALUE1";
  EXPECT_EQ(suite_signature(request),
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d");
}

TEST(SigV4, TheExamplesOfS3) {
  EXPECT_EQ(
      s3_signature({"GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, std::string(kEmptySha256)}),
      "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  EXPECT_EQ(s3_signature({"PUT",
                          "/" + uri_encode("test$file.text"),
                          {},
                          {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                           {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                          sha256_hex("Welcome to Amazon S3.")}),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  EXPECT_EQ(s3_signature({"GET", "/", {{"lifecycle", ""}}, {}, std::string(kEmptySha256)}),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  EXPECT_EQ(s3_signature(
                {"GET", "/", {{"max-keys", "2"}, {"prefix", "J"}}, {}, std::string(kEmptySha256)}),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(SigV4, SignSendsWhatItSigned) {
  const SigV4Request request{
      "PUT", "/b/k", {}, {{"host", "h:9000"}}, std::string(kUnsignedPayload)};
  const auto headers = sign(request, {"AKID", "hunter2", "token"}, {kS3Time, "eu-west-1", "s3"});
  EXPECT_EQ(headers.at("x-amz-date"), "20130524T000000Z");
  EXPECT_EQ(headers.at("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
  EXPECT_EQ(headers.at("x-amz-security-token"), "token");
  EXPECT_TRUE(headers.at("authorization")
                  .starts_with("AWS4-HMAC-SHA256 Credential=AKID/20130524/eu-west-1/s3/aws4_request"
                               ", SignedHeaders=host;x-amz-content-sha256;x-amz-date;"
                               "x-amz-security-token, Signature="));
  for (const auto& [name, value] : headers) EXPECT_EQ(value.find("hunter2"), std::string::npos);
}

}  // namespace
}  // namespace holdfast
