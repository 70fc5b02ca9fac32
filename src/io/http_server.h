#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "model/http.h"

namespace holdfast {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;  // 0: a free one
  TlsFiles tls;
};

// HTTPS for callers who show a certificate of the cluster's CA with OU=operator; everybody else is
// answered 401, or nothing when the handshake already fails.
class HttpServer {
 public:
  // Called from up to 16 threads at once; may block (long polls). What it throws becomes a 500.
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  // Serves until the object is destroyed. Errors: kPortInUse, kIo.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(const HttpServerOptions& options,
                                                                 Handler handler);
  // Returns when the last handler in progress has: end the long polls first.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] std::uint16_t port() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast
