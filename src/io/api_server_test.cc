#include "io/api_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <fstream>
#include <future>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "io/certificates.h"
#include "io/clock.h"
#include "io/http_client.h"
#include "io/scratch_folder_test.h"
#include "io/unique_fd.h"

namespace holdfast {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

// A peer that sends and reads just what a test says.
class Peer {
 public:
  explicit Peer(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    const timeval most{20, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    is_connected_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  }
  void send(const std::string& text) const {
    EXPECT_TRUE(is_connected_);
    (void)::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
  }
  // One answer; "" when the connection ended instead.
  std::string answer() {
    for (;;) {
      if (in_.starts_with(kContinue)) in_.erase(0, kContinue.size());
      const std::size_t end = in_.find("\r\n\r\n");
      if (end != std::string::npos) {
        const std::size_t at = in_.find("Content-Length: ");
        const std::size_t all = end + 4 + std::stoul(in_.substr(at + 16));
        if (in_.size() >= all) {
          std::string one = in_.substr(0, all);
          in_.erase(0, all);
          return one;
        }
      }
      if (!read()) return "";
    }
  }
  bool ends() {
    while (read()) continue;
    return in_.empty();
  }

 private:
  bool read() {
    char buffer[4096];
    const ssize_t n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n > 0) in_.append(buffer, static_cast<std::size_t>(n));
    return n > 0;
  }

