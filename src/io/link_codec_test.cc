#include "io/link_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "io/link_fields.h"

namespace holdfast {
namespace {

using ::testing::HasSubstr;

// Gives every field of a message a value that no default has.
class Fill {
 public:
  explicit Fill(std::uint64_t seed) : prng_(seed) {}

  template <class T>
  void operator()(std::string_view, T& field) {
    fill(field);
  }

  void fill(bool& value) { value = true; }
  void fill(std::string& value) { value = std::string("\0\xFF text ", 8) + std::to_string(next()); }
  void fill(double& value) { value = static_cast<double>(next()) / 3; }
  void fill(Duration& value) { value.ns = static_cast<std::int64_t>(next() >> 1); }
  template <std::integral T>
  void fill(T& value) {
    value = prng_.chance(1, 3) ? std::numeric_limits<T>::max() : static_cast<T>(next());
  }
  template <class E>
  requires std::is_enum_v<E>
  void fill(E& value) { value = static_cast<E>(1 + prng_.below(kWords<E>.size() - 1)); }
  template <class Tag>
  void fill(StrongId<Tag>& id) {
    fill(id.value);
  }
  template <class T>
  void fill(std::optional<T>& value) {
    fill(value.emplace());
  }
  template <class T>
  void fill(std::vector<T>& values) {
    values.resize(1 + prng_.below(3));
    for (T& value : values) fill(value);
  }
  void fill(std::map<std::string, std::string>& values) {
    for (int i = 0; i < 3; ++i) {
      std::string name;
      fill(name);
      fill(values[name]);
    }
  }
  template <HasFields T>
  void fill(T& value) {
    fields(*this, value);
  }

 private:
  std::uint64_t next() { return prng_.next() | 1; }

  Prng prng_;
};

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Which fields of a message, or of a message in it, are not on the wire.
void find_unset(const Message& message, const std::string& path, std::vector<std::string>& unset) {
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    const std::string name = path + "." + field->name();
    if (field->is_repeated()) {
      if (reflection.FieldSize(message, field) == 0) unset.push_back(name);
      if (field->message_type() == nullptr) continue;
      for (int k = 0; k < reflection.FieldSize(message, field); ++k)
        find_unset(reflection.GetRepeatedMessage(message, field, k), name, unset);
    } else if (!reflection.HasField(message, field)) {
      unset.push_back(name);
    } else if (field->message_type() != nullptr) {
      find_unset(reflection.GetMessage(message, field), name, unset);
    }
  }
}

// What was sent with every field set arrives with every field set, and sent on is the same bytes.
template <class Variant, std::size_t kIndex = 0>
void round_trip_all(Fill& fill) {
  Variant message(std::in_place_index<kIndex>);
  fill.fill(std::get<kIndex>(message));
  const auto envelope = to_wire(message);

  std::vector<std::string> unset;
  const auto* field = envelope.GetReflection()->GetOneofFieldDescriptor(
      envelope, envelope.GetDescriptor()->oneof_decl(0));
  ASSERT_NE(field, nullptr);
  find_unset(envelope.GetReflection()->GetMessage(envelope, field), field->name(), unset);
  EXPECT_THAT(unset, testing::IsEmpty());

  auto parsed = envelope;
  ASSERT_TRUE(parsed.ParseFromString(envelope.SerializeAsString()));
  const auto read = from_wire(parsed);
  ASSERT_TRUE(read.ok()) << read.error().text();
  EXPECT_EQ(read->index(), kIndex);
  EXPECT_EQ(to_wire(*read).SerializeAsString(), envelope.SerializeAsString()) << field->name();
  if constexpr (kIndex + 1 < std::variant_size_v<Variant>)
    round_trip_all<Variant, kIndex + 1>(fill);
}

TEST(LinkCodec, CarriesEveryFieldOfEveryMessage) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Fill fill(seed);
    round_trip_all<AgentMessage>(fill);
    round_trip_all<ServerMessage>(fill);
  }
}

TEST(LinkCodec, CarriesDefaults) {
  const auto read = from_wire(to_wire(ServerMessage(server_message::StartRanks())));
  ASSERT_TRUE(read.ok()) << read.error().text();
  EXPECT_EQ(std::get<server_message::StartRanks>(*read).spec, JobSpec());
}

