#include "io/http_server.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#define CPPHTTPLIB_OPENSSL_SUPPORT  // as Debian built the library
#include <httplib.h>

namespace holdfast {
namespace {

constexpr int kThreads = 16;
constexpr std::size_t kBodyMax = 2 << 20;

bool is_operator(const SSL* ssl) {
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(ssl),
                                                                &X509_free);
  if (!certificate) return false;
  char unit[64] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_organizationalUnitName,
                            unit, sizeof unit);
  return std::string_view(unit) == "operator";
}

std::string error_body(const std::string& code, const std::string& message) {
  return R"({"error":{"code":")" + code + R"(","message":")" + message +
         R"(","explain":"holdfast explain )" + code + "\"}}";
}

// For what httplib refuses by itself, before any handler sees it.
void explain_refusal(const httplib::Request&, httplib::Response& response) {
  if (!response.body.empty()) return;
  std::string body;
  if (response.status == 413)
    body = error_body("HF1007", "the body is larger than 2 MiB; send less");
  else if (response.status == 404)
    body = error_body("HF1003", "no such address; use GET or POST on /v1/...");
  else if (response.status < 500)
    body = error_body("HF1007", "not a well-formed HTTP request");
  else
    body = error_body("HF3004", "the control plane failed on this request; look at its log");
  response.set_content(body, "application/json");
}

}  // namespace

struct HttpServer::Impl {
  explicit Impl(const TlsFiles& tls)
      : server(tls.certificate.c_str(), tls.key.c_str(), tls.ca.c_str()) {}

  httplib::SSLServer server;
  std::uint16_t port = 0;
  std::atomic<bool> ended = false;
  std::thread thread;
};

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpServerOptions& options,
                                                      Handler handler) {
  auto impl = std::make_unique<Impl>(options.tls);
  httplib::SSLServer& server = impl->server;
  if (!server.is_valid())
    return Error{Errc::kIo, "cannot use the TLS files " + options.tls.certificate + ", " +
                                options.tls.key + ", " + options.tls.ca +
                                "; check that they exist, are readable and belong together"};
  SSL_CTX_set_min_proto_version(server.ssl_context(), TLS1_2_VERSION);
  server.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server.set_payload_max_length(kBodyMax);
  // A connection holds a thread for as long as it is kept alive.
  server.set_keep_alive_max_count(1);
  server.set_tcp_nodelay(true);
  // The library's default adds SO_REUSEPORT, with which two servers share a port unnoticed.
  server.set_socket_options([](socket_t socket) {
    const int on = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  server.set_error_handler(explain_refusal);
  server.set_exception_handler([](const auto&, httplib::Response& response, std::exception_ptr) {
    response.status = 500;  // explained above
  });
  server.set_pre_routing_handler([](const httplib::Request& request, httplib::Response& response) {
    if (request.ssl != nullptr && is_operator(request.ssl))
      return httplib::Server::HandlerResponse::Unhandled;
    response.status = 401;
    response.set_content(
        error_body("HF4001", "the certificate is not an operator's; use client/operator.crt"),
        "application/json");
    return httplib::Server::HandlerResponse::Handled;
  });
  const auto serve = [handler = std::move(handler)](const httplib::Request& request,
                                                    httplib::Response& response) {
    HttpRequest in{request.method, request.path, {}, request.body};
    for (const auto& [name, value] : request.params) in.query.emplace(name, value);
    HttpResponse out = handler(in);
    response.status = out.status;
    response.set_content(std::move(out.body), out.type);
  };
  server.Get(".*", serve);
  server.Post(".*", serve);

  const int port = options.port == 0
                       ? server.bind_to_any_port(options.host)
                       : (server.bind_to_port(options.host, options.port) ? options.port : -1);
  if (port <= 0) {
    const std::string where = options.host + ":" + std::to_string(options.port);
    if (errno == EADDRINUSE)
      return Error{Errc::kPortInUse, "port " + where +
                                         " is in use; stop what uses it or choose another, 0 "
                                         "takes a free one"};
    return Error{Errc::kIo, "cannot listen on " + where + ": " + std::strerror(errno) +
                                "; give an address of this machine"};
  }
  impl->port = static_cast<std::uint16_t>(port);
  impl->thread = std::thread([&impl = *impl] {
    impl.server.listen_after_bind();
    impl.ended = true;
  });
  // The library's stop() does nothing before this.
  while (!server.is_running() && !impl->ended) std::this_thread::yield();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() {
  impl_->server.stop();
  impl_->thread.join();
}

std::uint16_t HttpServer::port() const {
  return impl_->port;
}

}  // namespace holdfast
