#pragma once

// The control plane's end of the link: gRPC over mutual TLS, one stream per agent.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/id.h"
#include "base/result.h"
#include "io/certificates.h"
#include "model/link.h"

namespace holdfast {

class LinkServer {
 public:
  struct Options {
    std::string host = "127.0.0.1";  // address to listen on
    std::uint16_t port = 0;          // 0: any free one
    std::string ca_pem;
    Credentials credentials;  // a server's; its cluster is the one whose agents are let in
  };

  struct Joined {
    NodeId node;
    std::string certificate_pem;
  };

  // Called on gRPC's threads, several at once; must not block. May call the server's send and
  // close.
  struct Listener {
    virtual ~Listener() = default;

    // Authorises a machine that has no certificate yet.
    virtual Result<Joined> on_join(std::string_view token, std::string_view csr_pem) = 0;

    // The first of a stream is always a Hello from the node that the certificate names (it may come
    // again later). Calls about one stream come one at a time and in order.
    virtual void on_message(NodeId node, std::uint64_t stream, AgentMessage message) = 0;

    // The last call about a stream, once for each whose Hello was delivered.
    //
    // A node's newer stream supersedes its older one and has a greater number. Calls about the
    // older one can still come after the newer one's Hello: ignore a call whose number is below the
    // greatest seen of the node.
    virtual void on_disconnected(NodeId node, std::uint64_t stream) = 0;
  };

  // `listener` must outlive the server. kPortInUse; kIo when the address cannot be listened on;
  // kInvalidField for TLS material that is not usable.
  static Result<std::unique_ptr<LinkServer>> start(const Options& options, Listener& listener);

  // Stops accepting, tries to deliver what is queued, and has ended all streams within about 1 s;
  // no call to the listener after it.
  ~LinkServer();
  LinkServer(const LinkServer&) = delete;
  LinkServer& operator=(const LinkServer&) = delete;

  [[nodiscard]] std::uint16_t port() const;

  // All of these are thread-safe and never block.

  // To the node's newest stream. False: dropped, since there is none, it is closing, or the message
  // is over 8 MiB. True is no promise of delivery. A stream with more than 16 MiB queued is ended.
  bool send(NodeId node, const ServerMessage& message);
  // The same, only while `stream` is the node's newest.
  bool send_to(NodeId node, std::uint64_t stream, const ServerMessage& message);
  // Ends the stream once what was queued is sent; nothing happens when it is not the newest any
  // more.
  void close(NodeId node, std::uint64_t stream);

 private:
  class Service;
  explicit LinkServer(std::unique_ptr<Service> service);

  std::unique_ptr<Service> service_;
};

}  // namespace holdfast
