#include "apps/server.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <memory>

#include <spdlog/spdlog.h>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>
#include <nlohmann/json.hpp>

#include "api/check_file.h"
#include "api/lifecycle_config.h"
#include "api/rest.h"
#include "apps/control_loop.h"
#include "apps/incident_folder.h"
#include "apps/keeper_watch.h"
#include "apps/lifecycle_files.h"
#include "apps/providers.h"
#include "apps/rank_logs.h"
#include "apps/rest_views.h"
#include "apps/version.h"
#include "drivers/local.h"
#include "io/certificates.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/http_server.h"
#include "io/join_token.h"
#include "io/link_server.h"
#include "io/process.h"
#include "io/state_lock.h"

namespace holdfast {
namespace {

constexpr Duration kTokenLifetime = minutes(10);
constexpr Duration kAgentCertificateLifetime = seconds(90ll * 24 * 3600);
// A new local agent competes with a recovery for this machine's cores, which a real new machine
// would not: while jobs run it comes a moment later.
constexpr Duration kRefillDelay = seconds(3);
constexpr Duration kDownTimeout = seconds(10);
constexpr Duration kDownTimeoutElsewhere = seconds(60);  // machines of other hosts
constexpr std::size_t kConfigMax = 64 * 1024;

// Wires the control loop to agents, clients and machines. Everything but the listener's calls runs
// on the loop's thread.
class Server final : public ControlLoop::World, public LinkServer::Listener {
 public:
  Server(std::string state, ServerConfig config)
      : state_(std::move(state)), config_(std::move(config)) {}

  Result<void> open();
  Result<void> start(int keeper);
  void take_down();
  void run() { loop_->run(); }
  void stop();
  [[nodiscard]] int exit_status() const { return exit_status_; }

  // ControlLoop::World
  void send(NodeId node, const ServerMessage& message) override;
  void provision(NodeId node) override;
  void terminate(NodeId node) override;
  void reboot(NodeId node) override;
  void keep(const effect::KeepEvidence& evidence) override;

  // LinkServer::Listener, on gRPC's threads
  Result<LinkServer::Joined> on_join(std::string_view token, std::string_view csr_pem) override;
  void on_message(NodeId node, std::uint64_t stream, AgentMessage message) override;
  void on_disconnected(NodeId node, std::uint64_t stream) override;

 private:
  void take(NodeId node, std::uint64_t stream, AgentMessage message);
  void give_lifecycle_files(NodeId node, const agent_message::LifecycleFilesWanted& wanted);
  [[nodiscard]] std::map<std::string, std::string> lifecycle_files_config() const;
  HttpResponse answer(const HttpRequest& request);
  HttpResponse inject(NodeId node, const server_message::Inject& what);
  HttpResponse answer_on_loop(const Ask& ask);
  HttpResponse accept(Event request);
  HttpResponse submit(const JobSpec& spec);
  HttpResponse start_checks(const CheckRequest& request);
  void await_end(std::int64_t deadline);
  Result<void> start_network();
  [[nodiscard]] std::map<std::string, std::string> agent_environment() const;
  [[nodiscard]] std::string make_token(NodeId node) const {
    return make_join_token(*ca_, node, WallTime{wall_now().ns + kTokenLifetime.ns});
  }

