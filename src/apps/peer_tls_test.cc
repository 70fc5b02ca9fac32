#include "apps/peer_tls.h"

#include <gtest/gtest.h>

#include <thread>

#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

class PeerTlsTest : public ScratchFolder {
 protected:
  static PeerIdentity agent(const ClusterCa& ca, const char* name, Role role = Role::kAgent) {
    return {.address = "127.0.0.1",
            .ca_pem = ca.certificate_pem(),
            .credentials = ca.issue(name, role, {}, seconds(3600), WallTime{now_}).value()};
  }
  ClusterCa cluster(const std::string& name) {
    std::filesystem::create_directory(path(name));
    return ClusterCa::create(path(name), name, WallTime{now_}).value();
  }
  static inline const std::int64_t now_ =
      std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
};

std::unique_ptr<PeerTls> make(const PeerIdentity& identity) {
  Result<std::unique_ptr<PeerTls>> made = PeerTls::make(identity);
  return std::move(made).value();
}

// Echoes; lives as long as the program, as in a snapshot server.
std::string echoing(const PeerIdentity& identity) {
  auto* server = make(identity).release();
  auto listening = PeerTls::listen("127.0.0.1");
  auto [listener, address] = std::move(listening).value();
  std::thread([server, socket = std::make_shared<UniqueFd>(std::move(listener))] {
    server->accept(*socket, [](engine::PeerStream& stream) {
      std::byte byte{};
      while (stream.receive({&byte, 1}).ok() && stream.send({&byte, 1}).ok()) {
      }
    });
  }).detach();
  return address;
}

// Whether an exchange works. A refusal by the other end shows with the first read.
bool talks(PeerTls& client, const std::string& address) {
  auto stream = client.connect(address);
  if (!stream.ok()) return false;
  std::byte byte{7};
  return (*stream)->send({&byte, 1}).ok() && (*stream)->receive({&byte, 1}).ok();
}

TEST_F(PeerTlsTest, OnlyAgentsOfTheClusterTalk) {
  const ClusterCa ours = cluster("ours"), theirs = cluster("theirs");
  const std::string address = echoing(agent(ours, "n1"));
  EXPECT_TRUE(talks(*make(agent(ours, "n2")), address));
  EXPECT_FALSE(talks(*make(agent(theirs, "n2")), address));
  EXPECT_FALSE(talks(*make(agent(ours, "me", Role::kOperator)), address));
  // The other way round: an agent does not believe a server of strangers.
  const std::string strange = echoing(agent(theirs, "n1"));
  EXPECT_FALSE(talks(*make(agent(ours, "n2")), strange));
  const std::string op = echoing(agent(ours, "me", Role::kOperator));
  EXPECT_FALSE(talks(*make(agent(ours, "n2")), op));
}

TEST_F(PeerTlsTest, AnIdentityComesBack) {
  const PeerIdentity identity = agent(cluster("ours"), "n1");
  const auto back = read_peer_identity(write_peer_identity(identity));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->credentials.key_pem, identity.credentials.key_pem);
  EXPECT_FALSE(read_peer_identity("{}").ok());
  EXPECT_FALSE(read_peer_identity("").ok());
  EXPECT_FALSE(PeerTls::make({"127.0.0.1", "x", {"y", "z"}}).ok());
}

TEST_F(PeerTlsTest, NobodyThere) {
  const auto client = make(agent(cluster("ours"), "n1"));
  EXPECT_FALSE(client->connect("127.0.0.1:1").ok());
  EXPECT_EQ(client->connect("nonsense").error().code, Errc::kInvalidField);
}

}  // namespace
}  // namespace holdfast
