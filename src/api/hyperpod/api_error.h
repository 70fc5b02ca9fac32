#pragma once

#include <array>
#include <string>

#include "base/result.h"
#include "model/enum_text.h"
#include "model/http.h"

namespace holdfast::hyperpod {

// The classes that the SDKs raise.
enum class ErrorType {
  kValidation,
  kSerialization,
  kUnknownOperation,
  kResourceNotFound,
  kResourceInUse,
  kResourceLimitExceeded,
  kConflict,
  kAccessDenied,
  kIncompleteSignature,
  kInvalidSignature,
  kMissingAuthenticationToken,
  kUnrecognizedClient,
  kThrottling,
  kInternalFailure,
  kServiceUnavailable
};

// What a caller is told instead of an answer.
struct ApiError {
  ErrorType type;
  std::string message;

  friend bool operator==(const ApiError&, const ApiError&) = default;
};

// 400 for what the caller can correct, 500 or 503 otherwise.
[[nodiscard]] int status_of(ErrorType type);

// {"__type": "ResourceNotFound", "Message": ...} with its status.
[[nodiscard]] HttpResponse render_error(const ApiError& error);

// What the control plane itself refused.
[[nodiscard]] ApiError api_error_of(const Error& error);

struct Operation;

// As the SDKs know it: what is none of the errors that the model has for `operation` becomes a
// ValidationException with the same message.
[[nodiscard]] HttpResponse as_modelled(const Operation& operation, HttpResponse response);

}  // namespace holdfast::hyperpod

template <>
inline constexpr auto holdfast::kWords<holdfast::hyperpod::ErrorType> =
    std::to_array<std::string_view>(
        {"ValidationException", "SerializationException", "UnknownOperationException",
         "ResourceNotFound", "ResourceInUse", "ResourceLimitExceeded", "ConflictException",
         "AccessDeniedException", "IncompleteSignatureException", "InvalidSignatureException",
         "MissingAuthenticationTokenException", "UnrecognizedClientException",
         "ThrottlingException", "InternalFailure", "ServiceUnavailable"});
