#pragma once

// The password with which a new machine asks for its certificate, for one node id and a short time.
// The server keeps no list of them: a token carries its own proof, an HMAC-SHA256 over cluster,
// node and expiry with a key derived from the CA's. It can be used again until it expires; the
// owner of the nodes decides whether the node may (still) join.

#include <string>
#include <string_view>

#include "base/id.h"
#include "base/result.h"
#include "base/time.h"
#include "io/certificates.h"

namespace holdfast {

// "n3.1767225600.9f86d081884c7d659a2feaa0c55ad015": node, expiry in unix seconds (rounded down),
// proof. Safe in a shell, a URL and an environment variable.
[[nodiscard]] std::string make_join_token(const ClusterCa& ca, NodeId node, WallTime expires);

// The node that the token is for. kTokenExpired, or kUnauthenticated for anything that this CA did
// not make.
Result<NodeId> verify_join_token(const ClusterCa& ca, std::string_view token, WallTime now);

}  // namespace holdfast
