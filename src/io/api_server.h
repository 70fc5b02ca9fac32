#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "model/http.h"

namespace holdfast {

struct ApiServerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;       // 0: a free one
  std::optional<TlsFiles> tls;  // none: plain HTTP. `ca` is not used: callers sign their requests

  std::size_t connections_max = 256;
  std::size_t head_bytes_max = 16 << 10;  // request line and headers
  std::size_t body_bytes_max = 1 << 20;
  // From its first byte (a connection's first request: from the connect) to its last; and for the
  // peer to take the answer.
  Duration request_max = seconds(15);
  Duration answer_max = seconds(15);
  Duration idle_max = seconds(60);  // between two requests
};

// The listener of the API that AWS's SDKs speak: HTTP/1.1 with requests as they were signed. It
// knows nobody: the handler verifies. No thread waits for a peer: a slow one costs a connection,
// for as long as the options say. Past connections_max the connection that has been idle for
// longest is closed; where none is idle, a new one is answered 503.
//
// Every answer has x-amzn-RequestId (HttpRequest::id). What never gets as far as the handler is
// answered as AWS does: {"__type": ..., "Message": ...}.
class ApiServer {
 public:
  // Called from up to 8 threads at once, and may block. What it throws becomes a 500.
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  // Serves until the object is destroyed. Errors: kPortInUse, kIo.
  [[nodiscard]] static Result<std::unique_ptr<ApiServer>> start(const ApiServerOptions& options,
                                                                Handler handler);
  // Requests that have arrived are answered first, for up to two seconds after their handlers.
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  [[nodiscard]] std::uint16_t port() const;

 private:
  struct Impl;
  explicit ApiServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast
