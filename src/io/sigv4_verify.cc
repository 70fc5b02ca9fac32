#include "io/sigv4_verify.h"

#include <openssl/crypto.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "io/sigv4.h"

namespace holdfast {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr std::size_t kSignedHeadersMax = 64;

AwsError incomplete(std::string message) {
  return {"IncompleteSignatureException", std::move(message)};
}

AwsError invalid(std::string message) {
  return {"InvalidSignatureException", std::move(message)};
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool all_of(std::string_view text, auto allowed) {
  return !text.empty() && std::ranges::all_of(text, allowed);
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_lower_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f');
}
bool is_name(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-';
}
bool is_key_id(char c) {
  return is_digit(c) || (c >= 'A' && c <= 'Z');
}

const std::string* header(const HttpRequest& request, const std::string& name) {
  const auto found = request.headers.find(name);
  return found == request.headers.end() ? nullptr : &found->second;
}

// What a client may leave out: it says nothing that matters.
bool must_be_signed(std::string_view name) {
  return name == "host" || name == "content-type" ||
         (name.starts_with("x-amz-") && name != "x-amz-user-agent");
}

struct Parts {
  std::string_view credential, signed_headers, signature;
};

std::variant<Parts, AwsError> split_authorization(std::string_view text) {
  if (!text.starts_with(kAlgorithm) || text.substr(kAlgorithm.size()).find_first_of(" \t") != 0)
    return incomplete("Authorization: only " + std::string(kAlgorithm) + " is known");
  Parts parts;
  for (const std::string_view part : split(text.substr(kAlgorithm.size() + 1), ',')) {
    const std::string_view pair = trim(part);
    const std::size_t equals = pair.find('=');
    if (equals == pair.npos) return incomplete("Authorization: a part of it is no KEY=VALUE");
    const std::string_view key = pair.substr(0, equals);
    std::string_view* to = key == "Credential"      ? &parts.credential
                           : key == "SignedHeaders" ? &parts.signed_headers
                           : key == "Signature"     ? &parts.signature
                                                    : nullptr;
    if (to == nullptr || !to->empty())
      return incomplete("Authorization: give Credential, SignedHeaders and Signature, once each");
    *to = pair.substr(equals + 1);
  }
  if (parts.credential.empty() || parts.signed_headers.empty() || parts.signature.empty())
    return incomplete("Authorization: Credential, SignedHeaders and Signature are required");
  return parts;
}

std::optional<AwsError> read_credential(std::string_view text, SignatureClaim& claim) {
  const auto words = split(text, '/');
  if (words.size() != 5 || words[4] != "aws4_request" || !all_of(words[0], is_key_id) ||
      words[0].size() > 128 || !all_of(words[2], is_name) || !all_of(words[3], is_name))
    return incomplete("Credential: write KEY_ID/YYYYMMDD/REGION/SERVICE/aws4_request");
  if (words[1] != amz_date(claim.at).substr(0, 8))
    return invalid("Credential: its date is not that of x-amz-date");
  claim.access_key_id = words[0];
  claim.region = words[2];
  claim.service = words[3];
  return std::nullopt;
}

std::optional<AwsError> read_signed_headers(std::string_view text, const HttpRequest& request,
                                            SignatureClaim& claim) {
  for (const std::string_view name : split(text, ';')) {
    if (claim.signed_headers.size() == kSignedHeadersMax || name.empty() ||
        (!claim.signed_headers.empty() && claim.signed_headers.back() >= name))
      return incomplete("SignedHeaders: give each name once, sorted, at most 64");
    claim.signed_headers.emplace_back(name);
    if (header(request, claim.signed_headers.back()) == nullptr)
      return incomplete("SignedHeaders: a header that it names is not there");
  }
  const auto is_signed = [&](const std::string& name) {
    return std::ranges::binary_search(claim.signed_headers, name);
  };
  if (!is_signed("host")) return incomplete("SignedHeaders: 'host' must be signed");
  for (const auto& [name, value] : request.headers)
    if (must_be_signed(name) && !is_signed(name))
      return incomplete("SignedHeaders: '" + name + "' must be signed");
  return std::nullopt;
}

}  // namespace

HttpResponse render(const AwsError& error) {
  const nlohmann::json body{{"__type", error.type}, {"Message", error.message}};
  return {error.status, body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

std::optional<WallTime> parse_amz_date(std::string_view text) {
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z') return std::nullopt;
  for (std::size_t i = 0; i < 15; ++i)
    if (i != 8 && !is_digit(text[i])) return std::nullopt;
  const auto number = [&](std::size_t at, std::size_t digits) {
    int value = 0;
    for (std::size_t i = at; i < at + digits; ++i) value = value * 10 + (text[i] - '0');
    return value;
  };
  struct tm parts = {};
  parts.tm_year = number(0, 4) - 1900;
  parts.tm_mon = number(4, 2) - 1;
  parts.tm_mday = number(6, 2);
  parts.tm_hour = number(9, 2);
  parts.tm_min = number(11, 2);
  parts.tm_sec = number(13, 2);
  // What nanoseconds in 64 bits can hold.
  if (parts.tm_year < 70 || parts.tm_year > 300) return std::nullopt;
  const WallTime at{::timegm(&parts) * 1'000'000'000};
  if (amz_date(at) != text) return std::nullopt;  // the 31st of February, 25 o'clock
  return at;
}

std::variant<SignatureClaim, AwsError> read_signature(const HttpRequest& request) {
  const std::string* authorization = header(request, "authorization");
  if (authorization == nullptr) {
    if (request.target.find("X-Amz-") != std::string::npos)
      return AwsError{"MissingAuthenticationTokenException",
                      "presigned URLs are not taken here; sign the Authorization header", 403};
    return AwsError{"MissingAuthenticationTokenException",
                    "the request has no Authorization header; sign it with AWS Signature Version 4 "
                    "and an access key of this cluster (`holdfast key create`)",
                    403};
  }
  if (header(request, "x-amz-security-token") != nullptr)
    return AwsError{"UnrecognizedClientException",
                    "x-amz-security-token: this cluster gives no temporary credentials; use an "
                    "access key of `holdfast key create`"};
  auto split_up = split_authorization(*authorization);
  if (const auto* error = std::get_if<AwsError>(&split_up)) return *error;
  const Parts parts = std::get<Parts>(split_up);

  SignatureClaim claim;
  const std::string* date = header(request, "x-amz-date");
  const auto at = date == nullptr ? std::nullopt : parse_amz_date(*date);
  if (!at) return incomplete("x-amz-date: missing, or not like 20130524T000000Z");
  claim.at = *at;
  if (auto error = read_credential(parts.credential, claim)) return *error;
  if (auto error = read_signed_headers(parts.signed_headers, request, claim)) return *error;
  if (parts.signature.size() != 64 || !all_of(parts.signature, is_lower_hex))
    return incomplete("Signature: give 64 lower-case hexadecimal digits");
  claim.signature = parts.signature;
  return claim;
}

std::optional<AwsError> check_signature(const SignatureClaim& claim, const HttpRequest& request,
                                        std::string_view secret, std::string_view region,
                                        std::string_view service, WallTime now) {
  const WallTime earliest{now.ns - kSignatureWindow.ns};
  const WallTime latest{now.ns + kSignatureWindow.ns};
  if (claim.at < earliest)
    return invalid("Signature expired: " + amz_date(claim.at) + " is now earlier than " +
                   amz_date(earliest) + " (" + amz_date(now) + " - 15 min.)");
  if (claim.at > latest)
    return invalid("Signature not yet current: " + amz_date(claim.at) + " is still later than " +
                   amz_date(latest) + " (" + amz_date(now) + " + 15 min.)");
  if (claim.region != region)
    return invalid("Credential: this cluster's region is '" + std::string(region) + "', not '" +
                   claim.region + "'");
  if (claim.service != service)
    return invalid("Credential: sign for the service '" + std::string(service) + "'");

  SigV4Request as_signed{request.method, request.target, {}, {}, sha256_hex(request.body)};
  for (const std::string& name : claim.signed_headers)
    as_signed.headers.emplace(name, request.headers.at(name));
  const std::string* hash = header(request, "x-amz-content-sha256");
  if (hash != nullptr && *hash != as_signed.payload_hash)
    return invalid(*hash == kUnsignedPayload
                       ? "x-amz-content-sha256: the body must be signed"
                       : "x-amz-content-sha256: it is not the SHA-256 of the body");
  const SigningScope scope{claim.at, claim.region, claim.service};
  const std::string expected =
      sigv4_signature(secret, scope, string_to_sign(scope, canonical_request(as_signed)));
  if (claim.signature.size() != expected.size() ||
      ::CRYPTO_memcmp(claim.signature.data(), expected.data(), expected.size()) != 0)
    return invalid(
        "The request signature we calculated does not match the signature you provided; check the "
        "secret access key, and that nothing changes the request on its way");
  return std::nullopt;
}

}  // namespace holdfast
