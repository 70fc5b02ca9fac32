#include "io/s3_config.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

using Texts = std::map<std::string, std::string>;

AwsSources sources(Texts variables, Texts files = {}) {
  return {[variables](const std::string& name) -> std::optional<std::string> {
            const auto found = variables.find(name);
            return found == variables.end() ? std::nullopt : std::optional(found->second);
          },
          [files](const std::string& path) -> Result<std::optional<std::string>> {
            const auto found = files.find(path);
            return found == files.end() ? std::optional<std::string>() : found->second;
          }};
}

const Texts kKeys = {
    {"HOME", "/h"}, {"AWS_ACCESS_KEY_ID", "AKID"}, {"AWS_SECRET_ACCESS_KEY", "hunter2"}};

Texts with(Texts base, const Texts& more) {
  for (const auto& [name, value] : more) base[name] = value;
  return base;
}

TEST(S3Url, BucketAndPrefix) {
  EXPECT_EQ(*parse_s3_url("s3://bucket"), (S3Url{"bucket", ""}));
  EXPECT_EQ(*parse_s3_url("s3://bucket/"), (S3Url{"bucket", ""}));
  EXPECT_EQ(*parse_s3_url("s3://my.bucket-1/a/b c/"), (S3Url{"my.bucket-1", "a/b c"}));
}

