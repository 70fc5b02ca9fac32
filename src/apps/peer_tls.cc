#include "apps/peer_tls.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <climits>
#include <thread>

#include <nlohmann/json.hpp>

#include "base/os_error.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr int kConnectSeconds = 5;
constexpr int kSilentSeconds = 90;  // longer than a replica waits for another rank's save
constexpr unsigned kUnacknowledgedMs = 10'000;
constexpr std::size_t kReadBytes = std::size_t{256} * 1024;

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

Error tls_error(const std::string& what) {
  char text[256] = "no reason given";
  if (const unsigned long code = ::ERR_get_error(); code != 0)
    ::ERR_error_string_n(code, text, sizeof text);
  ::ERR_clear_error();
  return {Errc::kUnavailable, what + ": " + text};
}

Owned<BIO> reader_of(const std::string& text) {
  return {::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())),
          [](BIO* bio) { ::BIO_free(bio); }};
}

Owned<X509> certificate_of(const std::string& pem) {
  return {::PEM_read_bio_X509(reader_of(pem).get(), nullptr, nullptr, nullptr), &::X509_free};
}

std::string pem_of(X509* certificate) {
  const Owned<BIO> bio(::BIO_new(::BIO_s_mem()), [](BIO* b) { ::BIO_free(b); });
  ::PEM_write_bio_X509(bio.get(), certificate);
  char* text = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(length)};
}

class TlsStream final : public engine::PeerStream {
 public:
  TlsStream(UniqueFd socket, Owned<SSL> ssl) : socket_(std::move(socket)), ssl_(std::move(ssl)) {}

  Result<void> send(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const int n = ::SSL_write(ssl_.get(), bytes.data(), clamp(bytes.size()));
      if (n <= 0) return tls_error("a peer's connection broke");
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }

  Result<void> receive(std::span<std::byte> bytes) override {
    while (!bytes.empty()) {
      const int n = ::SSL_read(ssl_.get(), bytes.data(), clamp(bytes.size()));
      if (n <= 0) return tls_error("a peer's connection broke");
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }

 private:
  static int clamp(std::size_t size) {
    return static_cast<int>(std::min<std::size_t>(size, INT_MAX));
  }
  UniqueFd socket_;
  Owned<SSL> ssl_;
};

void set_timeouts(int socket, int seconds) {
  const timeval time{.tv_sec = seconds, .tv_usec = 0};
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
  const int on = 1, idle = 5, interval = 2, count = 3;
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
  ::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUnacknowledgedMs, sizeof kUnacknowledgedMs);
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Result<Owned<addrinfo>> resolve(const std::string& host, const std::string& port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0)
    return Error{Errc::kUnavailable, "address: " + host + ": " + ::gai_strerror(error)};
  return Owned<addrinfo>(found, &::freeaddrinfo);
}

}  // namespace

std::string write_peer_identity(const PeerIdentity& identity) {
  return json{{"address", identity.address},
              {"ca", identity.ca_pem},
              {"certificate", identity.credentials.certificate_pem},
              {"key", identity.credentials.key_pem}}
      .dump();
}

Result<PeerIdentity> read_peer_identity(const std::string& text) {
  const json value = parse_json_text(text);
  PeerIdentity identity;
  for (const auto& [name, field] :
       {std::pair("address", &identity.address), std::pair("ca", &identity.ca_pem),
        std::pair("certificate", &identity.credentials.certificate_pem),
        std::pair("key", &identity.credentials.key_pem)}) {
    if (!value.is_object() || !value.contains(name) || !value[name].is_string())
      return Error{Errc::kUnparsable, std::string("the identity of this node has no ") + name};
    *field = value[name].get<std::string>();
  }
  return identity;
}

