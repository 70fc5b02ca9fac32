#include "apps/front_door.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include "io/clock.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::string_view kService = "sagemaker";
constexpr std::string_view kTargetPrefix = "SageMaker.";
constexpr std::string_view kContentType = "application/x-amz-json-1.1";
// For a key that does not exist, so that it takes as long as one that does.
constexpr std::string_view kNoSecret = "0000000000000000000000000000000000000000";
// Keys come and go; those that are gone are dropped when there are so many.
constexpr std::size_t kKeyLimitsMax = 2 * kAccessKeysMax;

AwsError throttled(std::string what) {
  return {"ThrottlingException", std::move(what)};
}

std::string header(const HttpRequest& request, const char* name) {
  const auto found = request.headers.find(name);
  return found == request.headers.end() ? "" : found->second;
}

std::string text_at(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// What the request names, for the audit log: nothing that decides.
std::string cluster_of(const std::string& body) {
  const json request = parse_json_text(body);
  if (!request.is_object()) return "";
  for (const char* key : {"ClusterName", "ClusterArn", "ComputeQuotaId", "ClusterSchedulerConfigId",
                          "ResourceArn", "TrainingPlanName"})
    if (std::string name = text_at(request, key); !name.empty()) return name;
  return "";
}

// "ok", or the type of the error that an answer is.
std::string outcome_of(const HttpResponse& response) {
  if (response.status == 200) return "ok";
  const json error = parse_json_text(response.body);
  const std::string type = error.is_object() ? text_at(error, "__type") : "";
  return type.empty() ? "error" : type;
}

}  // namespace

struct FrontDoor::Call {
  WallTime now;
  Instant at;
  std::string operation;
  OperationNeeds needs;
  SignatureClaim claim;
  bool is_known = false;  // the signature has verified
  Caller caller;
  bool is_refused = false;
  bool is_repeated = false;
};

FrontDoor::FrontDoor(AccessKeys& keys, AuditLog& log, SeenFile& seen, std::string region,
                     Handler handler, FrontDoorLimits limits)
    : keys_(keys),
      log_(log),
      seen_file_(seen),
      region_(std::move(region)),
      handler_(std::move(handler)),
      limits_(limits),
      all_(limits.all_per_second, limits.all_burst),
      strangers_lines_(limits.refused_lines_per_second, limits.refused_lines_burst) {
  for (const auto& [signature, expires] : seen.read()) seen_.restore(signature, expires);
}

HttpResponse FrontDoor::answer(const HttpRequest& request) {
  return answer(request, wall_now(), Instant{monotonic_ns()});
}

HttpResponse FrontDoor::answer(const HttpRequest& request, WallTime now, Instant at) {
  Call call{.now = now, .at = at};
  HttpResponse response = serve(request, call);
  if (call.is_refused || call.needs.changes_something) audit(request, call, response);
  return response;
}

HttpResponse FrontDoor::serve(const HttpRequest& request, Call& call) {
  const auto refuse = [&](const AwsError& error) {
    call.is_refused = true;
    return render(error);
  };
  const std::string target = header(request, "x-amz-target");
  if (request.method != "POST" || request.path != "/" || !target.starts_with(kTargetPrefix))
    return refuse({"UnknownOperationException",
                   "send POST / with X-Amz-Target: SageMaker.OPERATION, signed in the headers",
                   request.method == "POST" ? 400 : 405});
  call.operation = target.substr(kTargetPrefix.size());
  if (auto error = identify(request, call)) return refuse(*error);
  if (auto error = limit(call)) return refuse(*error);
  // What there is, and who may do it, is for known callers.
  const auto needs = needs_of(call.operation);
  if (!needs)
    return refuse(
        {"UnknownOperationException", "X-Amz-Target: there is no operation of this name"});
  call.needs = *needs;
  if (call.caller.role < needs->role)
    return refuse({"AccessDeniedException", "access key " + call.caller.key_id + " has the role " +
                                                std::string(word_of(call.caller.role)) + ", and " +
                                                call.operation + " needs " +
                                                std::string(word_of(needs->role))});
  if (!header(request, "content-type").starts_with(kContentType))
    return refuse({"SerializationException",
                   "Content-Type: send " + std::string(kContentType) + ", and the body as JSON"});
  if (!needs->changes_something) return carry_out(request, call);
  return carry_out_once(request, call);
}