  const std::string state_;
  const ServerConfig config_;
  std::optional<StateLock> lock_;
  std::optional<ClusterCa> ca_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<ControlLoop> loop_;
  std::unique_ptr<MachineProvider> provider_;
  std::unique_ptr<RankLogs> logs_;
  std::unique_ptr<LifecycleFiles> lifecycle_files_;
  asio::thread_pool behind_{1};  // what need not be done before anything else
  std::unique_ptr<asio::signal_set> signals_;
  std::optional<KeeperWatch> keeper_;
  std::map<NodeId, std::uint64_t> streams_;  // the newest of each node
  int exit_status_ = 0;
  // Last: these have threads that call into the rest.
  std::unique_ptr<LinkServer> link_;
  std::unique_ptr<HttpServer> http_;
};

Result<void> Server::open() {
  HF_TRY(lock_, StateLock::take(state_));
  HF_TRY(ca_, ClusterCa::load(state_ + "/ca"));
  HF_TRY(journal_, Journal::open(state_, config_.uuid, std::string(kVersion)));
  HF_TRY(loop_, ControlLoop::recover(*journal_, *this));
  logs_ = std::make_unique<RankLogs>(state_ + "/jobs", state_ + "/nodes-logs");
  lifecycle_files_ = std::make_unique<LifecycleFiles>(
      loop_->context(), [this](NodeId) { return lifecycle_files_config(); },
      [this](NodeId node, server_message::LifecycleFiles files) {
        if (link_ != nullptr) link_->send(node, files);
      });
  HF_TRY(provider_, make_provider(
                        loop_->context(),
                        {.provider = config_.provider,
                         .cluster = config_.uuid,
                         .nodes_folder = state_ + "/nodes",
                         .hosts_file = state_ + "/hosts.json",
                         .ca_file = state_ + "/ca/ca.crt",
                         .server = config_.host + ":" + std::to_string(config_.link_port),
                         .devices = config_.devices,
                         .host_root = config_.host_root,
                         .environment = agent_environment()},
                        [this](NodeId node) { return make_token(node); },
                        [this](NodeId node, const std::string& reason) {
                          lifecycle_files_->forget(node);
                          loop_->submit(event::NodesLost{{node}, reason, true});
                        }));
  return {};
}

Result<void> Server::start(int keeper) {
  HF_TRY_VOID(start_network());
  if (keeper != 0) keeper_.emplace(loop_->context(), state_, keeper);
  signals_ = std::make_unique<asio::signal_set>(loop_->context(), SIGTERM, SIGINT);
  signals_->async_wait([this](const asio::error_code& error, int) {
    if (error) return;
    exit_status_ = 128 + SIGTERM;  // a restart, not the end: agents and ranks stay
    loop_->stop();
  });
  bool nobody = true;
  for (const auto& [id, node] : loop_->controller().state().nodes) {
    if (node.state == NodeState::kGone) {
      provider_->release(id);
      continue;
    }
    nobody = false;
    const bool is_down =
        node.state == NodeState::kProvisioning || node.state == NodeState::kRebooting;
    if (!is_down) provider_->adopt(id);
  }
  if (nobody) loop_->submit(event::ClusterMade{config_.spec});
  return {};
}

Result<void> Server::start_network() {
  const WallTime now = wall_now();
  HF_TRY(const Credentials credentials,
         ca_->issue("server", Role::kServer, {config_.host}, kAgentCertificateLifetime, now));
  HF_TRY_VOID(write_file_atomic(state_ + "/ca/server.crt", credentials.certificate_pem, 0600));
  HF_TRY_VOID(write_file_atomic(state_ + "/ca/server.key", credentials.key_pem, 0600));
  HF_TRY(link_, LinkServer::start({.host = config_.host,
                                   .port = config_.link_port,
                                   .ca_pem = ca_->certificate_pem(),
                                   .credentials = credentials},
                                  *this));
  HF_TRY(http_, HttpServer::start({.host = config_.host,
                                   .port = config_.api_port,
                                   .tls = {.ca = state_ + "/ca/ca.crt",
                                           .certificate = state_ + "/ca/server.crt",
                                           .key = state_ + "/ca/server.key"}},
                                  [this](const HttpRequest& request) { return answer(request); }));
  return {};
}

// What a login shell of the user would have, the way to an object store, and this machine's cores
// shared among the nodes.
std::map<std::string, std::string> Server::agent_environment() const {
  std::map<std::string, std::string> environment;
  for (const auto& [name, value] : own_environment())
    if (name.starts_with("AWS_")) environment[name] = value;
  for (const char* name : {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ"})
    if (const char* value = ::getenv(name)) environment[name] = value;
  const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  const long each = std::max<long>(1, cores / std::max<std::uint32_t>(1, config_.spec.nodes));
  environment["OMP_NUM_THREADS"] = std::to_string(each);
  environment["HOLDFAST_NODES_HERE"] = std::to_string(config_.spec.nodes + config_.spec.spares);
  return environment;
}

void Server::stop() {
  loop_->release_waiters();
  http_.reset();
  link_.reset();
  loop_->write_snapshot();
  if (keeper_) keeper_->tell(exit_status_);
}

void Server::send(NodeId node, const ServerMessage& message) {
  if (link_ == nullptr) return;
  link_->send(node, message);
  if (!std::holds_alternative<server_message::Fenced>(message)) return;
  provider_->release(node);
  if (const auto stream = streams_.find(node); stream != streams_.end())
    link_->close(node, stream->second);
}

void Server::terminate(NodeId node) {
  if (const auto stream = streams_.find(node); stream != streams_.end() && link_ != nullptr)
    link_->close(node, stream->second);
  provider_->terminate(node);
}

void Server::reboot(NodeId node) {
  provider_->reboot(node);
}

void Server::keep(const effect::KeepEvidence& evidence) {
  const std::string attempt = to_string(evidence.attempt.number);
  const WallTime started{wall_now().ns - (loop_->now() - evidence.attempt.started).ns};
  asio::post(behind_,
             [evidence, started,
              folder = state_ + "/incidents/" + to_string(evidence.incident) + "/" + attempt,
              logs = state_ + "/jobs/" + to_string(evidence.job) + "/" + attempt] {
               const Result<void> written = write_incident_folder(folder, evidence, started, logs);
               if (!written.ok())
                 spdlog::warn("evidence of an incident is lost: {}", written.error().text());
             });
}

void Server::provision(NodeId node) {
  MachineWish wish{.node = node};
  if (const auto& groups = loop_->controller().state().spec.groups; groups.size() == 1) {
    wish.group = groups.front().name;
    wish.instance_types = groups.front().instance_types;
  }
  const auto& jobs = loop_->controller().state().jobs;
  const bool busy = std::any_of(jobs.begin(), jobs.end(),
                                [](const auto& entry) { return !entry.second.has_ended(); });
  if (!busy || config_.provider != "local") return provider_->provision(wish);
  auto timer = std::make_shared<asio::steady_timer>(loop_->context());
  timer->expires_after(std::chrono::nanoseconds(kRefillDelay.ns));
  timer->async_wait([this, wish, timer](const asio::error_code& error) {
    if (!error) provider_->provision(wish);
  });
}

Result<LinkServer::Joined> Server::on_join(std::string_view token, std::string_view csr_pem) {
  const WallTime now = wall_now();
  HF_TRY(const NodeId node, verify_join_token(*ca_, token, now));
  const bool expected = loop_->call([&] {
    const auto& nodes = loop_->controller().state().nodes;
    const auto found = nodes.find(node);
    return found != nodes.end() && (found->second.state == NodeState::kProvisioning ||
                                    found->second.state == NodeState::kLifecycleScript ||
                                    found->second.state == NodeState::kRebooting);
  });
  if (!expected)
    return Error{Errc::kUnauthenticated, "token: " + to_string(node) +
                                             " has joined before, or is no member any more; a new "
                                             "machine gets a token of its own"};
  HF_TRY(std::string certificate, ca_->sign(csr_pem, node, kAgentCertificateLifetime, now));
  return LinkServer::Joined{node, std::move(certificate)};
}

void Server::on_message(NodeId node, std::uint64_t stream, AgentMessage message) {
  loop_->post([this, node, stream, message = std::move(message)]() mutable {
    take(node, stream, std::move(message));
  });
}

void Server::on_disconnected(NodeId node, std::uint64_t stream) {
  loop_->post([this, node, stream] {
    const auto found = streams_.find(node);
    if (found != streams_.end() && found->second == stream) streams_.erase(found);
  });
}

void Server::take(NodeId node, std::uint64_t stream, AgentMessage message) {
  std::uint64_t& newest = streams_[node];
  if (stream < newest) return;
  newest = stream;
  if (const auto* chunk = std::get_if<agent_message::LogChunk>(&message)) {
    if (const auto kept = logs_->write(node, *chunk); kept.ok())
      link_->send(node, server_message::LogAck{chunk->job, chunk->attempt, chunk->rank,
                                               chunk->offset + chunk->bytes.size()});
    else
      spdlog::warn("{}", kept.error().text());
  }
  if (const auto* wanted = std::get_if<agent_message::LifecycleFilesWanted>(&message))
    give_lifecycle_files(node, *wanted);
  loop_->take(node, std::move(message));
}

void Server::give_lifecycle_files(NodeId id, const agent_message::LifecycleFilesWanted& wanted) {
  const NodeRecord* node = loop_->controller().node(id);
  if (node == nullptr || node->state != NodeState::kLifecycleScript) return;
  if (const LifecycleScripts* scripts = loop_->controller().scripts_of(*node))
    lifecycle_files_->answer(id, wanted, scripts->source);
}

std::map<std::string, std::string> Server::lifecycle_files_config() const {
  const ClusterState& state = loop_->controller().state();
  if (state.spec.groups.size() != 1) return {};
  return lifecycle_config(
      state, state.spec.groups.front(),
      {.cluster_arn = state.spec.id, .instance_id = [](NodeId node) { return to_string(node); }});
}

HttpResponse Server::answer(const HttpRequest& request) {
  const Result<Ask> ask = parse_request(request);
  if (!ask.ok()) return render_error(ask.error());
  if (const auto* events = std::get_if<ask::Events>(&*ask)) {
    if (events->after) loop_->wait_for_note(*events->after, events->wait);
    return view_events(*journal_, *events);
  }
  return loop_->call([&] { return answer_on_loop(*ask); });
}

// The ones that change something; everything else is a view.
HttpResponse Server::answer_on_loop(const Ask& ask) {
  const Controller& core = loop_->controller();
  const auto job_of = [&](const JobRef& ref) {
    return core.find_job(ref.name.empty() ? to_string(ref.id) : ref.name);
  };
  if (const auto* submitted = std::get_if<ask::Submit>(&ask)) return submit(submitted->spec);
  if (const auto* stop = std::get_if<ask::StopJob>(&ask)) {
    const JobRecord* job = job_of(stop->job);
    if (job == nullptr) return render_error(no_such_job(stop->job));
    return accept(event::JobStopAsked{job->id, "operator"});
  }
  if (const auto* replace = std::get_if<ask::ReplaceNode>(&ask))
    return accept(event::NodeReplaceAsked{replace->node, "operator"});
  if (const auto* start = std::get_if<ask::StartChecks>(&ask)) return start_checks(start->request);
  if (std::holds_alternative<ask::AddNode>(ask)) return accept(event::NodeAddAsked{"operator"});
  if (std::holds_alternative<ask::CloseBreaker>(ask))
    return accept(event::BreakerCloseAsked{"operator"});
  if (const auto* thaw = std::get_if<ask::ThawNode>(&ask)) {
    auto* local = dynamic_cast<LocalDriver*>(provider_.get());
    if (local == nullptr)
      return render_error({Errc::kWrongState, "node: only one of this host can be thawed"});
    const auto thawed = local->thaw(thaw->node);
    return thawed.ok() ? HttpResponse{202, "{}"} : render_error(thawed.error());
  }
  if (const auto* node = std::get_if<ask::InjectNode>(&ask)) {
    if (node->what == Injection::kGpu && !config_.devices.starts_with("recorded:"))
      return render_error({Errc::kWrongState,
                           "gpu: the nodes of this cluster have no recorded machine to change; "
                           "start one with `holdfast up --devices recorded:FILE`"});
    return inject(node->node, {.what = node->what, .line = node->line});
  }
  if (const auto* rank = std::get_if<ask::InjectJob>(&ask)) {
    const JobRecord* job = job_of(rank->job);
    if (job == nullptr) return render_error(no_such_job(rank->job));
    const std::size_t index = rank->rank / std::max(1u, job->attempt.ranks_per_node);
    if (!job->is_live() || index >= job->attempt.nodes.size())
      return render_error({Errc::kWrongState, "rank: job '" + job->spec.name + "' is " +
                                                  std::string(word_of(job->state)) +
                                                  " and has no live rank " +
                                                  std::to_string(rank->rank)});
    return inject(job->attempt.nodes[index],
                  {.what = rank->what, .job = job->id, .rank = rank->rank, .signal = rank->signal});
  }
  if (std::holds_alternative<ask::Down>(ask)) {
    take_down();
    return {202, "{}"};
  }
  return render_view(ask, *loop_, *logs_);
}

HttpResponse Server::inject(NodeId node, const server_message::Inject& what) {
  if (!streams_.contains(node) || !link_->send(node, what))
    return render_error({Errc::kWrongState, "node: " + to_string(node) + " is not connected"});
  return {202, "{}"};
}

HttpResponse Server::accept(Event request) {
  const Result<void> allowed = loop_->controller().check(request);
  if (!allowed.ok()) return render_error(allowed.error());
  loop_->submit(std::move(request));
  loop_->take_turn();
  return {202, "{}"};
}

HttpResponse Server::start_checks(const CheckRequest& request) {
  const HttpResponse response =
      accept(event::ChecksAsked{request.nodes, request.kinds, request.drain, "operator"});
  if (response.status >= 400) return response;
  const NodeRecord* node = loop_->controller().node(request.nodes.front());
  return {202, nlohmann::json{{"check", to_string(node->check)}}.dump()};
}

HttpResponse Server::submit(const JobSpec& spec) {
  const event::JobSubmitted request{spec};
  const Result<void> allowed = loop_->controller().check(request);
  if (!allowed.ok()) return render_error(allowed.error());
  loop_->submit(request);
  loop_->take_turn();
  const JobRecord* job = loop_->controller().find_job_by_token(spec.request_token);
  if (job == nullptr) job = loop_->controller().find_job(spec.name);
  HttpResponse response = render_view(ask::DescribeJob{{job->id, {}}}, *loop_, *logs_);
  return {201, nlohmann::json{{"job", nlohmann::json::parse(response.body)}}.dump()};
}

void Server::take_down() {
  loop_->submit(event::DownAsked{"operator"});
  loop_->take_turn();
  // The agents are told to die already; the answer to this request still has to leave.
  await_end(monotonic_ns() +
            (config_.provider == "local" ? kDownTimeout : kDownTimeoutElsewhere).ns);
}

// Down is when nothing of the cluster runs any more, frozen nodes included.
void Server::await_end(std::int64_t deadline) {
  auto timer = std::make_shared<asio::steady_timer>(loop_->context());
  timer->expires_after(std::chrono::milliseconds(100));
  timer->async_wait([this, timer, deadline](const asio::error_code& error) {
    if (error) return;
    const bool ended = provider_->end_everything();
    if (!ended && monotonic_ns() < deadline) return await_end(deadline);
    if (!ended) spdlog::error("processes of the cluster cannot be killed; they hang in the kernel");
    loop_->stop();
  });
}

// The nodes of a cluster that `up` has made, with the scripts that it was given.
InstanceGroup group_with_scripts(const nlohmann::json& json, const ClusterSpec& spec) {
  const auto& scripts = json.at("lifecycle");
  return {.number = 1,
          .name = "nodes",
          .count = spec.nodes,
          .spares = spec.spares,
          .lifecycle = {.source = scripts.at("source"),
                        .on_create = scripts.at("on_create"),
                        .on_init_complete = scripts.at("on_init_complete")}};
}

}  // namespace

Result<ServerConfig> read_server_config(const std::string& state) {
  HF_TRY(const std::string text, read_file(state + "/cluster.json", kConfigMax));
  try {
    const auto json = nlohmann::json::parse(text);
    ServerConfig config;
    config.uuid = json.at("uuid");
    config.spec.name = json.at("name");
    config.spec.nodes = json.at("nodes");
    config.spec.spares = json.at("spares");
    config.spec.machines_max = json.at("machines_max");
    config.spec.breaker_percent = json.at("breaker_percent");
    config.devices = json.value("devices", config.devices);
    config.host_root = json.value("host_root", config.host_root);
    config.provider = json.value("driver", config.provider);
    if (json.contains("lifecycle")) config.spec.groups = {group_with_scripts(json, config.spec)};
    config.host = json.at("host");
    config.link_port = json.at("link_port");
    config.api_port = json.at("api_port");
    if (const auto checks = read_file(state + "/checks.yaml", kConfigMax); checks.ok()) {
      HF_TRY(config.spec.checks, parse_check_file(*checks, state + "/checks.yaml"));
    }
    return config;
  } catch (const nlohmann::json::exception& error) {
    return Error{Errc::kStateCorrupt, state + "/cluster.json: " + error.what() +
                                          "; restore it, or start anew with another --state"};
  }
}

Result<void> write_server_config(const std::string& state, const ServerConfig& config) {
  nlohmann::json json{{"uuid", config.uuid},
                      {"name", config.spec.name},
                      {"nodes", config.spec.nodes},
                      {"spares", config.spec.spares},
                      {"machines_max", config.spec.machines_max},
                      {"breaker_percent", config.spec.breaker_percent},
                      {"devices", config.devices},
                      {"host_root", config.host_root},
                      {"driver", config.provider},
                      {"host", config.host},
                      {"link_port", config.link_port},
                      {"api_port", config.api_port}};
  if (!config.spec.groups.empty()) {
    const LifecycleScripts& scripts = config.spec.groups.front().lifecycle;
    json["lifecycle"] = {{"source", scripts.source},
                         {"on_create", scripts.on_create},
                         {"on_init_complete", scripts.on_init_complete}};
  }
  return write_file_atomic(state + "/cluster.json", json.dump(2) + "\n", 0600);
}

Result<int> serve(const std::string& state, int keeper) {
  ::signal(SIGPIPE, SIG_IGN);
  HF_TRY(const ServerConfig config, read_server_config(state));
  Server server(state, config);
  HF_TRY_VOID(server.open());
  HF_TRY_VOID(server.start(keeper));
  server.run();
  server.stop();
  return server.exit_status();
}

Result<int> end_cluster(const std::string& state) {
  HF_TRY(const ServerConfig config, read_server_config(state));
  Server server(state, config);
  HF_TRY_VOID(server.open());
  server.take_down();
  server.run();
  server.stop();
  return 0;
}

}  // namespace holdfast
