#include "io/http_client.h"

#include <chrono>
#include <thread>
#include <utility>

#define CPPHTTPLIB_OPENSSL_SUPPORT  // as Debian built the library
#include <httplib.h>
#include <openssl/ssl.h>

namespace holdfast {
namespace {

constexpr int kConnectSeconds = 3;
constexpr auto kDyingMax = std::chrono::milliseconds(300);  // from SIGKILL to closed sockets

}  // namespace

struct HttpClient::Impl {
  Impl(std::string host, std::uint16_t port, const TlsFiles& tls)
      : where(host + ":" + std::to_string(port)),
        host(host),
        port(port),
        tls(tls),
        client(host, port, tls.certificate, tls.key) {
    // A path, not a store: with a store the library adds the system's CAs to it.
    client.set_ca_cert_path(tls.ca);
    client.enable_server_certificate_verification(true);
    client.set_connection_timeout(kConnectSeconds);
    client.set_tcp_nodelay(true);
  }

  Result<void> prepare(Duration patience) {
    if (!client.is_valid())
      return Error{Errc::kIo, "cannot use " + tls.certificate + " and " + tls.key +
                                  "; check that they exist, are readable and belong together"};
    client.set_read_timeout(patience.ns / 1'000'000'000, patience.ns % 1'000'000'000 / 1000);
    return {};
  }

  // With TLS 1.3 a server refuses our certificate after our side of the handshake is done, and what
  // we see is a connection that breaks. With TLS 1.2 the handshake itself fails.
  // So does a server that is killed at this moment, whose last connections are broken off too: only
  // one that does it again a little later means us.
  [[nodiscard]] bool accepts_us() const {
    for (const auto wait : {std::chrono::milliseconds(0), kDyingMax}) {
      std::this_thread::sleep_for(wait);
      httplib::SSLClient probe(host, port, tls.certificate, tls.key);
      probe.set_ca_cert_path(tls.ca);
      probe.set_connection_timeout(kConnectSeconds);
      probe.set_read_timeout(kConnectSeconds);
      ::SSL_CTX_set_max_proto_version(probe.ssl_context(), TLS1_2_VERSION);
      if (probe.Head("/").error() != httplib::Error::SSLConnection) return true;
    }
    return false;
  }

  Result<HttpResponse> answer(const httplib::Result& result, Duration patience) const {
    if (result) return HttpResponse{result->status, result->body};
    switch (result.error()) {
      case httplib::Error::SSLServerVerification:
        return Error{Errc::kUnauthenticated, "the server at " + where +
                                                 " has no certificate of the CA in " + tls.ca +
                                                 "; another cluster may use this port"};
      case httplib::Error::SSLConnection:
        if (accepts_us()) return Error{Errc::kUnavailable, "the server at " + where + " went away"};
        return Error{Errc::kUnauthenticated, "the server at " + where +
                                                 " broke off the TLS handshake; check that " +
                                                 tls.certificate + " belongs to its cluster"};
      case httplib::Error::SSLLoadingCerts:
        return Error{Errc::kIo, "cannot read " + tls.ca + "; check that it exists"};
      case httplib::Error::Read:
      case httplib::Error::Write:
        if (!accepts_us())
          return Error{Errc::kUnauthenticated, "the server at " + where + " does not accept " +
                                                   tls.certificate +
                                                   "; use the state folder of its own cluster"};
        return Error{Errc::kUnavailable, "no answer from " + where + " within " +
                                             std::to_string(patience.ms()) +
                                             " ms, or it went away"};
      default:
        return Error{Errc::kUnavailable, "no control plane answers at " + where};
    }
  }

  std::string where;
  std::string host;
  std::uint16_t port;
  TlsFiles tls;
  httplib::SSLClient client;
};

HttpClient::HttpClient(std::string host, std::uint16_t port, const TlsFiles& tls)
    : impl_(std::make_unique<Impl>(std::move(host), port, tls)) {}

HttpClient::~HttpClient() = default;

Result<HttpResponse> HttpClient::get(const std::string& target, Duration patience) {
  HF_TRY_VOID(impl_->prepare(patience));
  return impl_->answer(impl_->client.Get(target), patience);
}

Result<HttpResponse> HttpClient::post(const std::string& target, const std::string& body,
                                      Duration patience) {
  HF_TRY_VOID(impl_->prepare(patience));
  return impl_->answer(impl_->client.Post(target, body, "application/json"), patience);
}

}  // namespace holdfast
