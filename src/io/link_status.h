#pragma once

// Error <-> the status of an RPC: our code travels in the details, so that the other end sees the
// error that was made here and not a guess from gRPC's fewer codes.

#include <grpcpp/support/status.h>

#include "base/result.h"

namespace holdfast {

// In the initial metadata of a stream that the server lets in; gRPC sends metadata with a refusal
// too.
inline constexpr char kLinkAcceptedKey[] = "holdfast-accepted";

[[nodiscard]] grpc::Status to_status(const Error& error);

// For a status that gRPC made itself: kUnauthenticated or kUnavailable. OK counts as the latter:
// the other end has ended a stream that was not to end.
[[nodiscard]] Error from_status(const grpc::Status& status);

}  // namespace holdfast
