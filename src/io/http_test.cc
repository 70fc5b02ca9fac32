#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>

#include <chrono>
#include <fstream>
#include <future>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "io/certificates.h"
#include "io/clock.h"
#include "io/http_client.h"
#include "io/http_server.h"
#include "io/scratch_folder_test.h"
#include "io/unique_fd.h"

namespace holdfast {
namespace {

class HttpTest : public ScratchFolder {
 protected:
  HttpTest() {
    ::signal(SIGPIPE, SIG_IGN);  // as HttpClient asks of its process
    make_cluster("a");
    make_cluster("b");
  }

  // A CA with a server's, an operator's and an agent's certificate.
  void make_cluster(const std::string& name) {
    std::filesystem::create_directory(path(name));
    auto ca = ClusterCa::create(path(name), "cluster-" + name, wall_now());
    ASSERT_TRUE(ca.ok()) << ca.error().text();
    for (Role role : {Role::kServer, Role::kOperator, Role::kAgent}) {
      const std::string word(word_of(role));
      auto issued = ca->issue(word, role, {}, minutes(10), wall_now());
      ASSERT_TRUE(issued.ok()) << issued.error().text();
      std::ofstream(path(name + "/" + word + ".crt")) << issued->certificate_pem;
      std::ofstream(path(name + "/" + word + ".key")) << issued->key_pem;
    }
  }

  [[nodiscard]] TlsFiles tls(const std::string& cluster, const std::string& role) const {
    const std::string stem = path(cluster + "/" + role);
    return {path(cluster + "/ca.crt"), stem + ".crt", stem + ".key"};
  }

  std::unique_ptr<HttpServer> serve(HttpServer::Handler handler, std::uint16_t port = 0) {
    auto server = HttpServer::start({"127.0.0.1", port, tls("a", "server")}, std::move(handler));
    EXPECT_TRUE(server.ok()) << (server.ok() ? "" : server.error().text());
    return server.ok() ? std::move(*server) : nullptr;
  }
};

HttpResponse echo(const HttpRequest& request) {
  std::string text = request.method + " " + request.path;
  for (const auto& [name, value] : request.query) text += " " + name + "=" + value;
  return {202, text + " " + request.body};
}

TEST_F(HttpTest, CarriesRequestAndResponse) {
  const auto server = serve(echo);
  HttpClient client("127.0.0.1", server->port(), tls("a", "operator"));
  const auto got = client.get("/v1/a%20b?x=1&y=%2F", seconds(5));
  ASSERT_TRUE(got.ok()) << got.error().text();
  EXPECT_EQ(got->status, 202);
  EXPECT_EQ(got->body, "GET /v1/a b x=1 y=/ ");
  const auto posted = client.post("/v1/c", "{}", seconds(5));
  ASSERT_TRUE(posted.ok()) << posted.error().text();
  EXPECT_EQ(posted->body, "POST /v1/c {}");
}

TEST_F(HttpTest, OnlyOperatorsAreServed) {
  const auto server = serve(echo);
  HttpClient agent("127.0.0.1", server->port(), tls("a", "agent"));
  const auto refused = agent.get("/v1/status", seconds(5));
  ASSERT_TRUE(refused.ok()) << refused.error().text();
  EXPECT_EQ(refused->status, 401);
  EXPECT_NE(refused->body.find("HF4001"), std::string::npos);
}

TEST_F(HttpTest, StrangersAreRefusedByEitherSide) {
  const auto server = serve(echo);
  HttpClient stranger("127.0.0.1", server->port(), tls("b", "operator"));
  const auto refused = stranger.get("/v1/status", seconds(5));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kUnauthenticated) << refused.error().text();

  // It trusts this server, but the server does not know it.
  TlsFiles mixed = tls("b", "operator");
  mixed.ca = tls("a", "operator").ca;
  HttpClient unknown("127.0.0.1", server->port(), mixed);
  const auto unanswered = unknown.get("/v1/status", seconds(5));
  ASSERT_FALSE(unanswered.ok());
  EXPECT_EQ(unanswered.error().code, Errc::kUnauthenticated) << unanswered.error().text();
}

TEST_F(HttpTest, AgentsCannotPassForTheServer) {
  auto server = HttpServer::start({"127.0.0.1", 0, tls("a", "agent")}, echo);
  ASSERT_TRUE(server.ok());
  HttpClient client("127.0.0.1", (*server)->port(), tls("a", "operator"));
  EXPECT_FALSE(client.get("/v1/status", seconds(5)).ok());
}

TEST_F(HttpTest, NobodyThere) {
  std::uint16_t port = 0;
  { port = serve(echo)->port(); }
  HttpClient client("127.0.0.1", port, tls("a", "operator"));
  const auto answer = client.get("/v1/status", seconds(5));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().text(),
            "HF2001: no control plane answers at 127.0.0.1:" + std::to_string(port));
}

