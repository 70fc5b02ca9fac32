#include "io/join_token.h"

#include <openssl/crypto.h>

#include <charconv>
#include <cstdint>
#include <ctime>
#include <optional>

namespace holdfast {
namespace {

constexpr std::size_t kProofBytes = 16;  // half of the MAC: 128 bits are beyond guessing
constexpr std::int64_t kNsPerSecond = 1'000'000'000;

std::string proof_of(const ClusterCa& ca, std::string_view claim) {
  const std::string message = ca.cluster() + "/" + std::string(claim);
  const std::string mac = hmac_sha256(ca.derived_key("holdfast join token"), message);
  std::string hex;
  for (const unsigned char byte : mac.substr(0, kProofBytes)) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return hex;
}

std::string utc_text(std::int64_t unix_seconds) {
  const std::time_t time = unix_seconds;
  std::tm parts{};
  char text[32] = "a time out of range";
  if (gmtime_r(&time, &parts) != nullptr)
    std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Error not_ours() {
  return {Errc::kUnauthenticated,
          "the join token was not made by this cluster; is it complete, and is the server the one "
          "that made it?"};
}

}  // namespace

std::string make_join_token(const ClusterCa& ca, NodeId node, WallTime expires) {
  const std::string claim = to_string(node) + "." + std::to_string(expires.ns / kNsPerSecond);
  return claim + "." + proof_of(ca, claim);
}

Result<NodeId> verify_join_token(const ClusterCa& ca, std::string_view token, WallTime now) {
  const std::size_t proof_at = token.rfind('.');
  if (proof_at == std::string_view::npos) return not_ours();
  const std::string_view claim = token.substr(0, proof_at);
  const std::string_view proof = token.substr(proof_at + 1);
  const std::string expected = proof_of(ca, claim);
  if (proof.size() != expected.size() ||
      CRYPTO_memcmp(proof.data(), expected.data(), expected.size()) != 0)
    return not_ours();

  // We made it, so it parses; to be sure all the same costs nothing.
  const std::size_t expiry_at = claim.find('.');
  if (expiry_at == std::string_view::npos) return not_ours();
  const auto node = parse_node_id(claim.substr(0, expiry_at));
  std::int64_t expiry = 0;
  std::from_chars(claim.data() + expiry_at + 1, claim.data() + claim.size(), expiry);
  if (!node) return not_ours();
  if (now.ns / kNsPerSecond >= expiry) {
    return Error{Errc::kTokenExpired, "the join token of " + to_string(*node) + " expired at " +
                                          utc_text(expiry) +
                                          "; the server makes a new one whenever it provisions a "
                                          "node: restart the agent with that"};
  }
  return *node;
}

}  // namespace holdfast
