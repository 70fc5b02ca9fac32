#include "io/link_server.h"

#include <grpcpp/security/auth_context.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "io/files.h"
#include "io/link_codec.h"
#include "io/link_outbox.h"
#include "io/link_status.h"
#include "io/tls_memory.h"
#include "io/unique_fd.h"
#include "link.grpc.pb.h"

namespace holdfast {
namespace {

using Bytes = std::string_view;
using AgentStream = grpc::ServerBidiReactor<wire::AgentEnvelope, wire::ServerEnvelope>;

constexpr int kHandshakeMsMax = 10'000;  // who only connects holds a connection no longer than this
// A heartbeat of an agent is some 100 bytes, and there may be 10,000 of them that say no more for
// hours. These are held for each stream at all times; more is taken for as long as it is needed.
constexpr int kTlsFrameBytes = 2048, kReadChunkBytes = 1024;
constexpr auto kShutdownGrace = std::chrono::milliseconds(500);

Error unauthenticated(std::string detail) {
  return {Errc::kUnauthenticated, std::move(detail)};
}

// TLS has verified the certificate against the cluster's CA, if there is one.
Result<NodeId> authenticated_node(const grpc::AuthContext& context, std::string_view cluster) {
  const auto certificates = context.FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (certificates.empty()) {
    return unauthenticated(
        "no client certificate was shown; join first: start the agent with a join token");
  }
  const auto identity = read_identity(Bytes(certificates[0].data(), certificates[0].size()));
  if (!identity.ok()) return unauthenticated(identity.error().detail);
  if (identity->role != Role::kAgent || identity->cluster != cluster) {
    return unauthenticated("the certificate is of " + std::string(word_of(identity->role)) + " \"" +
                           identity->name + "\" of cluster \"" + identity->cluster +
                           "\", not of an agent of this cluster; join again with a new token");
  }
  const auto node = parse_node_id(identity->name);
  if (!node) {
    return unauthenticated("certificate name \"" + identity->name +
                           "\" is not a node id; join again with a new token");
  }
  return *node;
}

class Refusal final : public AgentStream {
 public:
  explicit Refusal(const Error& error) { Finish(to_status(error)); }
  void OnDone() override { delete this; }
};

struct FreeAddresses {
  void operator()(addrinfo* addresses) const { ::freeaddrinfo(addresses); }
};

// Why gRPC, which does not tell, could not listen. Success: the address is not the reason.
Result<void> try_to_bind(const std::string& host, std::uint16_t port) {
  const std::string where = host + ":" + std::to_string(port);
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int number = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
      number != 0) {
    return Error{Errc::kIo, "cannot listen on " + where + ": " + ::gai_strerror(number) +
                                "; give an address of this machine"};
  }
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(found);
  const UniqueFd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0 && ::listen(fd.get(), 1) == 0)
    return {};
  if (errno == EADDRINUSE) {
    return Error{Errc::kPortInUse,
                 "cannot listen on " + where +
                     ": the port is in use; stop the program that has it (ss -ltnp "
                     "shows it) or choose another port"};
  }
  return os_error("cannot listen on", where, errno);
}

}  // namespace

class LinkServer::Service final : public wire::Link::CallbackService {
 public:
  Service(std::string cluster, Listener& listener)
      : cluster_(std::move(cluster)), listener_(listener) {}
  ~Service() override;

  Result<void> listen(const Options& options);
  [[nodiscard]] std::uint16_t port() const { return static_cast<std::uint16_t>(port_); }

  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context,
                                 const wire::JoinRequest* request, wire::JoinReply* reply) override;
  AgentStream* Stream(grpc::CallbackServerContext* context) override;

  // To the node's newest stream, if it has the number, where one is given.
  bool send(NodeId node, std::optional<std::uint64_t> number, const ServerMessage& message);
  void close(NodeId node, std::uint64_t number);

 private:
  class Connection;
  struct Newest {
    std::uint64_t number = 0;
    std::shared_ptr<Connection> connection;
  };

  std::shared_ptr<Connection> find(NodeId node, std::optional<std::uint64_t> number);
  // Makes it the node's newest. 0 when the server is going down, else its number.
  std::uint64_t admit(NodeId node, const std::shared_ptr<Connection>& connection);
  void remove(NodeId node, std::uint64_t number);
  void connection_done();

  const std::string cluster_;
  Listener& listener_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  std::mutex mutex_;
  std::condition_variable all_done_;
  std::map<NodeId, Newest> newest_;
  std::uint64_t last_number_ = 0;
  std::size_t live_ = 0;  // connections that gRPC has not let go of
  bool stopping_ = false;
};

