#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "base/time.h"
#include "core/access/rate_limit.h"
#include "core/access/roles.h"
#include "core/access/seen_requests.h"
#include "io/access_keys.h"
#include "io/audit_log.h"
#include "io/seen_file.h"
#include "io/sigv4_verify.h"
#include "model/access.h"
#include "model/http.h"

namespace holdfast {

// Who calls, once that is proven.
struct Caller {
  std::string key_id;
  AccessRole role = AccessRole::kViewer;
  std::string address;
  std::string request_id;
};

// Requests a second, and how many may come at once. A key's own, so that none takes all of the
// control plane; changes cost the disk of the journal, so there are fewer of them.
struct FrontDoorLimits {
  std::int64_t all_per_second = 4000, all_burst = 8000;
  std::int64_t key_per_second = 2000, key_burst = 4000;
  std::int64_t changes_per_second = 20, changes_burst = 200;
  // Lines in the audit log about what was refused, of each key and of all who have none: nobody can
  // flush out what was written before.
  std::int64_t refused_lines_per_second = 5, refused_lines_burst = 100;
};

// Between the listener of the HyperPod API (io/api_server.h) and what answers its operations:
// authenticates, authorizes, limits, refuses to carry out one signed request twice
// (core/access/seen_requests.h), and writes the audit log. Any thread.
//
// Errors in the words of AWS: MissingAuthenticationTokenException, IncompleteSignatureException,
// InvalidSignatureException, UnrecognizedClientException, AccessDeniedException,
// UnknownOperationException, ThrottlingException, InternalFailure.
class FrontDoor {
 public:
  // Carries out what the caller may: `operation` without its prefix ("DescribeCluster"), `body` as
  // sent. May block; what it throws becomes InternalFailure.
  using Handler = std::function<HttpResponse(const Caller& caller, std::string_view operation,
                                             const std::string& body)>;

  // `keys`, `log` and `seen` outlive it. `region`: what requests must be signed for.
  FrontDoor(AccessKeys& keys, AuditLog& log, SeenFile& seen, std::string region, Handler handler,
            FrontDoorLimits limits = {});

  // `now` for signatures and the log, `at` (which never goes back) for the limits.
  [[nodiscard]] HttpResponse answer(const HttpRequest& request, WallTime now, Instant at);
  [[nodiscard]] HttpResponse answer(const HttpRequest& request);

 private:
  struct KeyLimits {
    RateLimit all, changes, refused_lines;
  };
  struct Call;  // what is known of a request so far
  [[nodiscard]] HttpResponse serve(const HttpRequest& request, Call& call);
  [[nodiscard]] std::optional<AwsError> identify(const HttpRequest& request, Call& call);
  [[nodiscard]] std::optional<AwsError> limit(Call& call);
  [[nodiscard]] KeyLimits& limits_of(const std::string& key_id);  // REQUIRES: mutex_ is held
  [[nodiscard]] HttpResponse carry_out(const HttpRequest& request, Call& call);
  [[nodiscard]] HttpResponse carry_out_once(const HttpRequest& request, Call& call);
  void audit(const HttpRequest& request, const Call& call, const HttpResponse& response);

  AccessKeys& keys_;
  AuditLog& log_;
  SeenFile& seen_file_;
  const std::string region_;
  const Handler handler_;
  const FrontDoorLimits limits_;
  std::mutex mutex_;  // guards what follows
  RateLimit all_, strangers_lines_;
  std::map<std::string, KeyLimits>
      by_key_;  // of keys that have been used: kAccessKeysMax at a time
  SeenRequests seen_;
  std::int64_t log_complained_ns_ = 0;
};

}  // namespace holdfast
