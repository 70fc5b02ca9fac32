#include "apps/server.h"

#include <signal.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>

#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>
#include <nlohmann/json.hpp>

#include "api/hyperpod/group_request.h"
#include "api/rest.h"
#include "apps/clusters.h"
#include "apps/front_door.h"
#include "apps/hyperpod_api.h"
#include "apps/keeper_watch.h"
#include "apps/key_views.h"
#include "apps/openapi.h"
#include "io/access_keys.h"
#include "io/api_server.h"
#include "io/audit_log.h"
#include "io/clock.h"
#include "io/http_server.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

constexpr std::string_view kHyperpodPath = "/v1/hyperpod/";

// An error of HyperPod's API as our own commands read it.
HttpResponse in_our_words(HttpResponse response) {
  if (response.status < 400) return response;
  const auto body = parse_json_text(response.body);
  const std::string type = body.value("__type", "");
  const std::string message = body.value("Message", body.value("message", ""));
  Errc code = Errc::kInvalidField;
  if (type == "ResourceNotFound") code = Errc::kNotFound;
  if (type == "ResourceInUse") code = Errc::kNameExists;
  if (type == "ConflictException") code = Errc::kWrongState;
  if (response.status >= 500) code = Errc::kUnavailable;
  return render_error({code, message});
}

// The process: its clusters, their clients, and how it ends. The main thread runs the context.
class Server {
 public:
  explicit Server(const std::string& state) : state_(state), clusters_(context_, state) {}

  Result<void> start(int keeper);
  Result<void> start_ending();
  int run();

 private:
  Result<void> start_listening();
  HttpResponse answer(const HttpRequest& request);
  HttpResponse set_pool(ClusterServer& cluster, const std::string& body);
  void take_down();

  const std::string state_;
  asio::io_context context_;
  int exit_status_ = 0;
  Clusters clusters_;
  HyperpodApi hyperpod_{clusters_, {kRegion, kAccount}};
  std::unique_ptr<AccessKeys> keys_;
  std::unique_ptr<AuditLog> audit_log_;
  std::unique_ptr<SeenFile> seen_;
  std::unique_ptr<FrontDoor> door_;
  std::optional<KeeperWatch> keeper_;
  asio::signal_set signals_{context_, SIGTERM, SIGINT};
  // Last: these have threads that call into the rest.
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<ApiServer> api_;
};

Result<void> Server::start(int keeper) {
  HF_TRY_VOID(clusters_.open(true));
  if (keeper != 0) keeper_.emplace(context_, state_, keeper);
  signals_.async_wait([this](const asio::error_code& error, int) {
    if (error) return;
    exit_status_ = 128 + SIGTERM;  // a restart, not the end: agents and ranks stay
    context_.stop();
  });
  return start_listening();
}

Result<void> Server::start_listening() {
  const ServerConfig& config = clusters_.own()->config();
  HF_TRY(keys_, AccessKeys::open(state_));
  HF_TRY(audit_log_, AuditLog::open(state_ + "/audit.log"));
  HF_TRY(seen_, SeenFile::open(state_ + "/seen_requests", wall_now()));
  door_ = std::make_unique<FrontDoor>(
      *keys_, *audit_log_, *seen_, kRegion,
      [this](const Caller& caller, std::string_view operation, const std::string& body) {
        HttpResponse response = hyperpod_.answer(caller, operation, body);
        const hyperpod::Operation* known = hyperpod::find_operation(operation);
        return known == nullptr ? response : hyperpod::as_modelled(*known, std::move(response));
      });
  ApiServerOptions options{
      .host = config.host, .port = config.hyperpod_port, .body_bytes_max = hyperpod::kBodyMax};
  // Plain HTTP never leaves this machine; requests are signed either way.
  if (config.host != "127.0.0.1")
    options.tls =
        TlsFiles{state_ + "/ca/ca.crt", state_ + "/ca/server.crt", state_ + "/ca/server.key"};
  HF_TRY(api_, ApiServer::start(
                   options, [this](const HttpRequest& request) { return door_->answer(request); }));
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
  clusters_.own()->release_waiters();
  http_.reset();
  api_.reset();
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
  const Caller caller{"operator", AccessRole::kAdmin, "", ""};  // by its certificate
  if (request.method == "POST" && request.path.starts_with(kHyperpodPath))
    return in_our_words(
        hyperpod_.answer(caller, request.path.substr(kHyperpodPath.size()), request.body));
  HttpRequest rest = request;
  const auto named = rest.query.extract("cluster");
  if (const Result<Ask> ask = parse_request(rest); ask.ok()) {
    if (std::holds_alternative<ask::OpenApi>(*ask)) return view_openapi();
    if (auto answered = answer_keys(*ask, *keys_, wall_now())) return std::move(*answered);
  }
  const Clusters::Handle cluster = named.empty() ? clusters_.own() : clusters_.find(named.mapped());
  if (cluster == nullptr)
    return render_error({Errc::kNotFound, "cluster: there is no '" + named.mapped() +
                                              "'; see `holdfast cluster list`"});
  if (rest.method == "POST" &&
      cluster->call([&] { return cluster->loop().controller().state().down; }))
    return render_error(
        {Errc::kWrongState,
         "cluster: '" + cluster->config().spec.name +
             "' was deleted; name another one with --cluster, see `holdfast cluster "
             "list`"});
  if (rest.method == "POST" && rest.path == "/v1/pool") return set_pool(*cluster, rest.body);
  return cluster->answer(rest);
}

HttpResponse Server::set_pool(ClusterServer& cluster, const std::string& body) {
  const auto asked = parse_json_text(body);
  const auto spares = asked.is_object() ? asked.find("spares") : asked.end();
  if (!asked.is_object() || spares == asked.end() || !spares->is_number_unsigned() ||
      *spares > hyperpod::kGroupInstancesMax)
    return render_error({Errc::kInvalidField, "spares: give a whole number up to " +
                                                  std::to_string(hyperpod::kGroupInstancesMax)});
  const auto group_asked = asked.find("group");
  if (group_asked == asked.end() || !group_asked->is_string())
    return render_error({Errc::kInvalidField, "group: missing, or no text; name the group"});
  const std::string name = *group_asked;
  return cluster.call([&] {
    ClusterSpec spec = cluster.loop().controller().state().spec;
    const auto group = std::ranges::find(spec.groups, name, &InstanceGroup::name);
    if (group == spec.groups.end())
      return render_error(
          {Errc::kNotFound, "group: there is no '" + name + "'; see `holdfast cluster describe`"});
    group->spares = *spares;
    const Result<void> accepted = cluster.accept(event::ClusterUpdateAsked{spec, "operator"});
    return accepted.ok() ? HttpResponse{202, "{}"} : render_error(accepted.error());
  });
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
