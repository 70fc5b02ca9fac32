// The agents' link over real sockets and TLS.

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "io/clock.h"
#include "io/join_token.h"
#include "io/link_client.h"
#include "io/link_codec.h"
#include "io/link_server.h"
#include "io/link_status.h"
#include "io/scratch_folder_test.h"
#include "link.grpc.pb.h"

namespace holdfast {
namespace {

using ::testing::HasSubstr;

constexpr Duration kDay = seconds(24 * 3600);
constexpr auto kPatience = std::chrono::seconds(20);

AgentMessage hello(NodeId node) {
  agent_message::Hello message;
  message.node = node;
  return message;
}
AgentMessage log_chunk(std::uint64_t offset) {
  agent_message::LogChunk message;
  message.offset = offset;
  return message;
}
ServerMessage log_ack(std::uint64_t offset) {
  server_message::LogAck message;
  message.offset = offset;
  return message;
}

// What threads of gRPC write and the test waits for.
class Watched {
 protected:
  void change(const std::function<void()>& action) {
    const std::lock_guard lock(mutex_);
    action();
    changed_.notify_all();
  }
  bool wait(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, condition);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

class ServerRecord : public LinkServer::Listener, Watched {
 public:
  explicit ServerRecord(const ClusterCa& ca) : ca_(ca) {}

  struct Stream {
    NodeId node;
    std::vector<AgentMessage> messages;
    int disconnected = 0;
  };

  bool wait_for(const std::function<bool(const std::map<std::uint64_t, Stream>&)>& condition) {
    return wait([&] { return condition(streams_); });
  }
  bool wait_for_streams(std::size_t count) {
    return wait_for([&](const auto& streams) { return streams.size() >= count; });
  }
  // REQUIRES: the stream is there. Read it when nothing is added to it any more.
  const Stream& stream(std::uint64_t number) const { return streams_.at(number); }

 private:
  Result<LinkServer::Joined> on_join(std::string_view token, std::string_view csr_pem) override {
    HF_TRY(const NodeId node, verify_join_token(ca_, token, wall_now()));
    HF_TRY(std::string certificate_pem, ca_.sign(csr_pem, node, kDay, wall_now()));
    return LinkServer::Joined{node, std::move(certificate_pem)};
  }
  void on_message(NodeId node, std::uint64_t stream, AgentMessage message) override {
    change([&] {
      streams_[stream].node = node;
      streams_[stream].messages.push_back(std::move(message));
    });
  }
  void on_disconnected(NodeId, std::uint64_t stream) override {
    change([&] { ++streams_.at(stream).disconnected; });
  }

  const ClusterCa& ca_;
  std::map<std::uint64_t, Stream> streams_;
};

class Agent : public LinkClient::Listener, Watched {
 public:
  Agent(LinkClient::Options options, NodeId node)
      : node_(node), client_(std::make_unique<LinkClient>(std::move(options), *this)) {
    change([this] { ready_ = true; });
  }

  LinkClient& client() { return *client_; }
  void vanish() { client_.reset(); }

  bool wait_connected(int times = 1) {
    return wait([&] { return connected_ >= times; });
  }
  bool wait_messages(std::size_t count) {
    return wait([&] { return messages_.size() >= count; });
  }
  Error wait_refused() {
    EXPECT_TRUE(wait([&] { return !reasons_.empty(); }));
    return reasons_.empty() ? Error{Errc::kNotFound, ""} : reasons_.front();
  }
  int connected() const { return connected_; }
  const std::vector<ServerMessage>& messages() const { return messages_; }

 private:
  void on_connected() override {
    EXPECT_TRUE(wait([this] { return ready_; }));
    EXPECT_FALSE(client_->send(log_chunk(0))) << "nothing goes before the Hello";
    EXPECT_TRUE(client_->send(hello(node_)));
    change([this] { ++connected_; });
  }
  void on_message(ServerMessage message) override {
    change([&] { messages_.push_back(std::move(message)); });
  }
  void on_disconnected(const Error& reason) override {
    change([&] { reasons_.push_back(reason); });
  }

