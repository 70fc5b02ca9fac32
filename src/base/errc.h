#pragma once

#include <string_view>

// The one table of error codes. A new code only if a caller, or the person reading it, would react
// differently. Numbers are stable: scripts match on them. Each has a page in docs/errors/, which
// `holdfast explain HF1001` prints; a test holds table and pages together.
//
// Groups by what the reader does: HF1xxx correct the request, HF2xxx look at the cluster,
// HF3xxx look at this machine, HF4xxx security.
#define HF_ERRC_TABLE(X)                                                               \
  X(kInvalidField, "HF1001", "a field of the request has a value that is not allowed") \
  X(kUnknownField, "HF1002", "a field of the request is not known")                    \
  X(kNotFound, "HF1003", "no such thing")                                              \
  X(kNameExists, "HF1004", "the name is taken")                                        \
  X(kWrongState, "HF1005", "not possible in the present state")                        \
  X(kTooFewNodes, "HF1006", "the cluster has too few nodes for the request")           \
  X(kUnparsable, "HF1007", "the input could not be parsed")                            \
  X(kUnavailable, "HF2001", "the control plane does not answer")                       \
  X(kJobFailed, "HF2002", "the job ended without success")                             \
  X(kStaleAttempt, "HF2003", "a newer attempt of the job has taken over")              \
  X(kBreakerOpen, "HF2004", "too many nodes look bad at once")                         \
  X(kStoreUnavailable, "HF2005", "the object store does not answer")                   \
  X(kStateLocked, "HF3001", "another server uses this state folder")                   \
  X(kStateCorrupt, "HF3002", "the state folder cannot be trusted")                     \
  X(kPortInUse, "HF3003", "the port is in use")                                        \
  X(kIo, "HF3004", "the operating system refused an operation")                        \
  X(kDiskFull, "HF3005", "the disk is full")                                           \
  X(kDamaged, "HF3006", "a checkpoint does not verify")                                \
  X(kUnauthenticated, "HF4001", "the caller is not known to this cluster")             \
  X(kTokenExpired, "HF4002", "the join token has expired")                             \
  X(kStoreRefused, "HF4003", "the object store refuses the request")

namespace holdfast {

enum class Errc {
#define HF_ERRC_ENUM(name, code, summary) name,
  HF_ERRC_TABLE(HF_ERRC_ENUM)
#undef HF_ERRC_ENUM
};

// "HF1001" and the like.
[[nodiscard]] std::string_view code_of(Errc errc);
// One line, lower case, without a full stop.
[[nodiscard]] std::string_view summary_of(Errc errc);

}  // namespace holdfast