Result<std::unique_ptr<PeerTls>> PeerTls::make(const PeerIdentity& identity) {
  std::unique_ptr<PeerTls> made(new PeerTls);
  HF_TRY(const Identity self, read_identity(identity.credentials.certificate_pem));
  made->cluster_ = self.cluster;
  made->context_ = {::SSL_CTX_new(::TLS_method()), &::SSL_CTX_free};
  SSL_CTX* context = made->context_.get();
  const Owned<X509> certificate = certificate_of(identity.credentials.certificate_pem);
  const Owned<X509> ca = certificate_of(identity.ca_pem);
  const Owned<EVP_PKEY> key(::PEM_read_bio_PrivateKey(reader_of(identity.credentials.key_pem).get(),
                                                      nullptr, nullptr, nullptr),
                            &::EVP_PKEY_free);
  if (context == nullptr || !certificate || !ca || !key ||
      ::SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      ::SSL_CTX_use_certificate(context, certificate.get()) != 1 ||
      ::SSL_CTX_use_PrivateKey(context, key.get()) != 1 ||
      ::X509_STORE_add_cert(::SSL_CTX_get_cert_store(context), ca.get()) != 1)
    return tls_error("this node's certificate cannot be used for its peers");
  ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  // Both ends are agents, whose certificates are for clients.
  ::X509_VERIFY_PARAM_set_purpose(::SSL_CTX_get0_param(context), X509_PURPOSE_SSL_CLIENT);
  ::SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY);
  // Several records at a time; else each takes two calls of the kernel.
  ::SSL_CTX_set_read_ahead(context, 1);
  ::SSL_CTX_set_default_read_buffer_len(context, kReadBytes);
  return made;
}

PeerTls::~PeerTls() = default;

Result<std::unique_ptr<engine::PeerStream>> PeerTls::shake_hands(UniqueFd socket, bool is_server) {
  set_timeouts(socket.get(), kConnectSeconds);
  Owned<SSL> ssl(::SSL_new(context_.get()), &::SSL_free);
  if (!ssl || ::SSL_set_fd(ssl.get(), socket.get()) != 1) return tls_error("no TLS with a peer");
  if ((is_server ? ::SSL_accept(ssl.get()) : ::SSL_connect(ssl.get())) != 1)
    return tls_error("no TLS with a peer");
  const Owned<X509> certificate(::SSL_get1_peer_certificate(ssl.get()), &::X509_free);
  if (!certificate) return tls_error("a peer has no certificate");
  HF_TRY(const Identity peer, read_identity(pem_of(certificate.get())));
  if (peer.role != Role::kAgent || peer.cluster != cluster_)
    return Error{Errc::kUnauthenticated, "a peer is no agent of this cluster"};
  set_timeouts(socket.get(), kSilentSeconds);
  return std::unique_ptr<engine::PeerStream>(
      std::make_unique<TlsStream>(std::move(socket), std::move(ssl)));
}

Result<std::unique_ptr<engine::PeerStream>> PeerTls::connect(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos)
    return Error{Errc::kInvalidField, "address: " + address + " is not HOST:PORT"};
  HF_TRY(const auto found, resolve(address.substr(0, colon), address.substr(colon + 1), 0));
  UniqueFd socket(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return os_error("cannot make a socket for", address, errno);
  set_timeouts(socket.get(), kConnectSeconds);
  if (::connect(socket.get(), found->ai_addr, found->ai_addrlen) != 0)
    return os_error("cannot reach", address, errno);
  return shake_hands(std::move(socket), false);
}

Result<std::pair<UniqueFd, std::string>> PeerTls::listen(const std::string& host) {
  HF_TRY(const auto found, resolve(host, "0", AI_NUMERICHOST | AI_PASSIVE));
  UniqueFd listener(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener || ::bind(listener.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(listener.get(), 512) != 0)
    return os_error("cannot listen on", host, errno);
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  char port[16] = {};
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&bound), &length);
  ::getnameinfo(reinterpret_cast<sockaddr*>(&bound), length, nullptr, 0, port, sizeof port,
                NI_NUMERICSERV);
  return std::pair(std::move(listener), host + ":" + port);
}

void PeerTls::accept(const UniqueFd& listener,
                     const std::function<void(engine::PeerStream&)>& serve) {
  while (true) {
    UniqueFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) {
      // Out of descriptors, most likely: one that ends frees its own.
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      continue;
    }
    std::thread([this, &serve, peer = std::make_shared<UniqueFd>(std::move(socket))] {
      const auto stream = shake_hands(std::move(*peer), true);
      if (stream.ok()) serve(**stream);
    }).detach();
  }
}

}  // namespace holdfast