  UniqueFd fd_;
  bool is_connected_ = false;
  std::string in_;
};

HttpResponse echo(const HttpRequest& request) {
  std::string text = request.method + " " + request.target + " from " + request.address;
  for (const auto& [name, value] : request.headers) text += " " + name + "=" + value;
  return {200, text + " " + request.body};
}

std::unique_ptr<ApiServer> serve(ApiServer::Handler handler = echo, ApiServerOptions options = {}) {
  auto server = ApiServer::start(options, std::move(handler));
  EXPECT_TRUE(server.ok()) << (server.ok() ? "" : server.error().text());
  return server.ok() ? std::move(*server) : nullptr;
}

std::string post(const std::string& body, const std::string& more = "") {
  return "POST / HTTP/1.1\r\nHost: a\r\n" + more +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST(ApiServer, ManyRequestsOnOneConnection) {
  const auto server = serve();
  Peer peer(server->port());
  for (int i = 0; i < 100; ++i) {
    peer.send(post("{" + std::to_string(i), "X-Value: a%20b\r\n"));
    const std::string answer = peer.answer();
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(answer, HasSubstr("Content-Type: application/x-amz-json-1.1\r\n"));
    EXPECT_THAT(answer, HasSubstr("\r\nx-amzn-RequestId: "));
    EXPECT_THAT(answer, HasSubstr("\r\nDate: "));
    EXPECT_THAT(answer, HasSubstr("POST / from 127.0.0.1"));
    EXPECT_THAT(answer, HasSubstr("x-value=a%20b"));
    EXPECT_THAT(answer, ::testing::EndsWith("{" + std::to_string(i)));
  }
  peer.send(post("one") + post("two"));  // at once
  EXPECT_THAT(peer.answer(), HasSubstr("one"));
  EXPECT_THAT(peer.answer(), HasSubstr("two"));
}

TEST(ApiServer, ARequestInPieces) {
  const auto server = serve();
  Peer peer(server->port());
  for (const char c : post("abc")) peer.send(std::string(1, c));
  EXPECT_THAT(peer.answer(), HasSubstr("abc"));
  peer.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  peer.send("xyz");
  EXPECT_THAT(peer.answer(), HasSubstr("xyz"));
}

TEST(ApiServer, Limits) {
  const auto server = serve(echo, {.head_bytes_max = 1000, .body_bytes_max = 1000});
  const auto answer_to = [&](const std::string& text) {
    Peer peer(server->port());
    peer.send(text);
    const std::string answer = peer.answer();
    EXPECT_TRUE(peer.ends());
    return answer;
  };
  EXPECT_THAT(answer_to("POST / HTTP/1.1\r\nHost: a\r\nX: " + std::string(100'000, 'x')),
              StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(answer_to(post(std::string(100'000, 'x'))), StartsWith("HTTP/1.1 413"));
  const std::string malformed = answer_to("GET / HTTP/1.1\r\n\r\n");
  EXPECT_THAT(malformed, StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(malformed, HasSubstr(R"("__type":"SerializationException")"));
  Peer fits(server->port());
  fits.send(post(std::string(1000, 'x')));
  EXPECT_THAT(fits.answer(), StartsWith("HTTP/1.1 200"));
}

TEST(ApiServer, SlowPeersAreCutOff) {
  const auto server = serve(echo, {.request_max = milliseconds(200)});
  Peer silent(server->port());
  Peer slow_head(server->port());
  slow_head.send("POST / HTTP/1.1\r\n");
  Peer slow_body(server->port());
  slow_body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nx");
  EXPECT_TRUE(silent.ends());
  EXPECT_TRUE(slow_head.ends());
  EXPECT_TRUE(slow_body.ends());
}

TEST(ApiServer, IdlePeersAreCutOff) {
  const auto server = serve(echo, {.idle_max = milliseconds(200)});
  Peer idle(server->port());
  idle.send(post("x"));
  EXPECT_THAT(idle.answer(), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(idle.ends());
}

TEST(ApiServer, FullOfIdleOnesAndFullOfBusyOnes) {
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  const auto server = serve(
      [&](const HttpRequest& request) {
        if (request.body == "wait") gone.wait();
        return echo(request);
      },
      {.connections_max = 3});
  std::vector<Peer> idle;
  for (int i = 0; i < 3; ++i) {
    idle.emplace_back(server->port());
    idle.back().send(post("x"));
    EXPECT_THAT(idle.back().answer(), StartsWith("HTTP/1.1 200"));
  }
  std::vector<Peer> busy;  // each takes the place of an idle one
  for (int i = 0; i < 3; ++i) {
    busy.emplace_back(server->port());
    busy.back().send(post("wait"));
    EXPECT_TRUE(idle[static_cast<std::size_t>(i)].ends());
  }
  Peer late(server->port());
  late.send(post("x"));
  const std::string answer = late.answer();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(answer, HasSubstr(R"("__type":"ServiceUnavailable")"));
  go.set_value();
  for (Peer& peer : busy) EXPECT_THAT(peer.answer(), StartsWith("HTTP/1.1 200"));
}

TEST(ApiServer, AHandlerThatThrows) {
  const auto server =
      serve([](const HttpRequest&) -> HttpResponse { throw std::runtime_error("x"); });
  Peer peer(server->port());
  peer.send(post("x"));
  EXPECT_THAT(peer.answer(), HasSubstr(R"("__type":"InternalFailure")"));
}

TEST(ApiServer, AnswersWhatItHasTakenBeforeItEnds) {
  std::promise<void> taken;
  auto server = serve([&](const HttpRequest& request) {
    taken.set_value();
    return echo(request);
  });
  Peer peer(server->port());
  peer.send(post("last"));
  taken.get_future().wait();
  server.reset();
  EXPECT_THAT(peer.answer(), HasSubstr("last"));
  EXPECT_TRUE(peer.ends());
}

TEST(ApiServer, APortThatIsTaken) {
  const auto server = serve();
  const auto second = ApiServer::start({.port = server->port()}, echo);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::kPortInUse);
  EXPECT_FALSE(ApiServer::start({.host = "192.0.2.1"}, echo).ok());
  EXPECT_FALSE(ApiServer::start({.host = "nowhere"}, echo).ok());
}

using ApiServerTls = ScratchFolder;

TEST_F(ApiServerTls, WithTheClustersCertificate) {
  auto ca = ClusterCa::create(folder(), "cluster", wall_now());
  ASSERT_TRUE(ca.ok());
  for (const Role role : {Role::kServer, Role::kOperator}) {
    auto issued = ca->issue("x", role, {}, minutes(10), wall_now());
    ASSERT_TRUE(issued.ok());
    std::ofstream(path(std::string(word_of(role)) + ".crt")) << issued->certificate_pem;
    std::ofstream(path(std::string(word_of(role)) + ".key")) << issued->key_pem;
  }
  const auto files = [&](const std::string& role) {
    return TlsFiles{path("ca.crt"), path(role + ".crt"), path(role + ".key")};
  };
  const auto server = serve(echo, {.tls = files("server")});
  HttpClient client("127.0.0.1", server->port(), files("operator"));
  const auto answer = client.post("/", "{}", seconds(10));
  ASSERT_TRUE(answer.ok()) << answer.error().text();
  EXPECT_THAT(answer->body, StartsWith("POST / from 127.0.0.1"));
  Peer plain(server->port());
  plain.send(post("x"));
  EXPECT_EQ(plain.answer(), "");
  const auto hasty = serve(echo, {.tls = files("server"), .request_max = milliseconds(200)});
  Peer no_handshake(hasty->port());
  EXPECT_TRUE(no_handshake.ends());
  EXPECT_FALSE(ApiServer::start({.tls = TlsFiles{"", "nothing", "nothing"}}, echo).ok());
}

}  // namespace
}  // namespace holdfast