TEST(LinkCodec, KeepsTheValuesOfAJob) {
  Fill fill(7);
  server_message::WarmUp warm_up;
  fill.fill(warm_up);
  const auto read = from_wire(to_wire(ServerMessage(warm_up)));
  ASSERT_TRUE(read.ok()) << read.error().text();
  EXPECT_EQ(std::get<server_message::WarmUp>(*read).job, warm_up.job);
  EXPECT_EQ(std::get<server_message::WarmUp>(*read).spec, warm_up.spec);
}

TEST(LinkCodec, CarriesAnUnknownLoss) {
  agent_message::Heartbeat heartbeat;
  heartbeat.progress.resize(1);
  heartbeat.progress[0].loss = std::nan("");
  const auto read = from_wire(to_wire(AgentMessage(heartbeat)));
  ASSERT_TRUE(read.ok()) << read.error().text();
  const auto& progress = std::get<agent_message::Heartbeat>(*read).progress.at(0);
  EXPECT_TRUE(std::isnan(progress.loss));
  EXPECT_EQ(progress.restored_step, std::nullopt);
}

template <class Envelope>
void expect_refused(const Envelope& envelope, const std::string& detail) {
  const auto read = from_wire(envelope);
  ASSERT_FALSE(read.ok()) << detail;
  EXPECT_EQ(read.error().code, Errc::kUnparsable);
  EXPECT_THAT(read.error().detail, HasSubstr(detail));
}

TEST(LinkCodec, RefusesWhatNoPeerWouldSend) {
  expect_refused(wire::AgentEnvelope(), "unknown kind");
  expect_refused(wire::ServerEnvelope(), "unknown kind");

  wire::AgentEnvelope agent;
  agent.mutable_hello()->set_rendezvous_port(65536);
  expect_refused(agent, "hello.rendezvous_port: 65536");
  agent.mutable_heartbeat()->mutable_progress()->Reserve(4097);
  for (int i = 0; i < 4097; ++i) agent.mutable_heartbeat()->add_progress();
  expect_refused(agent, "heartbeat.progress: 4097 items");
  agent.mutable_hello()->mutable_location();
  agent.mutable_hello()->add_attempts()->add_exited();
  expect_refused(agent, "hello.attempts[0].exited[0].progress: is missing");
  agent.mutable_fault_seen();
  expect_refused(agent, "fault_seen.fault: is missing");
  for (const int cause : {-1, 9, std::numeric_limits<int>::min()}) {
    agent.mutable_fault_seen()->mutable_fault()->set_cause(cause);
    expect_refused(agent, "fault_seen.fault.cause: " + std::to_string(cause));
  }

  wire::ServerEnvelope server;
  server.mutable_welcome()->set_heartbeat_interval_ns(-1);
  expect_refused(server, "welcome.heartbeat_interval: -1 ns");
  server.mutable_inject()->set_what(7);
  expect_refused(server, "inject.what: 7");
  server = to_wire(ServerMessage(server_message::WarmUp()));
  for (int i = 0; i < 2; ++i)
    server.mutable_warm_up()->mutable_spec()->add_environment()->set_name("PATH");
  expect_refused(server, "warm_up.spec.environment: \"PATH\" is there twice");
}

// The fuzzer in link_codec_fuzz.cc does the same with more patience.
TEST(LinkCodec, SurvivesDamagedBytes) {
  Prng prng(3);
  Fill fill(3);
  std::size_t read_well = 0;
  for (int round = 0; round < 20'000; ++round) {
    agent_message::Hello hello;
    fill.fill(hello);
    std::string bytes = to_wire(AgentMessage(hello)).SerializeAsString();
    if (round % 2 == 0) bytes.resize(prng.below(64));
    for (std::uint64_t damage = prng.below(8); damage > 0 && !bytes.empty(); --damage)
      bytes[prng.below(bytes.size())] = static_cast<char>(prng.next());
    wire::AgentEnvelope agent;
    if (agent.ParseFromString(bytes)) read_well += from_wire(agent).ok() ? 1 : 0;
    wire::ServerEnvelope server;
    if (server.ParseFromString(bytes)) read_well += from_wire(server).ok() ? 1 : 0;
  }
  EXPECT_GT(read_well, 0u);
}

}  // namespace
}  // namespace holdfast