// As a control plane that is killed between a client's connect and its own certificate; also while
// the client asks again whether that was meant for it.
TEST_F(HttpTest, AServerThatDiesInTheHandshakeWentAway) {
  for (const int broken_off : {1, 2}) {
    const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length);
    std::thread dies([&] {
      for (int i = 0; i < broken_off; ++i)
        const UniqueFd stream(::accept(listener.get(), nullptr, nullptr));
      ::shutdown(listener.get(), SHUT_RDWR);
    });
    HttpClient client("127.0.0.1", ntohs(address.sin_port), tls("a", "operator"));
    const auto answer = client.get("/v1/status", seconds(5));
    dies.join();
    ASSERT_FALSE(answer.ok());
    EXPECT_EQ(answer.error().code, Errc::kUnavailable) << answer.error().text();
  }
}

TEST_F(HttpTest, PortInUseIsNamed) {
  const auto first = serve(echo);
  const auto second = HttpServer::start({"127.0.0.1", first->port(), tls("a", "server")}, echo);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::kPortInUse);
  EXPECT_NE(second.error().detail.find(std::to_string(first->port())), std::string::npos);
}

TEST_F(HttpTest, MissingFilesAreNamed) {
  const auto server = HttpServer::start({"127.0.0.1", 0, {"/x/ca", "/x/crt", "/x/key"}}, echo);
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.error().code, Errc::kIo);
  HttpClient client("127.0.0.1", 1, {"/x/ca", "/x/crt", "/x/key"});
  const auto answer = client.get("/", seconds(1));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, Errc::kIo) << answer.error().text();
}

TEST_F(HttpTest, BodiesAreBounded) {
  const auto server = serve(echo);
  HttpClient client("127.0.0.1", server->port(), tls("a", "operator"));
  const auto fits = client.post("/", std::string(1 << 20, 'x'), seconds(10));
  ASSERT_TRUE(fits.ok()) << fits.error().text();
  EXPECT_EQ(fits->status, 202);
  const auto refused = client.post("/", std::string(3 << 20, 'x'), seconds(10));
  if (refused.ok()) {
    EXPECT_EQ(refused->status, 413);
  }
}

TEST_F(HttpTest, WhatAHandlerThrowsIsAnAnswer) {
  const auto server = serve([](const HttpRequest&) -> HttpResponse { throw std::bad_alloc(); });
  HttpClient client("127.0.0.1", server->port(), tls("a", "operator"));
  const auto answer = client.get("/", seconds(5));
  ASSERT_TRUE(answer.ok()) << answer.error().text();
  EXPECT_EQ(answer->status, 500);
  EXPECT_NE(answer->body.find("HF3004"), std::string::npos);
}

TEST_F(HttpTest, LongPollsDoNotKeepOthersWaiting) {
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  std::counting_semaphore<> arrived(0);
  const auto server = serve([released, &arrived](const HttpRequest& request) -> HttpResponse {
    if (request.path == "/wait") {
      arrived.release();
      released.wait();
    }
    return {200, "{}"};
  });
  std::vector<std::thread> waiting;
  for (int i = 0; i < 15; ++i)
    waiting.emplace_back([&] {
      HttpClient client("127.0.0.1", server->port(), tls("a", "operator"));
      EXPECT_TRUE(client.get("/wait", seconds(30)).ok());
    });
  for (int i = 0; i < 15; ++i) EXPECT_TRUE(arrived.try_acquire_for(std::chrono::seconds(10)));
  HttpClient client("127.0.0.1", server->port(), tls("a", "operator"));
  EXPECT_TRUE(client.get("/quick", seconds(20)).ok());
  release.set_value();
  for (std::thread& thread : waiting) thread.join();
}

TEST_F(HttpTest, SlowAnswersTimeOut) {
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  const auto server = serve([released](const HttpRequest&) -> HttpResponse {
    released.wait();
    return {200, "{}"};
  });
  HttpClient client("127.0.0.1", server->port(), tls("a", "operator"));
  const auto answer = client.get("/", milliseconds(50));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, Errc::kUnavailable);
  release.set_value();
}

}  // namespace
}  // namespace holdfast