// One stream. gRPC owns it until OnDone; whoever sends on it shares it.
class LinkServer::Service::Connection final : public AgentStream {
 public:
  static Connection* start(Service& service, grpc::CallbackServerContext& context, NodeId node) {
    auto connection = std::shared_ptr<Connection>(new Connection(service, context, node));
    connection->self_ = connection;
    context.AddInitialMetadata(kLinkAcceptedKey, "1");
    connection->StartSendInitialMetadata();
    connection->StartRead(&connection->incoming_);
    return connection.get();
  }

  bool send(wire::ServerEnvelope envelope) {
    const std::lock_guard lock(mutex_);
    if (ending_) return false;
    outbox_.push(std::move(envelope));
    if (outbox_.overfull()) {
      end_locked({Errc::kUnavailable, "the agent does not read what the server sends"}, kAtOnce);
      return false;
    }
    write_or_finish();
    return true;
  }

  enum When { kAtOnce, kWhenSent };
  void end(const Error& reason, When when) {
    const std::lock_guard lock(mutex_);
    end_locked(reason, when);
  }

 private:
  Connection(Service& service, grpc::CallbackServerContext& context, NodeId node)
      : service_(service), context_(context), node_(node) {}

  void OnReadDone(bool ok) override {
    if (!ok) return end({Errc::kUnavailable, "the agent is gone"}, kAtOnce);
    auto message = from_wire(incoming_);
    if (!message.ok()) return end(message.error(), kAtOnce);
    if (const auto refusal = refuse(*message)) return end(*refusal, kAtOnce);
    service_.listener_.on_message(node_, number_, std::move(*message));
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    outbox_.pop();
    if (!ok) end_locked({Errc::kUnavailable, "the agent is gone"}, kAtOnce);
    write_or_finish();
  }

  void OnDone() override {
    const auto self = std::move(self_);  // lives until the end of this
    if (number_ != 0) {
      service_.remove(node_, number_);
      service_.listener_.on_disconnected(node_, number_);
    }
    service_.connection_done();
  }

  // The first message makes the stream the node's own; each Hello must be the node's own.
  std::optional<Error> refuse(const AgentMessage& message) {
    const auto* hello = std::get_if<agent_message::Hello>(&message);
    if (hello != nullptr && hello->node != node_) {
      return unauthenticated("Hello of " + to_string(hello->node) + " with the certificate of " +
                             to_string(node_) + "; start the agent with its own certificate");
    }
    if (number_ != 0) return std::nullopt;
    if (hello == nullptr)
      return Error{Errc::kUnparsable, "the first message of a stream must be a Hello"};
    number_ = service_.admit(node_, self_);
    if (number_ == 0) return Error{Errc::kUnavailable, "the server is going down"};
    return std::nullopt;
  }

  void end_locked(const Error& reason, When when) {
    if (when == kAtOnce) {
      outbox_.drop_all_but(writing_ ? 1 : 0);
      if (writing_)
        context_.TryCancel();  // else it can wait for ever for a peer that does not read
    }
    if (ending_) return;
    ending_ = to_status(reason);
    write_or_finish();
  }

  void write_or_finish() {
    if (writing_ || finished_) return;
    if (!outbox_.empty()) {
      writing_ = true;
      StartWrite(&outbox_.front());
    } else if (ending_) {
      finished_ = true;
      Finish(*ending_);
    }
  }

  Service& service_;
  grpc::CallbackServerContext& context_;
  const NodeId node_;
  std::shared_ptr<Connection> self_;
  wire::AgentEnvelope incoming_;
  std::uint64_t number_ = 0;  // 0 until its Hello; only for gRPC's calls, which are in order

  std::mutex mutex_;
  LinkOutbox<wire::ServerEnvelope> outbox_;
  bool writing_ = false;   // gRPC has outbox_.front()
  bool finished_ = false;  // Finish was called
  std::optional<grpc::Status> ending_;
};

LinkServer::Service::~Service() {
  std::map<NodeId, Newest> newest;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    newest = newest_;
  }
  for (const auto& [node, entry] : newest)
    entry.connection->end({Errc::kUnavailable, "the server is going down"}, Connection::kWhenSent);
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  std::unique_lock lock(mutex_);
  all_done_.wait(lock, [this] { return live_ == 0; });
}

