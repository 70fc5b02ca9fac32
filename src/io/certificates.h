#pragma once

// The cluster's own certificate authority: who is who on every TLS connection of a cluster. All
// keys are P-256. A certificate names its holder in the subject: CN the name (an agent's is its
// node id, "n3"), O the cluster's uuid, OU the role.

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/id.h"
#include "base/result.h"
#include "base/time.h"
#include "model/enum_text.h"

struct evp_pkey_st;
struct x509_st;

namespace holdfast {

enum class Role { kAgent, kServer, kOperator };
template <>
inline constexpr auto kWords<Role> = std::to_array<std::string_view>({"agent", "server",
                                                                      "operator"});

// What a certificate says of its holder.
struct Identity {
  std::string name;     // CN
  std::string cluster;  // O
  Role role = Role::kAgent;

  friend bool operator==(const Identity&, const Identity&) = default;
};

// What a TLS endpoint shows and proves.
struct Credentials {
  std::string certificate_pem;
  std::string key_pem;
};

// A key that never leaves its machine, and the request to have it certified.
struct CertificateRequest {
  std::string csr_pem;
  std::string key_pem;
};

// Immutable after creation: const members may be called from any thread.
class ClusterCa {
 public:
  // Makes a CA that is valid for ten years and writes ca.key and ca.crt (both 0600) into the
  // folder, which must exist. kWrongState where it already holds a CA, kIo when a file cannot be
  // written.
  static Result<ClusterCa> create(const std::filesystem::path& folder,
                                  std::string_view cluster_uuid, WallTime now);
  // kNotFound where the folder has no CA, kStateCorrupt when key and certificate do not fit.
  static Result<ClusterCa> load(const std::filesystem::path& folder);

  [[nodiscard]] const std::string& cluster() const { return cluster_; }
  [[nodiscard]] const std::string& certificate_pem() const { return certificate_pem_; }

  // A new key and its certificate, valid from 5 minutes before `now` (clocks differ) until
  // now + lifetime. A server's is for 127.0.0.1, localhost and `hosts` (addresses or names); the
  // other roles cannot pass for a server. kInvalidField for an empty name or a bad host.
  Result<Credentials> issue(std::string_view name, Role role, const std::vector<std::string>& hosts,
                            Duration lifetime, WallTime now) const;

  // Certifies the key of a request as an agent's. Whatever name the request has is ignored.
  // kUnparsable when it is no PEM request, kUnauthenticated when it is not signed with its own key.
  Result<std::string> sign(std::string_view csr_pem, NodeId node, Duration lifetime,
                           WallTime now) const;

  // A secret that only holders of the CA key can compute, one per purpose; 32 bytes.
  [[nodiscard]] std::string derived_key(std::string_view purpose) const;

 private:
  ClusterCa() = default;
  Result<std::string> certify(evp_pkey_st* key, std::string_view name, Role role,
                              const std::vector<std::string>& hosts, Duration lifetime,
                              WallTime now) const;

  std::shared_ptr<evp_pkey_st> key_;
  std::shared_ptr<x509_st> certificate_;
  std::string certificate_pem_;
  std::string cluster_;
};

Result<CertificateRequest> make_certificate_request();

// The subject of a PEM certificate. It does not say that the certificate can be trusted: that is
// for TLS, which verified it against the CA.
Result<Identity> read_identity(std::string_view certificate_pem);

// 32 bytes.
[[nodiscard]] std::string hmac_sha256(std::string_view key, std::string_view message);

// "n3" -> 3; none for anything else, "n0" and "n03" included.
std::optional<NodeId> parse_node_id(std::string_view text);

}  // namespace holdfast