  const NodeId node_;
  bool ready_ = false;  // client_ is set
  int connected_ = 0;
  std::vector<ServerMessage> messages_;
  std::vector<Error> reasons_;
  std::unique_ptr<LinkClient> client_;  // last: goes first
};

class LinkTest : public ScratchFolder {
 protected:
  ClusterCa make_ca(const std::string& name) {
    CHECK(std::filesystem::create_directory(path(name)));
    auto ca = ClusterCa::create(path(name), "uuid-" + name, wall_now());
    CHECK(ca.ok());
    return std::move(ca).value();
  }
  Credentials issue(const ClusterCa& ca, const std::string& name, Role role) {
    return ca.issue(name, role, {}, kDay, wall_now()).value();
  }
  Result<std::unique_ptr<LinkServer>> try_serve(std::uint16_t port) {
    LinkServer::Options options;
    options.port = port;
    options.ca_pem = ca_.certificate_pem();
    options.credentials = issue(ca_, "server", Role::kServer);
    return LinkServer::start(options, record_);
  }
  void serve(std::uint16_t port = 0) {
    auto server = try_serve(port);
    ASSERT_TRUE(server.ok()) << server.error().text();
    server_ = std::move(server).value();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(server_->port()); }
  LinkClient::Options options(Credentials credentials) {
    return {address(), ca_.certificate_pem(), std::move(credentials), 1};
  }
  std::unique_ptr<Agent> start_agent(NodeId node) {
    return std::make_unique<Agent>(options(issue(ca_, to_string(node), Role::kAgent)), node);
  }
  void expect_refused(LinkClient::Options options, NodeId node, Errc code,
                      const std::string& detail) {
    Agent agent(std::move(options), node);
    const Error error = agent.wait_refused();
    EXPECT_EQ(error.code, code) << error.text();
    EXPECT_THAT(error.detail, HasSubstr(detail));
  }
  std::string token(Duration from_now) {
    return make_join_token(ca_, NodeId{3}, WallTime{wall_now().ns + from_now.ns});
  }
  // A client that does not keep to the rules.
  std::unique_ptr<wire::Link::Stub> raw_stub() {
    const Credentials own = issue(ca_, "n3", Role::kAgent);
    return wire::Link::NewStub(grpc::CreateChannel(
        address(),
        grpc::SslCredentials({ca_.certificate_pem(), own.key_pem, own.certificate_pem})));
  }

