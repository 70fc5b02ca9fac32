#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/result.h"
#include "engine/checkpoint/peer.h"
#include "io/certificates.h"
#include "io/unique_fd.h"

typedef struct ssl_ctx_st SSL_CTX;

namespace holdfast {

// What a node's snapshot server shows those of other nodes: the credentials of its agent.
struct PeerIdentity {
  std::string address;  // "host:port" where the others reach it
  std::string ca_pem;
  Credentials credentials;
};
[[nodiscard]] std::string write_peer_identity(const PeerIdentity& identity);
[[nodiscard]] Result<PeerIdentity> read_peer_identity(const std::string& text);

// TLS between the snapshot servers of one cluster, both ends proven to be agents of it. A peer that
// is silent for 90 s, or acknowledges nothing for 10 s, counts as gone. Thread-safe.
class PeerTls final : public engine::PeerConnector {
 public:
  static Result<std::unique_ptr<PeerTls>> make(const PeerIdentity& identity);
  ~PeerTls() override;

  Result<std::unique_ptr<engine::PeerStream>> connect(const std::string& address) override;

  // A port of the kernel's choice on this host (a numeric address), and "10.0.0.3:41234", what
  // connect() of another node takes.
  static Result<std::pair<UniqueFd, std::string>> listen(const std::string& host);
  // Calls serve for each peer, on a thread of its own each; never returns.
  [[noreturn]] void accept(const UniqueFd& listener,
                           const std::function<void(engine::PeerStream&)>& serve);

 private:
  PeerTls() = default;
  Result<std::unique_ptr<engine::PeerStream>> shake_hands(UniqueFd socket, bool is_server);

  std::string cluster_;
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_{nullptr, nullptr};
};

}  // namespace holdfast
