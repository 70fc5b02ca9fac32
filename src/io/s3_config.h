#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/sigv4.h"

namespace holdfast {

// Where an S3 store is and who we are there, from what the AWS CLI reads: the environment, then the
// profile's sections in the shared credentials and config files.

// s3://bucket/some/prefix: `prefix` has no slash at its ends and may be empty.
struct S3Url {
  std::string bucket;
  std::string prefix;
  friend bool operator==(const S3Url&, const S3Url&) = default;
};
[[nodiscard]] bool is_s3_url(std::string_view text);
[[nodiscard]] Result<S3Url> parse_s3_url(std::string_view text);

// Sections of an AWS file, by name as written ("default", "profile dev"). A key in an indented
// block under `s3 =` is "s3.key". Errors name the line, never what is in it.
using AwsFile = std::map<std::string, std::map<std::string, std::string>>;
[[nodiscard]] Result<AwsFile> parse_aws_file(std::string_view text, const std::string& path);

struct S3Config {
  std::string endpoint;  // "https://s3.eu-west-1.amazonaws.com": scheme, host, port
  std::string region;
  bool path_style = false;  // the bucket is in the path; else in the host's name
  std::string ca_bundle;    // empty: the system's
  AwsCredentials credentials;
  std::string credentials_source;  // for a person: "profile dev in /x/.aws/credentials"
};

struct AwsSources {
  std::function<std::optional<std::string>(const std::string&)> variable;  // nullopt: not set
  // The file's text; nullopt: there is none.
  std::function<Result<std::optional<std::string>>(const std::string&)> file;
};

// Of this process.
[[nodiscard]] AwsSources process_aws_sources();

// The style is `addressing_style` under `s3 =` in the config file (path, virtual or auto); auto,
// and the default, is virtual at AWS and path at any other endpoint. kInvalidField, kUnparsable,
// kStoreRefused (no credentials).
[[nodiscard]] Result<S3Config> s3_config(const AwsSources& sources);

}  // namespace holdfast