std::optional<AwsError> FrontDoor::identify(const HttpRequest& request, Call& call) {
  auto read = read_signature(request);
  if (auto* error = std::get_if<AwsError>(&read)) return std::move(*error);
  call.claim = std::get<SignatureClaim>(std::move(read));
  const auto found = keys_.find(call.claim.access_key_id);
  const std::string_view secret = found ? std::string_view(found->secret) : kNoSecret;
  auto error = check_signature(call.claim, request, secret, region_, kService, call.now);
  // Only who has the secret of a disabled key is told so.
  if (!found || (!error && found->key.disabled))
    return AwsError{"UnrecognizedClientException",
                    found ? "the access key is disabled" : "the access key is not known here"};
  if (error) return error;
  call.is_known = true;
  call.caller = {found->key.id, found->key.role, request.address, request.id};
  keys_.used(found->key.id, call.now);
  return std::nullopt;
}

FrontDoor::KeyLimits& FrontDoor::limits_of(const std::string& key_id) {
  if (by_key_.size() >= kKeyLimitsMax && !by_key_.contains(key_id))
    std::erase_if(by_key_, [&](const auto& entry) { return !keys_.find(entry.first); });
  const KeyLimits fresh{{limits_.key_per_second, limits_.key_burst},
                        {limits_.changes_per_second, limits_.changes_burst},
                        {limits_.refused_lines_per_second, limits_.refused_lines_burst}};
  return by_key_.try_emplace(key_id, fresh).first->second;
}

std::optional<AwsError> FrontDoor::limit(Call& call) {
  const auto needs = needs_of(call.operation);
  const std::lock_guard lock(mutex_);
  KeyLimits& of_key = limits_of(call.caller.key_id);
  if (!of_key.all.take(call.at)) return throttled("Rate exceeded: too many requests of this key");
  if (needs && needs->changes_something && !of_key.changes.take(call.at))
    return throttled("Rate exceeded: too many changes by this key");
  if (!all_.take(call.at)) return throttled("Rate exceeded: too many requests of all keys");
  return std::nullopt;
}

HttpResponse FrontDoor::carry_out(const HttpRequest& request, Call& call) {
  try {
    return handler_(call.caller, call.operation, request.body);
  } catch (const std::exception& error) {
    spdlog::error("{} ({}): {}", call.operation, request.id, error.what());
    return render(
        {"InternalFailure", "the control plane failed on this request; look at its log", 500});
  }
}

HttpResponse FrontDoor::carry_out_once(const HttpRequest& request, Call& call) {
  using Verdict = SeenRequests::Verdict;
  const WallTime expires{call.claim.at.ns + kSignatureWindow.ns};
  SeenRequests::Seen seen;
  {
    const std::lock_guard lock(mutex_);
    seen = seen_.begin(call.claim.signature, header(request, "amz-sdk-invocation-id"), expires,
                       call.now);
  }
  call.is_repeated = seen.verdict != Verdict::kNew && seen.verdict != Verdict::kFull;
  switch (seen.verdict) {
    case Verdict::kNew:
      break;
    case Verdict::kDone:
      return std::move(seen.answer);
    case Verdict::kOtherCall:
      return render(throttled("a request with this very signature has come before; sign it again"));
    case Verdict::kUnderWay:
      return render(
          throttled("this very request is being carried out; sign it again to repeat it"));
    case Verdict::kAnswerGone:
      return render({"InvalidSignatureException",
                     "this very request was carried out before; sign it again to repeat it"});
    case Verdict::kFull:
      return render(throttled("Rate exceeded: too many changes within the last half hour"));
  }
  // What is not on record could be carried out twice, by the next process.
  const auto recorded = seen_file_.append(call.claim.signature, expires, call.now);
  HttpResponse response = recorded.ok()
                              ? carry_out(request, call)
                              : render({"ServiceUnavailable",
                                        "nothing can be changed: " + recorded.error().detail, 503});
  const std::lock_guard lock(mutex_);
  seen_.done(call.claim.signature, response);
  return response;
}

void FrontDoor::audit(const HttpRequest& request, const Call& call, const HttpResponse& response) {
  if (call.is_refused) {
    const std::lock_guard lock(mutex_);
    RateLimit& lines =
        call.is_known ? limits_of(call.caller.key_id).refused_lines : strangers_lines_;
    if (!lines.take(call.at)) return;
  }
  const Result<void> written =
      log_.append({.at = call.now,
                   .request_id = request.id,
                   .key_id = call.is_known ? call.caller.key_id : call.claim.access_key_id,
                   .role = call.is_known ? std::string(word_of(call.caller.role)) : "",
                   .operation = call.operation,
                   .cluster = call.is_known ? cluster_of(request.body) : "",
                   .outcome = outcome_of(response),
                   .status = response.status,
                   .address = request.address,
                   .repeated = call.is_repeated});
  if (written.ok()) return;
  const std::lock_guard lock(mutex_);
  if (call.at.ns < log_complained_ns_) return;
  log_complained_ns_ = (call.at + minutes(1)).ns;
  spdlog::error("calls of the API are not in the audit log: {}", written.error().text());
}

}  // namespace holdfast
