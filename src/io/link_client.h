#pragma once

// The agent's end of the link. Many clients in one process share gRPC's few threads.

#include <cstdint>
#include <memory>
#include <string>

#include "base/id.h"
#include "base/result.h"
#include "io/certificates.h"
#include "model/link.h"

namespace holdfast {

class LinkClient {
 public:
  struct Options {
    std::string server;  // host:port
    std::string ca_pem;
    Credentials credentials;        // an agent's
    std::uint64_t jitter_seed = 0;  // different per node: agents must not come back in step
  };

  // Called on gRPC's threads, one call at a time and in order; must not block, and must not destroy
  // the client. May call send.
  struct Listener {
    virtual ~Listener() = default;

    // The server accepted the certificate. It waits for a Hello: send it now, from any thread.
    virtual void on_connected() = 0;
    virtual void on_message(ServerMessage message) = 0;
    // A stream broke (then on_connected came before) or an attempt to connect failed; the next
    // attempt follows by itself. kUnauthenticated when the server refused us, else kUnavailable.
    virtual void on_disconnected(const Error& reason) = 0;
  };

  // Starts to connect, and connects again whenever the stream breaks, after 50 ms doubling to 1 s,
  // each shortened at random by up to half; the first message from the server resets it.
  // `listener` must outlive the client.
  LinkClient(Options options, Listener& listener);
  // Cancels the stream and waits until gRPC has let go of it; no call to the listener after it.
  // What was just sent may be lost.
  ~LinkClient();
  LinkClient(const LinkClient&) = delete;
  LinkClient& operator=(const LinkClient&) = delete;

  // Thread-safe, never blocks. False: dropped, since there is no stream, its Hello has not been
  // sent yet (so that a stray heartbeat is never the first message), or the message is over 8 MiB.
  // True is no promise of delivery: the next Hello tells all again. A stream with more than 16 MiB
  // queued is broken off.
  bool send(const AgentMessage& message);

 private:
  class Connector;
  std::unique_ptr<Connector> connector_;
};

struct JoinResult {
  NodeId node;
  Credentials credentials;
};

// Makes a key and has the server certify it. Blocks; tries for 10 s while the server does not
// answer. kUnavailable, kTokenExpired or kUnauthenticated.
Result<JoinResult> join(const std::string& server, const std::string& ca_pem,
                        const std::string& token);

}  // namespace holdfast
