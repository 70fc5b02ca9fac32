#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/time.h"
#include "model/http.h"

namespace holdfast {

// The other side of io/sigv4.h: who has signed a request, and whether it is as it was signed. Pure.

// An error as AWS's JSON protocols say it; their SDKs make an exception of `type`.
struct AwsError {
  std::string type;  // "InvalidSignatureException"
  std::string message;
  int status = 400;

  friend bool operator==(const AwsError&, const AwsError&) = default;
};

// {"__type": ..., "Message": ...}
[[nodiscard]] HttpResponse render(const AwsError& error);

// A request may be this old, and its signer's clock this far ahead: AWS's own limit.
inline constexpr Duration kSignatureWindow = minutes(15);

// What the Authorization header says. Nothing of it is true before check_signature() says so.
struct SignatureClaim {
  std::string access_key_id;
  WallTime at;  // x-amz-date
  std::string region, service;
  std::vector<std::string> signed_headers;  // lower-case, sorted
  std::string signature;                    // 64 lower-case hexadecimal digits

  friend bool operator==(const SignatureClaim&, const SignatureClaim&) = default;
};

// Signatures in the query (presigned URLs) and of temporary credentials are refused. The host, the
// date, the content type and each x-amz- header but the name of the client must be signed.
// Errors: MissingAuthenticationTokenException, IncompleteSignatureException,
// UnrecognizedClientException.
[[nodiscard]] std::variant<SignatureClaim, AwsError> read_signature(const HttpRequest& request);

// None: whoever holds `secret` has signed just this method, target, signed headers and body, for
// `region` and `service`, within the window around `now`. Error: InvalidSignatureException. The
// time that it takes does not depend on how much of the signature is right.
[[nodiscard]] std::optional<AwsError> check_signature(const SignatureClaim& claim,
                                                      const HttpRequest& request,
                                                      std::string_view secret,
                                                      std::string_view region,
                                                      std::string_view service, WallTime now);

// "20130524T000000Z"; none for anything else.
[[nodiscard]] std::optional<WallTime> parse_amz_date(std::string_view text);

}  // namespace holdfast
