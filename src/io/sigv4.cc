#include "io/sigv4.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <time.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace holdfast {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;

std::string hex(const Digest& digest) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

Digest hmac(std::string_view key, std::string_view message) {
  Digest digest;
  unsigned int length = 0;
  CHECK(::HMAC(::EVP_sha256(), key.data(), static_cast<int>(key.size()),
               reinterpret_cast<const unsigned char*>(message.data()), message.size(),
               digest.data(), &length) != nullptr);
  return digest;
}

Digest hmac(const Digest& key, std::string_view message) {
  return hmac({reinterpret_cast<const char*>(key.data()), key.size()}, message);
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Without spaces at the ends, and one where there are several.
std::string trimmed(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (!is_space(c))
      text += c;
    else if (!text.empty() && text.back() != ' ')
      text += ' ';
  }
  if (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::map<std::string, std::string> canonical_headers(const SigV4Request& request) {
  std::map<std::string, std::string> headers;
  for (const auto& [name, value] : request.headers) {
    std::string key = name;
    std::ranges::transform(key, key.begin(), lower);
    headers[key] = trimmed(value);
  }
  return headers;
}

std::string credential_scope(const SigningScope& scope) {
  return amz_date(scope.at).substr(0, 8) + "/" + scope.region + "/" + scope.service +
         "/aws4_request";
}

}  // namespace

std::string amz_date(WallTime at) {
  const time_t when = at.ns / 1'000'000'000;
  struct tm parts = {};
  ::gmtime_r(&when, &parts);
  std::array<char, 32> text = {};
  ::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts);
  return text.data();
}

std::string uri_encode(std::string_view text, bool keep_slashes) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const bool unreserved = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                            (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (unreserved || (c == '/' && keep_slashes)) {
      encoded += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      encoded += '%';
      encoded += digits[byte >> 4];
      encoded += digits[byte & 15];
    }
  }
  return encoded;
}

std::string canonical_query(std::vector<std::pair<std::string, std::string>> query) {
  // Sorted as encoded: "%E1" comes before "P", the raw byte does not.
  for (auto& [name, value] : query) {
    name = uri_encode(name);
    value = uri_encode(value);
  }
  std::ranges::sort(query);
  std::string text;
  for (const auto& [name, value] : query) {
    if (!text.empty()) text += '&';
    text += name;
    text += '=';
    text += value;
  }
  return text;
}

std::string signed_headers(const SigV4Request& request) {
  std::string names;
  for (const auto& [name, value] : canonical_headers(request)) {
    if (!names.empty()) names += ';';
    names += name;
  }
  return names;
}

std::string canonical_request(const SigV4Request& request) {
  std::string text = request.method + "\n" + request.path + "\n" + canonical_query(request.query);
  text += '\n';
  for (const auto& [name, value] : canonical_headers(request)) {
    text += name;
    text += ':';
    text += value;
    text += '\n';
  }
  return text + "\n" + signed_headers(request) + "\n" + request.payload_hash;
}

std::string string_to_sign(const SigningScope& scope, std::string_view canonical_request) {
  return std::string(kAlgorithm) + "\n" + amz_date(scope.at) + "\n" + credential_scope(scope) +
         "\n" + sha256_hex(canonical_request);
}

std::string sigv4_signature(std::string_view secret_access_key, const SigningScope& scope,
                            std::string_view string_to_sign) {
  const std::string day = amz_date(scope.at).substr(0, 8);
  const Digest date = hmac("AWS4" + std::string(secret_access_key), day);
  const Digest key = hmac(hmac(hmac(date, scope.region), scope.service), "aws4_request");
  return hex(hmac(key, string_to_sign));
}

std::map<std::string, std::string> sign(SigV4Request request, const AwsCredentials& credentials,
                                        const SigningScope& scope) {
  request.headers["x-amz-date"] = amz_date(scope.at);
  request.headers["x-amz-content-sha256"] = request.payload_hash;
  if (!credentials.session_token.empty())
    request.headers["x-amz-security-token"] = credentials.session_token;
  const std::string signature = sigv4_signature(credentials.secret_access_key, scope,
                                                string_to_sign(scope, canonical_request(request)));
  request.headers["authorization"] =
      std::string(kAlgorithm) + " Credential=" + credentials.access_key_id + "/" +
      credential_scope(scope) + ", SignedHeaders=" + signed_headers(request) +
      ", Signature=" + signature;
  return std::move(request.headers);
}

std::string sha256_hex(std::string_view bytes) {
  Digest digest;
  ::SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return hex(digest);
}

}  // namespace holdfast