TEST(S3Url, WhatIsNoneIsRefused) {
  for (const char* text : {"", "s3:/b/x", "/data", "s3://", "s3://a", "s3:///x", "s3://b ucket/x",
                           "s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/a/.", "s3://b..c/x",
                           "s3://bucket/a\nb", "s3://bucket//a"}) {
    const auto url = parse_s3_url(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_EQ(url.error().code, Errc::kInvalidField);
  }
}

TEST(AwsFileText, SectionsKeysAndBlocks) {
  const auto file = parse_aws_file(
      "# comment\n[default]\naws_access_key_id=A\n\n[ profile dev ]\nregion = eu-west-1\r\n"
      "s3 =\n  addressing_style = path\n\tmax = 3\noutput = json\n  odd = 1\n",
      "config");
  ASSERT_TRUE(file.ok()) << file.error().text();
  EXPECT_EQ(file->at("default").at("aws_access_key_id"), "A");
  EXPECT_EQ(file->at("profile dev").at("region"), "eu-west-1");
  EXPECT_EQ(file->at("profile dev").at("s3.addressing_style"), "path");
  EXPECT_EQ(file->at("profile dev").at("s3.max"), "3");
  EXPECT_EQ(file->at("profile dev").at("odd"), "1");
}

TEST(AwsFileText, ErrorsNameTheLineAndNotTheSecret) {
  const std::map<std::string, std::string> wrong = {
      {"[default]\nhunter2\n", "line 2"},
      {"hunter2 = hunter2\n", "line 1"},
      {"[default]\n[dev\nx=hunter2", "line 2"},
      {"[default]\n\n= hunter2\n", "line 3"},
  };
  for (const auto& [text, line] : wrong) {
    const auto file = parse_aws_file(text, "/h/.aws/credentials");
    ASSERT_FALSE(file.ok()) << text;
    EXPECT_EQ(file.error().code, Errc::kUnparsable);
    EXPECT_NE(file.error().detail.find("/h/.aws/credentials: " + line), std::string::npos)
        << file.error().text();
    EXPECT_EQ(file.error().detail.find("hunter2"), std::string::npos);
  }
}

TEST(S3ConfigSources, TheEnvironmentAlone) {
  const auto config = s3_config(sources(with(kKeys, {{"AWS_SESSION_TOKEN", "t"}})));
  ASSERT_TRUE(config.ok()) << config.error().text();
  EXPECT_EQ(config->endpoint, "https://s3.us-east-1.amazonaws.com");
  EXPECT_FALSE(config->path_style);
  EXPECT_EQ(config->credentials.secret_access_key, "hunter2");
  EXPECT_EQ(config->credentials.session_token, "t");
}

TEST(S3ConfigSources, AProfileOfTheFiles) {
  const Texts files = {
      {"/h/.aws/credentials",
       "[default]\naws_access_key_id = D\naws_secret_access_key = E\n"
       "[dev]\naws_access_key_id = F\naws_secret_access_key = G\naws_session_token = H\n"},
      {"/h/.aws/config",
       "[profile dev]\nregion = eu-west-1\nservices = mine\ns3 =\n  addressing_style = virtual\n"
       "[services mine]\ns3 =\n  endpoint_url = https://s3.example.com:9000/\n"}};
  auto config = s3_config(sources({{"HOME", "/h"}, {"AWS_PROFILE", "dev"}}, files));
  ASSERT_TRUE(config.ok()) << config.error().text();
  EXPECT_EQ(config->credentials.access_key_id, "F");
  EXPECT_EQ(config->credentials.session_token, "H");
  EXPECT_EQ(config->credentials_source, "profile dev in /h/.aws/credentials");
  EXPECT_EQ(config->region, "eu-west-1");
  EXPECT_EQ(config->endpoint, "https://s3.example.com:9000");
  EXPECT_FALSE(config->path_style);

  config = s3_config(sources({{"HOME", "/h"}}, files));
  ASSERT_TRUE(config.ok()) << config.error().text();
  EXPECT_EQ(config->credentials.access_key_id, "D");

  config = s3_config(sources({{"HOME", "/h"}, {"AWS_PROFILE", "nobody"}}, files));
  ASSERT_FALSE(config.ok());
  EXPECT_NE(config.error().detail.find("nobody"), std::string::npos);
}

TEST(S3ConfigSources, TheEnvironmentComesFirst) {
  const Texts files = {{"/c", "[default]\nregion = eu-west-1\nendpoint_url = http://b\n"}};
  const Texts more = {{"AWS_CONFIG_FILE", "/c"},
                      {"AWS_REGION", "ap-south-1"},
                      {"AWS_ENDPOINT_URL", "http://localhost:8080"}};
  auto config = s3_config(sources(with(kKeys, more), files));
  ASSERT_TRUE(config.ok()) << config.error().text();
  EXPECT_EQ(config->region, "ap-south-1");
  EXPECT_EQ(config->endpoint, "http://localhost:8080");
  EXPECT_TRUE(config->path_style);
  config =
      s3_config(sources(with(kKeys, with(more, {{"AWS_ENDPOINT_URL_S3", "http://x"}})), files));
  EXPECT_EQ(config->endpoint, "http://x");
}

TEST(S3ConfigSources, WhatIsMissingOrWrongIsNamed) {
  auto config = s3_config(sources({{"HOME", "/h"}}));
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.error().code, Errc::kStoreRefused);
  EXPECT_NE(config.error().detail.find("/h/.aws/credentials"), std::string::npos);

  config = s3_config(sources({{"HOME", "/h"}, {"AWS_ACCESS_KEY_ID", "AKID"}}));
  ASSERT_FALSE(config.ok());
  EXPECT_NE(config.error().detail.find("AWS_SECRET_ACCESS_KEY"), std::string::npos);

  for (const char* endpoint :
       {"localhost:9000", "ftp://x", "http://", "http://u:hunter2@x", "http://x/path"}) {
    config = s3_config(sources(with(kKeys, {{"AWS_ENDPOINT_URL", endpoint}})));
    ASSERT_FALSE(config.ok()) << endpoint;
    EXPECT_EQ(config.error().code, Errc::kInvalidField);
    EXPECT_EQ(config.error().detail.find("hunter2"), std::string::npos);
  }
  config = s3_config(sources(with(kKeys, {{"AWS_CONFIG_FILE", "/c"}}),
                             {{"/c", "[default]\ns3 =\n  addressing_style = odd\n"}}));
  ASSERT_FALSE(config.ok());
  EXPECT_NE(config.error().detail.find("odd"), std::string::npos);
}

}  // namespace
}  // namespace holdfast