Result<void> LinkServer::Service::listen(const Options& options) {
  keep_idle_tls_small();
  grpc::SslServerCredentialsOptions tls(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  tls.pem_root_certs = options.ca_pem;
  tls.pem_key_cert_pairs.push_back(
      {options.credentials.key_pem, options.credentials.certificate_pem});

  const bool is_v6 = options.host.find(':') != std::string::npos;
  const std::string host = is_v6 ? "[" + options.host + "]" : options.host;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(host + ":" + std::to_string(options.port),
                           grpc::SslServerCredentials(tls), &port_);
  builder.RegisterService(this);
  builder.SetMaxReceiveMessageSize(kLinkMessageBytesMax);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // or two servers share a port
  builder.AddChannelArgument(GRPC_ARG_TSI_MAX_FRAME_SIZE, kTlsFrameBytes);
  // What each connection and call would hold for nothing: its history, and what compresses or has
  // a deadline.
  for (const char* unused :
       {GRPC_ARG_ENABLE_CHANNELZ, GRPC_ARG_ENABLE_DEADLINE_CHECKS,
        GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION})
    builder.AddChannelArgument(unused, 0);
  builder.AddChannelArgument(GRPC_ARG_TCP_READ_CHUNK_SIZE, kReadChunkBytes);
  builder.AddChannelArgument(GRPC_ARG_TCP_MIN_READ_CHUNK_SIZE, kReadChunkBytes);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMsMax);
  server_ = builder.BuildAndStart();
  if (server_ != nullptr) return {};
  HF_TRY_VOID(try_to_bind(options.host, options.port));
  return Error{
      Errc::kInvalidField,
      "the server's certificate, its key and the CA's certificate are not usable together; "
      "issue new ones"};
}

grpc::ServerUnaryReactor* LinkServer::Service::Join(grpc::CallbackServerContext* context,
                                                    const wire::JoinRequest* request,
                                                    wire::JoinReply* reply) {
  auto joined = listener_.on_join(request->token(), request->csr_pem());
  if (joined.ok()) {
    reply->set_node(joined->node.value);
    reply->set_certificate_pem(std::move(joined->certificate_pem));
  }
  auto* reactor = context->DefaultReactor();
  reactor->Finish(joined.ok() ? grpc::Status::OK : to_status(joined.error()));
  return reactor;
}

AgentStream* LinkServer::Service::Stream(grpc::CallbackServerContext* context) {
  const auto node = authenticated_node(*context->auth_context(), cluster_);
  if (!node.ok()) return new Refusal(node.error());
  {
    const std::lock_guard lock(mutex_);
    ++live_;
  }
  return Connection::start(*this, *context, *node);
}

std::shared_ptr<LinkServer::Service::Connection> LinkServer::Service::find(
    NodeId node, std::optional<std::uint64_t> number) {
  const std::lock_guard lock(mutex_);
  const auto found = newest_.find(node);
  if (found == newest_.end() || (number && found->second.number != *number)) return nullptr;
  return found->second.connection;
}

bool LinkServer::Service::send(NodeId node, std::optional<std::uint64_t> number,
                               const ServerMessage& message) {
  const auto connection = find(node, number);
  if (connection == nullptr) return false;
  auto envelope = to_wire(message);
  return envelope.ByteSizeLong() <= kLinkMessageBytesMax && connection->send(std::move(envelope));
}

void LinkServer::Service::close(NodeId node, std::uint64_t number) {
  if (const auto connection = find(node, number)) {
    connection->end({Errc::kUnavailable, "the server closed the stream"}, Connection::kWhenSent);
  }
}

std::uint64_t LinkServer::Service::admit(NodeId node,
                                         const std::shared_ptr<Connection>& connection) {
  Newest entry{0, connection};
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return 0;
    entry.number = number = ++last_number_;
    std::swap(newest_[node], entry);
  }
  if (entry.connection != nullptr) {
    entry.connection->end({Errc::kUnavailable, to_string(node) + " has opened another stream"},
                          Connection::kAtOnce);
  }
  return number;
}

void LinkServer::Service::remove(NodeId node, std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = newest_.find(node);
  if (found != newest_.end() && found->second.number == number) newest_.erase(found);
}

void LinkServer::Service::connection_done() {
  const std::lock_guard lock(mutex_);
  --live_;
  all_done_.notify_all();
}

LinkServer::LinkServer(std::unique_ptr<Service> service) : service_(std::move(service)) {}
LinkServer::~LinkServer() = default;

Result<std::unique_ptr<LinkServer>> LinkServer::start(const Options& options, Listener& listener) {
  const auto identity = read_identity(options.credentials.certificate_pem);
  if (!identity.ok() || identity->role != Role::kServer) {
    return Error{Errc::kInvalidField,
                 "credentials: not a server's certificate; issue one with role server"};
  }
  auto service = std::make_unique<Service>(identity->cluster, listener);
  HF_TRY_VOID(service->listen(options));
  return std::unique_ptr<LinkServer>(new LinkServer(std::move(service)));
}

std::uint16_t LinkServer::port() const {
  return service_->port();
}

bool LinkServer::send(NodeId node, const ServerMessage& message) {
  return service_->send(node, std::nullopt, message);
}

bool LinkServer::send_to(NodeId node, std::uint64_t stream, const ServerMessage& message) {
  return service_->send(node, stream, message);
}

void LinkServer::close(NodeId node, std::uint64_t stream) {
  service_->close(node, stream);
}

}  // namespace holdfast
