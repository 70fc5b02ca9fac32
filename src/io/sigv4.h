#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"

namespace holdfast {

// AWS Signature Version 4 in its steps, for who signs (the S3 client) and for who verifies. Pure:
// the time is an argument. Terms and rules: "Create a signed AWS API request" in the IAM user
// guide.

// SHA-256 of nothing, and S3's word for a body that is not part of the signature.
inline constexpr std::string_view kEmptySha256 =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

struct AwsCredentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  // empty: long-lived keys
};

struct SigningScope {
  WallTime at;
  std::string region;
  std::string service;  // "s3", "sagemaker"
};

struct SigV4Request {
  std::string method;
  std::string path;  // as sent: percent-encoded, starts with "/"
  std::vector<std::pair<std::string, std::string>> query;  // decoded
  // Those to sign, names in any case. `host` is required, and `x-amz-date` or `date`.
  std::map<std::string, std::string> headers;
  std::string payload_hash;  // SHA-256 in lower-case hexadecimal, or kUnsignedPayload
};

// "20130524T000000Z"
[[nodiscard]] std::string amz_date(WallTime at);

// Percent-encodes all but A-Z a-z 0-9 - . _ ~; `/` too unless told to keep it.
[[nodiscard]] std::string uri_encode(std::string_view text, bool keep_slashes = false);

// Sorted, encoded, joined with & and =: what is signed, and fit to be sent.
[[nodiscard]] std::string canonical_query(std::vector<std::pair<std::string, std::string>> query);

// "host;x-amz-date": the names of the headers, lower-case and sorted.
[[nodiscard]] std::string signed_headers(const SigV4Request& request);

[[nodiscard]] std::string canonical_request(const SigV4Request& request);
[[nodiscard]] std::string string_to_sign(const SigningScope& scope,
                                         std::string_view canonical_request);
// Lower-case hexadecimal. A verifier compares it in constant time (CRYPTO_memcmp).
[[nodiscard]] std::string sigv4_signature(std::string_view secret_access_key,
                                          const SigningScope& scope,
                                          std::string_view string_to_sign);

// The headers to send: those of `request` with x-amz-date, x-amz-content-sha256,
// x-amz-security-token (where there is one) and authorization added.
[[nodiscard]] std::map<std::string, std::string> sign(SigV4Request request,
                                                      const AwsCredentials& credentials,
                                                      const SigningScope& scope);

[[nodiscard]] std::string sha256_hex(std::string_view bytes);

}  // namespace holdfast
