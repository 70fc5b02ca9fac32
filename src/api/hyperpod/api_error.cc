#include "api/hyperpod/api_error.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/hyperpod/service_model.h"

namespace holdfast::hyperpod {
namespace {

// The service's own errors spell their text with a capital, those of the protocol do not, and the
// SDKs look for it as it is spelt.
bool is_modelled(ErrorType type) {
  switch (type) {
    case ErrorType::kResourceNotFound:
    case ErrorType::kResourceInUse:
    case ErrorType::kResourceLimitExceeded:
    case ErrorType::kConflict:
      return true;
    default:
      return false;
  }
}

ErrorType type_of(Errc code) {
  switch (code) {
    case Errc::kInvalidField:
    case Errc::kUnknownField:
    case Errc::kUnparsable:
      return ErrorType::kValidation;
    case Errc::kNotFound:
      return ErrorType::kResourceNotFound;
    case Errc::kNameExists:
      return ErrorType::kResourceInUse;
    case Errc::kTooFewNodes:
      return ErrorType::kResourceLimitExceeded;
    case Errc::kWrongState:
    case Errc::kJobFailed:
    case Errc::kStaleAttempt:
    case Errc::kBreakerOpen:
      return ErrorType::kConflict;
    case Errc::kUnauthenticated:
    case Errc::kTokenExpired:
    case Errc::kStoreRefused:
      return ErrorType::kAccessDenied;
    case Errc::kUnavailable:
    case Errc::kStoreUnavailable:
      return ErrorType::kServiceUnavailable;
    case Errc::kStateLocked:
    case Errc::kStateCorrupt:
    case Errc::kPortInUse:
    case Errc::kIo:
    case Errc::kDiskFull:
    case Errc::kDamaged:
      return ErrorType::kInternalFailure;
  }
  return ErrorType::kInternalFailure;
}

}  // namespace

int status_of(ErrorType type) {
  if (type == ErrorType::kInternalFailure) return 500;
  return type == ErrorType::kServiceUnavailable ? 503 : 400;
}

HttpResponse render_error(const ApiError& error) {
  const nlohmann::json body = {{"__type", std::string(word_of(error.type))},
                               {is_modelled(error.type) ? "Message" : "message", error.message}};
  // A message may quote what a caller sent: any bytes.
  return {status_of(error.type),
          body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

ApiError api_error_of(const Error& error) {
  return {type_of(error.code), error.text()};
}

HttpResponse as_modelled(const Operation& operation, HttpResponse response) {
  if (response.status != 400) return response;
  const auto body = nlohmann::json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  const auto type = parse_word<ErrorType>(body.value("__type", ""));
  if (!type || !is_modelled(*type) ||
      std::ranges::find(operation.errors, word_of(*type)) != operation.errors.end())
    return response;
  return render_error({ErrorType::kValidation, body.value("Message", "")});
}

}  // namespace holdfast::hyperpod