  ClusterCa ca_ = make_ca("ours");
  ServerRecord record_{ca_};
  std::unique_ptr<LinkServer> server_;
};

bool has_messages(const std::map<std::uint64_t, ServerRecord::Stream>& streams,
                  std::uint64_t stream, std::size_t count) {
  return streams.count(stream) == 1 && streams.at(stream).messages.size() >= count;
}

TEST_F(LinkTest, AMachineJoinsAndBothSidesHearEachOtherInOrder) {
  serve();
  const auto joined = join(address(), ca_.certificate_pem(), token(minutes(5)));
  ASSERT_TRUE(joined.ok()) << joined.error().text();
  EXPECT_EQ(joined->node, NodeId{3});

  Agent agent(options(joined->credentials), joined->node);
  ASSERT_TRUE(record_.wait_for_streams(1));
  constexpr std::size_t kMessages = 1000;
  for (std::size_t i = 0; i < kMessages; ++i) {
    EXPECT_TRUE(agent.client().send(log_chunk(i)));
    EXPECT_TRUE(server_->send(NodeId{3}, log_ack(i)));
  }
  ASSERT_TRUE(agent.wait_messages(kMessages));
  ASSERT_TRUE(record_.wait_for(
      [](const auto& streams) { return has_messages(streams, 1, kMessages + 1); }));
  const auto& stream = record_.stream(1);
  EXPECT_EQ(stream.node, NodeId{3});
  EXPECT_EQ(std::get<agent_message::Hello>(stream.messages[0]).node, NodeId{3});
  for (std::size_t i = 0; i < kMessages; ++i) {
    EXPECT_EQ(std::get<agent_message::LogChunk>(stream.messages[i + 1]).offset, i);
    EXPECT_EQ(std::get<server_message::LogAck>(agent.messages()[i]).offset, i);
  }
}

TEST_F(LinkTest, ATokenThatIsNotValidSaysWhy) {
  serve();
  const auto expired = join(address(), ca_.certificate_pem(), token(minutes(-1)));
  ASSERT_FALSE(expired.ok());
  EXPECT_EQ(expired.error().code, Errc::kTokenExpired);
  EXPECT_THAT(expired.error().detail, HasSubstr("join token of n3 expired at 20"));
  const auto forged = join(address(), ca_.certificate_pem(), "n3.9999999999.0000");
  ASSERT_FALSE(forged.ok());
  EXPECT_EQ(forged.error().code, Errc::kUnauthenticated);
}

TEST_F(LinkTest, JoinWaitsForAServerThatStarts) {
  serve();
  const std::string server = address();
  const std::uint16_t port = server_->port();
  server_.reset();
  Result<JoinResult> joined = Error{Errc::kNotFound, ""};
  std::thread machine([&] { joined = join(server, ca_.certificate_pem(), token(minutes(5))); });
  serve(port);
  machine.join();
  EXPECT_TRUE(joined.ok()) << joined.error().text();
}

TEST_F(LinkTest, OnlyAgentsOfThisClusterAreLetIn) {
  serve();
  const ClusterCa other = make_ca("other");
  expect_refused(options(issue(other, "n3", Role::kAgent)), NodeId{3}, Errc::kUnavailable, "");
  auto wrong_ca = options(issue(ca_, "n3", Role::kAgent));
  wrong_ca.ca_pem = other.certificate_pem();
  expect_refused(wrong_ca, NodeId{3}, Errc::kUnavailable, "");
  expect_refused(options({}), NodeId{3}, Errc::kUnauthenticated,
                 "start the agent with a join token");
  expect_refused(options(issue(ca_, "n3", Role::kOperator)), NodeId{3}, Errc::kUnauthenticated,
                 "not of an agent");
  expect_refused(options(issue(ca_, "ada", Role::kAgent)), NodeId{3}, Errc::kUnauthenticated,
                 "\"ada\" is not a node id");
  expect_refused(options(ca_.issue("n3", Role::kAgent, {}, minutes(-1), wall_now()).value()),
                 NodeId{3}, Errc::kUnavailable, "");
  EXPECT_TRUE(record_.wait_for([](const auto& streams) { return streams.empty(); }));
}

TEST_F(LinkTest, ARefusedAgentIsNotConnected) {
  serve();
  Agent agent(options(issue(ca_, "n3", Role::kOperator)), NodeId{3});
  EXPECT_EQ(agent.wait_refused().code, Errc::kUnauthenticated);
  EXPECT_EQ(agent.connected(), 0);
  EXPECT_FALSE(agent.client().send(hello(NodeId{3})));
}

TEST_F(LinkTest, AnAgentCannotSpeakForAnotherNode) {
  serve();
  expect_refused(options(issue(ca_, "n3", Role::kAgent)), NodeId{4}, Errc::kUnauthenticated,
                 "Hello of n4 with the certificate of n3");
  EXPECT_TRUE(record_.wait_for([](const auto& streams) { return streams.empty(); }));
}

TEST_F(LinkTest, ABrokenMessageEndsItsStream) {
  serve();
  const auto stub = raw_stub();
  const auto expect_ended = [&](const std::vector<wire::AgentEnvelope>& envelopes,
                                const std::string& detail) {
    grpc::ClientContext context;
    const auto stream = stub->Stream(&context);
    for (const auto& envelope : envelopes) stream->Write(envelope);
    wire::ServerEnvelope ignored;
    while (stream->Read(&ignored)) {
    }
    const Error error = from_status(stream->Finish());
    EXPECT_EQ(error.code, Errc::kUnparsable) << error.text();
    EXPECT_THAT(error.detail, HasSubstr(detail));
  };
  expect_ended({to_wire(log_chunk(1))}, "must be a Hello");
  expect_ended({wire::AgentEnvelope()}, "empty message");
  expect_ended({to_wire(hello(NodeId{3})), wire::AgentEnvelope()}, "empty message");
  EXPECT_TRUE(record_.wait_for([](const auto& streams) {
    return streams.size() == 1 && streams.at(1).messages.size() == 1 &&
           streams.at(1).disconnected == 1;
  }));
}

TEST_F(LinkTest, ANewStreamSupersedesTheOld) {
  serve();
  grpc::ClientContext context;
  const auto stub = raw_stub();
  const auto older = stub->Stream(&context);
  ASSERT_TRUE(older->Write(to_wire(hello(NodeId{3}))));
  ASSERT_TRUE(record_.wait_for_streams(1));

  const auto agent = start_agent(NodeId{3});
  ASSERT_TRUE(record_.wait_for_streams(2));
  EXPECT_TRUE(
      record_.wait_for([](const auto& streams) { return streams.at(1).disconnected == 1; }));
  wire::ServerEnvelope ignored;
  EXPECT_FALSE(older->Read(&ignored));
  EXPECT_THAT(older->Finish().error_message(), HasSubstr("n3 has opened another stream"));

  EXPECT_FALSE(server_->send_to(NodeId{3}, 1, log_ack(1)));
  server_->close(NodeId{3}, 1);
  EXPECT_TRUE(server_->send_to(NodeId{3}, 2, log_ack(2)));
  EXPECT_TRUE(server_->send(NodeId{3}, log_ack(3)));
  ASSERT_TRUE(agent->wait_messages(2));
  EXPECT_EQ(record_.stream(2).disconnected, 0);
}

TEST_F(LinkTest, AnAgentComesBackToARestartedServer) {
  serve();
  const auto agent = start_agent(NodeId{3});
  ASSERT_TRUE(record_.wait_for_streams(1));
  const std::uint16_t port = server_->port();
  server_.reset();
  EXPECT_EQ(record_.stream(1).disconnected, 1);
  const Error reason = agent->wait_refused();
  EXPECT_EQ(reason.code, Errc::kUnavailable);
  EXPECT_THAT(reason.detail, HasSubstr("the server is going down"));
  EXPECT_FALSE(agent->client().send(hello(NodeId{3})));

  serve(port);
  ASSERT_TRUE(agent->wait_connected(2));
  ASSERT_TRUE(record_.wait_for([](const auto& streams) { return has_messages(streams, 1, 2); }));
}

TEST_F(LinkTest, AnAgentThatVanishesIsNoticed) {
  serve();
  const auto agent = start_agent(NodeId{3});
  ASSERT_TRUE(record_.wait_for_streams(1));
  agent->vanish();
  EXPECT_TRUE(
      record_.wait_for([](const auto& streams) { return streams.at(1).disconnected == 1; }));
  EXPECT_FALSE(server_->send(NodeId{3}, log_ack(1)));
}

TEST_F(LinkTest, CloseSendsWhatWasQueuedFirst) {
  serve();
  const auto agent = start_agent(NodeId{3});
  ASSERT_TRUE(record_.wait_for_streams(1));
  for (std::uint64_t i = 0; i < 500; ++i) EXPECT_TRUE(server_->send(NodeId{3}, log_ack(i)));
  EXPECT_TRUE(server_->send(NodeId{3}, server_message::Fenced{"replaced"}));
  server_->close(NodeId{3}, 1);
  EXPECT_FALSE(server_->send_to(NodeId{3}, 1, log_ack(500)));
  ASSERT_TRUE(agent->wait_messages(501));
  EXPECT_EQ(std::get<server_message::Fenced>(agent->messages()[500]).reason, "replaced");
  EXPECT_THAT(agent->wait_refused().detail, HasSubstr("the server closed the stream"));
}

TEST_F(LinkTest, APeerThatDoesNotReadIsCutOff) {
  serve();
  grpc::ClientContext context;
  const auto stub = raw_stub();
  const auto stream = stub->Stream(&context);
  ASSERT_TRUE(stream->Write(to_wire(hello(NodeId{3}))));
  ASSERT_TRUE(record_.wait_for_streams(1));
  const ServerMessage large = server_message::Fenced{std::string(1 << 20, 'x')};
  int sent = 0;
  while (sent < 100 && server_->send_to(NodeId{3}, 1, large)) ++sent;
  EXPECT_GE(sent, 15);
  EXPECT_LT(sent, 100);
  EXPECT_TRUE(
      record_.wait_for([](const auto& streams) { return streams.at(1).disconnected == 1; }));
}

TEST_F(LinkTest, WhatCannotBeSentIsDropped) {
  serve();
  EXPECT_FALSE(server_->send(NodeId{9}, log_ack(1)));
  const auto agent = start_agent(NodeId{3});
  ASSERT_TRUE(record_.wait_for_streams(1));
  const std::string large(kLinkMessageBytesMax, 'x');
  EXPECT_FALSE(server_->send(NodeId{3}, server_message::Fenced{large}));
  agent_message::LogChunk chunk;
  chunk.bytes = large;
  EXPECT_FALSE(agent->client().send(chunk));
  EXPECT_TRUE(server_->send(NodeId{3}, log_ack(1)));
  EXPECT_TRUE(agent->wait_messages(1));
}

TEST_F(LinkTest, APortInUseIsNamed) {
  serve();
  const auto second = try_serve(server_->port());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::kPortInUse);
  EXPECT_THAT(second.error().detail, HasSubstr(address() + ": the port is in use; stop"));
}

TEST_F(LinkTest, BadOptionsAreErrors) {
  LinkServer::Options options;
  options.ca_pem = ca_.certificate_pem();
  const auto expect_error = [&](Errc code) {
    const auto server = LinkServer::start(options, record_);
    ASSERT_FALSE(server.ok());
    EXPECT_EQ(server.error().code, code) << server.error().text();
  };
  expect_error(Errc::kInvalidField);
  options.credentials = issue(ca_, "n3", Role::kAgent);
  expect_error(Errc::kInvalidField);
  options.credentials = issue(ca_, "server", Role::kServer);
  options.credentials.key_pem = issue(ca_, "server", Role::kServer).key_pem;
  expect_error(Errc::kInvalidField);
  options.credentials = issue(ca_, "server", Role::kServer);
  options.host = "192.0.2.1";  // of no machine: RFC 5737
  expect_error(Errc::kIo);
}

int threads_of_this_process() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("Threads:")) return std::stoi(line.substr(8));
  return -1;
}

TEST_F(LinkTest, ManyStreamsShareFewThreadsAndEndWithTheServer) {
  serve();
  constexpr std::uint32_t kAgents = 100;
  std::vector<std::unique_ptr<Agent>> agents;
  for (std::uint32_t i = 1; i <= kAgents; ++i) agents.push_back(start_agent(NodeId{i}));
  ASSERT_TRUE(record_.wait_for_streams(kAgents));
  EXPECT_LT(threads_of_this_process(), 48);
  for (std::uint32_t i = 1; i <= kAgents / 2; ++i) agents[i]->vanish();

  const auto start = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_TRUE(record_.wait_for([](const auto& streams) {
    return std::ranges::all_of(streams, [](const auto& s) { return s.second.disconnected == 1; });
  }));
}

}  // namespace
}  // namespace holdfast
