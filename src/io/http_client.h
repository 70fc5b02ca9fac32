#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "model/http.h"

namespace holdfast {

// HTTPS to one server, which must show a certificate for `host` signed by the CA in `tls`. One
// thread at a time. The process must ignore SIGPIPE.
class HttpClient {
 public:
  HttpClient(std::string host, std::uint16_t port, const TlsFiles& tls);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // `target` is the encoded path with its query. `patience` bounds the wait for the answer. Any
  // HTTP status is a value. Errors: kUnavailable (nobody answers), kUnauthenticated (the two sides
  // do not trust each other), kIo (the files in `tls`).
  [[nodiscard]] Result<HttpResponse> get(const std::string& target, Duration patience);
  [[nodiscard]] Result<HttpResponse> post(const std::string& target, const std::string& body,
                                          Duration patience);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast
