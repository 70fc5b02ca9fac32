#include "io/link_status.h"

#include <string>
#include <string_view>

namespace holdfast {
namespace {

// HTTP/2 headers carry it, percent-encoded, and peers take 8 KiB of those.
constexpr std::size_t kDetailBytesMax = 1024;

grpc::StatusCode grpc_code(Errc code) {
  switch (code) {
    case Errc::kUnauthenticated:
    case Errc::kTokenExpired:
      return grpc::StatusCode::UNAUTHENTICATED;
    case Errc::kUnavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case Errc::kUnparsable:
      return grpc::StatusCode::INVALID_ARGUMENT;
    default:
      return grpc::StatusCode::FAILED_PRECONDITION;
  }
}

}  // namespace

grpc::Status to_status(const Error& error) {
  return {grpc_code(error.code), error.detail.substr(0, kDetailBytesMax),
          std::string(code_of(error.code))};
}

Error from_status(const grpc::Status& status) {
  const std::string details = status.error_details();
#define HF_ERRC_FROM_CODE(name, code, summary) \
  if (details == code) return {Errc::name, status.error_message()};
  HF_ERRC_TABLE(HF_ERRC_FROM_CODE)
#undef HF_ERRC_FROM_CODE
  if (status.ok()) return {Errc::kUnavailable, "the server ended the stream"};
  return {status.error_code() == grpc::StatusCode::UNAUTHENTICATED ? Errc::kUnauthenticated
                                                                   : Errc::kUnavailable,
          status.error_message()};
}

}  // namespace holdfast
