#include "apps/server.h"

#include <signal.h>

#include <memory>
#include <optional>

#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>

#include "apps/clusters.h"
#include "apps/keeper_watch.h"
#include "io/http_server.h"

namespace holdfast {
namespace {

// The process: its clusters, their clients, and how it ends. The main thread runs the context.
class Server {
 public:
  explicit Server(const std::string& state) : state_(state), clusters_(context_, state) {}

  Result<void> start(int keeper);
  Result<void> start_ending();
  int run();

 private:
  HttpResponse answer(const HttpRequest& request);
  void take_down();

  const std::string state_;
  asio::io_context context_;
  int exit_status_ = 0;
  Clusters clusters_;
  std::optional<KeeperWatch> keeper_;
  asio::signal_set signals_{context_, SIGTERM, SIGINT};
  std::unique_ptr<HttpServer> http_;  // last: has threads that call into the rest
};

Result<void> Server::start(int keeper) {
  HF_TRY_VOID(clusters_.open(true));
  if (keeper != 0) keeper_.emplace(context_, state_, keeper);
  signals_.async_wait([this](const asio::error_code& error, int) {
    if (error) return;
    exit_status_ = 128 + SIGTERM;  // a restart, not the end: agents and ranks stay
    context_.stop();
  });
  const ServerConfig& config = clusters_.own()->config();
  HF_TRY(http_, HttpServer::start({.host = config.host,
                                   .port = config.api_port,
                                   .tls = {.ca = state_ + "/ca/ca.crt",
                                           .certificate = state_ + "/ca/server.crt",
                                           .key = state_ + "/ca/server.key"}},
                                  [this](const HttpRequest& request) { return answer(request); }));
  return {};
}

Result<void> Server::start_ending() {
  HF_TRY_VOID(clusters_.open(false));
  take_down();
  return {};
}

int Server::run() {
  const auto work = asio::make_work_guard(context_);
  context_.run();
  for (const auto& cluster : clusters_.all()) cluster->release_waiters();
  http_.reset();
  clusters_.stop();
  if (keeper_) keeper_->tell(exit_status_);
  return exit_status_;
}

void Server::take_down() {
  clusters_.end_all("operator", [this] { context_.stop(); });
}

// Of the cluster that `?cluster=` names, else of the folder's own.
HttpResponse Server::answer(const HttpRequest& request) {
  if (request.method == "POST" && request.path == "/v1/down") {
    asio::post(context_, [this] { take_down(); });
    return {202, "{}"};
  }
  const auto named = request.query.find("cluster");
  if (named == request.query.end()) return clusters_.own()->answer(request);
  const Clusters::Handle cluster = clusters_.find(named->second);
  if (cluster == nullptr)
    return render_error({Errc::kNotFound, "cluster: there is no '" + named->second +
                                              "'; see `holdfast cluster list`"});
  HttpRequest rest = request;
  rest.query.erase("cluster");
  return cluster->answer(rest);
}

}  // namespace

Result<int> serve(const std::string& state, int keeper) {
  ::signal(SIGPIPE, SIG_IGN);
  Server server(state);
  HF_TRY_VOID(server.start(keeper));
  return server.run();
}

Result<int> end_clusters(const std::string& state) {
  Server server(state);
  HF_TRY_VOID(server.start_ending());
  return server.run();
}

}  // namespace holdfast
