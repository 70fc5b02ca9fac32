#include "io/link_client.h"

#include <grpcpp/alarm.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/prng.h"
#include "io/link_codec.h"
#include "io/link_outbox.h"
#include "io/link_status.h"
#include "io/tls_memory.h"
#include "link.grpc.pb.h"

namespace holdfast {
namespace {

using ServerStream = grpc::ClientBidiReactor<wire::AgentEnvelope, wire::ServerEnvelope>;
using SystemClock = std::chrono::system_clock;  // gRPC's deadlines are in it

constexpr int kConnectMsMax = 10'000;  // TCP and TLS; a thousand agents may come at once
constexpr auto kJoinTime = std::chrono::seconds(10);

class Backoff {
 public:
  explicit Backoff(std::uint64_t seed) : prng_(seed) {}

  std::chrono::milliseconds next() {
    const std::uint64_t whole = std::exchange(ms_, std::min<std::uint64_t>(2 * ms_, 1000));
    return std::chrono::milliseconds(whole - prng_.below(whole / 2));
  }
  void reset() { ms_ = kFirstMs; }

 private:
  static constexpr std::uint64_t kFirstMs = 50;

  Prng prng_;
  std::uint64_t ms_ = kFirstMs;
};

// One channel serves one attempt to connect: gRPC's own back-off, which goes with the channel,
// never adds to ours.
std::shared_ptr<grpc::Channel> make_channel(
    const std::string& server, const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectMsMax);  // its name is misleading
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetMaxReceiveMessageSize(kLinkMessageBytesMax);
  prefer_x25519();
  return grpc::CreateCustomChannel(server, credentials, arguments);
}

std::shared_ptr<grpc::ChannelCredentials> tls_credentials(const std::string& ca_pem,
                                                          const Credentials& own) {
  return grpc::SslCredentials({ca_pem, own.key_pem, own.certificate_pem});
}

}  // namespace

// The reactor of one stream after the other. Either gRPC has a stream of it (until OnDone) or the
// alarm for the next one runs.
class LinkClient::Connector final : public ServerStream {
 public:
  Connector(Options options, Listener& listener)
      : server_(std::move(options.server)),
        credentials_(tls_credentials(options.ca_pem, options.credentials)),
        listener_(listener),
        backoff_(options.jitter_seed) {
    connect();
  }

  ~Connector() override {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    if (context_) context_->TryCancel();
    if (alarm_) alarm_->Cancel();
    all_done_.wait(lock, [this] { return stopped_; });
  }

  bool send(const AgentMessage& message) {
    auto envelope = to_wire(message);
    if (envelope.ByteSizeLong() > kLinkMessageBytesMax) return false;
    const std::lock_guard lock(mutex_);
    hello_sent_ = hello_sent_ || (open_ && envelope.has_hello());
    if (!open_ || !hello_sent_) return false;
    outbox_.push(std::move(envelope));
    if (outbox_.overfull()) {
      break_off({Errc::kUnavailable, "the server does not read what the agent sends"});
      return false;
    }
    write_next();
    return true;
  }

 private:
  void connect() {
    std::unique_ptr<wire::Link::Stub> older;  // goes when the new one holds gRPC's threads
    const std::lock_guard lock(mutex_);
    if (stopping_) return stop();
    older = std::exchange(stub_, wire::Link::NewStub(make_channel(server_, credentials_)));
    context_.emplace();
    stub_->async()->Stream(&*context_, this);
    StartCall();
  }

  void OnReadInitialMetadataDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      // A refusal has metadata too, but not the server's mark.
      if (!ok || stopping_ || context_->GetServerInitialMetadata().count(kLinkAcceptedKey) == 0)
        return;
      open_ = true;
      hello_sent_ = false;
    }
    listener_.on_connected();
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      const std::lock_guard lock(mutex_);
      open_ = false;
      return;
    }
    auto message = from_wire(incoming_);
    {
      const std::lock_guard lock(mutex_);
      if (!message.ok()) return break_off(message.error());
      if (stopping_) return;
      backoff_.reset();
    }
    listener_.on_message(std::move(*message));
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    outbox_.pop();
    if (ok) write_next();
  }

  void OnDone(const grpc::Status& status) override {
    Error reason = from_status(status);
    {
      const std::lock_guard lock(mutex_);
      open_ = false;
      outbox_.drop_all_but(0);
      if (stopping_) return stop();
      if (broken_off_) reason = *std::exchange(broken_off_, std::nullopt);
    }
    reason.detail = "link to " + server_ + ": " + reason.detail;
    listener_.on_disconnected(reason);
    const std::lock_guard lock(mutex_);
    if (stopping_) return stop();
    alarm_.emplace();
    alarm_->Set(SystemClock::now() + backoff_.next(), [this](bool) { connect(); });
  }

  // REQUIRES for all below: mutex_ is held.

  // gRPC is done with us; the destructor goes on once the mutex is free.
  void stop() {
    stopped_ = true;
    all_done_.notify_all();
  }
  void break_off(Error reason) {
    open_ = false;
    broken_off_ = std::move(reason);
    context_->TryCancel();
  }
  // While a stream is open there is a read under way, so gRPC cannot be done with it before we are.
  void write_next() {
    if (writing_ || !open_ || outbox_.empty()) return;
    writing_ = true;
    StartWrite(&outbox_.front());
  }

  const std::string server_;
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  Listener& listener_;
  wire::ServerEnvelope incoming_;

  std::mutex mutex_;
  std::condition_variable all_done_;
  Backoff backoff_;
  std::unique_ptr<wire::Link::Stub> stub_;
  std::optional<grpc::ClientContext> context_;
  std::optional<grpc::Alarm> alarm_;
  LinkOutbox<wire::AgentEnvelope> outbox_;
  std::optional<Error> broken_off_;  // why we cancelled the stream
  bool open_ = false;                // the server let us in
  bool hello_sent_ = false;
  bool writing_ = false;  // gRPC has outbox_.front()
  bool stopping_ = false;
  bool stopped_ = false;
};

LinkClient::LinkClient(Options options, Listener& listener)
    : connector_(std::make_unique<Connector>(std::move(options), listener)) {}
LinkClient::~LinkClient() = default;

bool LinkClient::send(const AgentMessage& message) {
  return connector_->send(message);
}

Result<JoinResult> join(const std::string& server, const std::string& ca_pem,
                        const std::string& token) {
  HF_TRY(auto request, make_certificate_request());
  wire::JoinRequest wire_request;
  wire_request.set_token(token);
  wire_request.set_csr_pem(request.csr_pem);
  wire::JoinReply reply;

  const auto deadline = SystemClock::now() + kJoinTime;
  const auto credentials = tls_credentials(ca_pem, /*own=*/{});
  Backoff backoff(std::hash<std::string>()(request.csr_pem));
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    const auto stub = wire::Link::NewStub(make_channel(server, credentials));
    const grpc::Status status = stub->Join(&context, wire_request, &reply);
    if (status.ok()) break;
    const auto pause = backoff.next();
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE &&
        SystemClock::now() + pause < deadline) {
      std::this_thread::sleep_for(pause);
      continue;
    }
    Error error = from_status(status);
    error.detail = "join " + server + ": " + error.detail;
    if (error.code == Errc::kUnavailable) {
      error.detail +=
          "; check that the server runs and that its address and CA certificate are the right ones";
    }
    return error;
  }
  return JoinResult{NodeId{reply.node()},
                    {std::move(*reply.mutable_certificate_pem()), std::move(request.key_pem)}};
}

}  // namespace holdfast
