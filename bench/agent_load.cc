// Plays N agents against a real control plane: N gRPC streams under mutual TLS, each with a Hello
// and then a heartbeat every second, spread over the second. Usage: agent_load STATE N
//
// Makes STATE the folder of a cluster of N nodes whose machines are not the server's to start, says
// "prepared", and then answers lines on its standard input:
//
//   connect       opens the streams; "connected" once the server has welcomed every node
//   streams       "streams OPEN BROKEN": how many are open now, and how many broke by themselves
//   stop 3 17     these nodes fall silent: "stopped NODE AT_NS LAST_HEARTBEAT_NS" for each, in
//                 CLOCK_MONOTONIC
//
// bench/control_plane.py drives it and has the clock on the other end.

#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/read_until.hpp>
#include <asio/steady_timer.hpp>

#include "apps/server_config.h"
#include "apps/up.h"
#include "io/certificates.h"
#include "io/clock.h"
#include "io/link_client.h"

namespace holdfast {
namespace {

constexpr auto kHeartbeatEvery = std::chrono::seconds(1);
constexpr Duration kCertificateLifetime = minutes(60);
constexpr std::uint32_t kHandshakesAtOnce = 32;   // both ends share this machine's cores
constexpr std::uint16_t kRendezvousPort = 29500;  // nobody listens there: no job is started

// One node. gRPC's threads only post; everything else is on the loop's thread.
class Agent final : public LinkClient::Listener {
 public:
  Agent(asio::io_context& loop, NodeId id, std::uint32_t agents, std::function<void()> on_member)
      : loop_(loop),
        id_(id),
        first_beat_(std::chrono::nanoseconds(kHeartbeatEvery) * id.value / agents),
        on_member_(std::move(on_member)),
        timer_(loop) {}

  void open(const std::string& server, const std::string& ca_pem, Credentials credentials) {
    client_ = std::make_unique<LinkClient>(
        LinkClient::Options{server, ca_pem, std::move(credentials), id_.value}, *this);
  }

  // As of now nothing is heard of the node.
  void stop(std::ostream& out) {
    const std::int64_t at = monotonic_ns();
    timer_.cancel();
    client_.reset();
    open_ = false;
    out << "stopped " << id_.value << ' ' << at << ' ' << last_beat_ns_ << '\n';
  }

  [[nodiscard]] bool is_open() const { return open_; }
  [[nodiscard]] std::uint32_t broken() const { return broken_; }

 private:
  void on_connected() override {
    asio::post(loop_, [this] {
      if (client_ == nullptr) return;
      client_->send(agent_message::Hello{.node = id_,
                                         .address = "127.0.0.1",
                                         .rendezvous_port = kRendezvousPort,
                                         .pid = ::getpid(),
                                         .cpus = 1,
                                         .memory_bytes = 1 << 30});
    });
  }

  void on_message(ServerMessage message) override {
    if (!std::holds_alternative<server_message::Welcome>(message)) return;
    asio::post(loop_, [this] {
      open_ = client_ != nullptr;
      if (!open_ || last_beat_ns_ != 0) return;
      last_beat_ns_ = monotonic_ns();  // the Hello was one
      timer_.expires_after(first_beat_);
      beat_later();
      on_member_();
    });
  }

  void on_disconnected(const Error& reason) override {
    asio::post(loop_, [this, reason] {
      if (open_) std::cerr << to_string(id_) << ": " << reason.text() << std::endl;
      broken_ += open_;
      open_ = false;
    });
  }

  void beat_later() {
    timer_.async_wait([this](const asio::error_code& error) {
      if (error || client_ == nullptr) return;
      last_beat_ns_ = monotonic_ns();
      client_->send(agent_message::Heartbeat{.rendezvous_port = kRendezvousPort});
      timer_.expires_at(timer_.expiry() + kHeartbeatEvery);
      beat_later();
    });
  }

  asio::io_context& loop_;
  const NodeId id_;
  const std::chrono::nanoseconds first_beat_;
  const std::function<void()> on_member_;
  asio::steady_timer timer_;
  std::int64_t last_beat_ns_ = 0;
  bool open_ = false;
  std::uint32_t broken_ = 0;
  std::unique_ptr<LinkClient> client_;  // last: its threads call into the rest
};

class Load {
 public:
  Load(ServerConfig config, ClusterCa ca)
      : config_(std::move(config)), ca_(std::move(ca)), input_(loop_, ::dup(STDIN_FILENO)) {
    for (std::uint32_t i = 1; i <= config_.spec.nodes(); ++i)
      agents_.push_back(
          std::make_unique<Agent>(loop_, NodeId{i}, config_.spec.nodes(), [this] { joined(); }));
  }

  // Until the standard input ends.
  void run() {
    read_line();
    loop_.run();
  }

 private:
  void read_line() {
    asio::async_read_until(input_, asio::dynamic_buffer(line_), '\n',
                           [this](const asio::error_code& error, std::size_t size) {
                             if (error) return loop_.stop();
                             obey(std::istringstream(line_.substr(0, size)));
                             line_.erase(0, size);
                             read_line();
                           });
  }

  void obey(std::istringstream words) {
    std::string command;
    words >> command;
    if (command == "connect")
      for (std::uint32_t i = 0; i < kHandshakesAtOnce; ++i) open_next();
    if (command == "streams") {
      std::uint32_t open = 0, broken = 0;
      for (const auto& agent : agents_) {
        open += agent->is_open();
        broken += agent->broken();
      }
      std::cout << "streams " << open << ' ' << broken << '\n';
    }
    if (command == "stop")
      for (std::size_t node; words >> node;) agents_.at(node - 1)->stop(std::cout);
    std::cout.flush();
  }

  void open_next() {
    if (opened_ == agents_.size()) return;
    const NodeId id{static_cast<std::uint32_t>(++opened_)};
    auto credentials = ca_.issue(to_string(id), Role::kAgent, {}, kCertificateLifetime, wall_now());
    if (!credentials.ok()) fatal(1, credentials.error().text());
    agents_[opened_ - 1]->open(config_.host + ":" + std::to_string(config_.link_port),
                               ca_.certificate_pem(), std::move(*credentials));
  }

  void joined() {
    if (++members_ == agents_.size()) std::cout << "connected" << std::endl;
    open_next();
  }

  const ServerConfig config_;
  const ClusterCa ca_;
  asio::io_context loop_;
  asio::posix::stream_descriptor input_;
  std::string line_;
  std::size_t opened_ = 0;
  std::size_t members_ = 0;
  std::vector<std::unique_ptr<Agent>> agents_;
};

// A stream is a descriptor here.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

Result<void> run(const std::string& state, std::uint32_t agents) {
  HF_TRY_VOID(
      prepare_state({.state = state, .spec = {.name = "load", .groups = one_group(agents)}}));
  HF_TRY(ServerConfig config, read_server_config(state));
  config.provider = "external";
  HF_TRY_VOID(write_server_config(state, config));
  HF_TRY(ClusterCa ca, ClusterCa::load(state + "/ca"));
  std::cout << "prepared" << std::endl;
  Load(std::move(config), std::move(ca)).run();
  return {};
}

}  // namespace
}  // namespace holdfast

int main(int argc, char** argv) {
  std::uint32_t agents = 0;
  const std::string_view number = argc == 3 ? argv[2] : "";
  if (std::from_chars(number.data(), number.data() + number.size(), agents).ec != std::errc() ||
      agents == 0)
    holdfast::fatal(2, "usage: agent_load STATE N");
  holdfast::raise_descriptor_limit();
  const auto outcome = holdfast::run(argv[1], agents);
  if (!outcome.ok()) holdfast::fatal(1, outcome.error().text());
}
