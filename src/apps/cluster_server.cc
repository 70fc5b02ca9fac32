#include "apps/cluster_server.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>

#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include "api/hyperpod/ids.h"
#include "api/lifecycle_config.h"
#include "apps/incident_folder.h"
#include "apps/providers.h"
#include "apps/rest_views.h"
#include "apps/version.h"
#include "drivers/local.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/join_token.h"
#include "io/process.h"
#include "io/s3_config.h"

namespace holdfast {
namespace {

constexpr Duration kJoinTokenLifetime = minutes(10);
constexpr Duration kCertificateLifetime = seconds(90ll * 24 * 3600);
// A new local agent competes with a recovery for this machine's cores, which a real new machine
// would not: while jobs run it comes a moment later.
constexpr Duration kRefillDelay = seconds(3);
constexpr Duration kScheduleLook = seconds(5);
constexpr Duration kDownTimeout = seconds(10);
constexpr Duration kDownTimeoutElsewhere = seconds(60);  // machines of other hosts

}  // namespace

Result<void> ClusterServer::open() {
  HF_TRY(lock_, StateLock::take(state_));
  HF_TRY(ca_, ClusterCa::load(state_ + "/ca"));
  HF_TRY(journal_, Journal::open(state_, config_.uuid, std::string(kVersion)));
  HF_TRY(loop_, ControlLoop::recover(*journal_, *this));
  if (const std::string file = state_ + "/topology.conf"; ::access(file.c_str(), F_OK) == 0) {
    HF_TRY(const std::string text, read_file(file, kTopologyFileMax));
    HF_TRY(topology_, parse_topology_file(text, file));
  }
  logs_ = std::make_unique<RankLogs>(state_ + "/jobs", state_ + "/nodes-logs");
  lifecycle_files_ = std::make_unique<LifecycleFiles>(
      loop_->context(), state_ + "/lifecycle",
      [this](NodeId node, std::uint32_t run, const LifecycleWish& wish,
             const Result<std::string>& files) { return lifecycle_read(node, run, wish, files); },
      [this](NodeId node) { return lifecycle_files_config(node); },
      [this](NodeId node, server_message::LifecycleFiles files) {
        if (link_ != nullptr) link_->send(node, files);
      });
  const ProviderSetting setting{.provider = config_.provider,
                                .cluster = config_.uuid,
                                .nodes_folder = state_ + "/nodes",
                                .hosts_file = state_ + "/hosts.json",
                                .claims = claims_,
                                .ca_file = state_ + "/ca/ca.crt",
                                .server = config_.host + ":" + std::to_string(config_.link_port),
                                .devices = config_.devices,
                                .host_root = config_.host_root,
                                .environment = agent_environment()};
  HF_TRY(provider_, make_provider(
                        loop_->context(), setting, [this](NodeId node) { return make_token(node); },
                        [this](NodeId node, const std::string& reason) {
                          lifecycle_files_->forget(node);
                          loop_->submit(event::NodesLost{{node}, reason, true});
                        },
                        [this](NodeId node, const std::string& reason) {
                          loop_->submit(event::CapacityMissing{{node}, reason});
                        }));
  return {};
}

Result<void> ClusterServer::start() {
  HF_TRY(const Credentials credentials,
         ca_->issue("server", Role::kServer, {config_.host}, kCertificateLifetime, wall_now()));
  HF_TRY_VOID(write_file_atomic(state_ + "/ca/server.crt", credentials.certificate_pem, 0600));
  HF_TRY_VOID(write_file_atomic(state_ + "/ca/server.key", credentials.key_pem, 0600));
  HF_TRY(link_, LinkServer::start({.host = config_.host,
                                   .port = config_.link_port,
                                   .ca_pem = ca_->certificate_pem(),
                                   .credentials = credentials},
                                  *this));
  const ClusterState& known = loop_->controller().state();
  for (const auto& [id, node] : known.nodes) {
    const bool is_down =
        node.state == NodeState::kProvisioning || node.state == NodeState::kRebooting;
    if (node.state == NodeState::kGone)
      provider_->release(id);
    else if (!is_down)
      provider_->adopt(id);
  }
  const bool is_own = config_.api_port != 0;  // taken down, it is made anew by the next `up`
  if (known.groups_made == 0 || (known.down && is_own && !config_.deleted))
    loop_->submit(event::ClusterMade{config_.spec});
  forget_packs();
  schedules_ = std::make_unique<asio::steady_timer>(loop_->context());
  watch_schedules();
  return {};
}

void ClusterServer::run() {
  thread_ = std::thread([this] { loop_->run(); });
}

// What a login shell of the user would have, the way to an object store, and this machine's cores
// shared among the nodes.
std::map<std::string, std::string> ClusterServer::agent_environment() const {
  std::map<std::string, std::string> environment;
  for (const auto& [name, value] : own_environment())
    if (name.starts_with("AWS_")) environment[name] = value;
  for (const char* name : {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ"})
    if (const char* value = ::getenv(name)) environment[name] = value;
  const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  const long each = std::max<long>(1, cores / std::max<std::uint32_t>(1, config_.spec.nodes()));
  environment["OMP_NUM_THREADS"] = std::to_string(each);
  environment["HOLDFAST_NODES_HERE"] = std::to_string(config_.spec.nodes() + config_.spec.spares());
  return environment;
}

void ClusterServer::stop() {
  if (loop_ == nullptr) return;
  loop_->release_waiters();
  link_.reset();
  loop_->stop();
  if (thread_.joinable()) {
    thread_.join();
    loop_->write_snapshot();
  }
}

std::string ClusterServer::make_token(NodeId node) const {
  const WallTime until{wall_now().ns + kJoinTokenLifetime.ns};
  return make_join_token(*ca_, node, until);
}

void ClusterServer::send(NodeId node, const ServerMessage& message) {
  if (link_ == nullptr) return;
  link_->send(node, message);
  if (!std::holds_alternative<server_message::Fenced>(message)) return;
  provider_->release(node);
  if (const auto stream = streams_.find(node); stream != streams_.end())
    link_->close(node, stream->second);
}

void ClusterServer::terminate(NodeId node) {
  if (const auto stream = streams_.find(node); stream != streams_.end() && link_ != nullptr)
    link_->close(node, stream->second);
  provider_->terminate(node);
}

void ClusterServer::reboot(NodeId node) {
  provider_->reboot(node);
}

void ClusterServer::keep(const effect::KeepEvidence& evidence) {
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

const InstanceGroup* ClusterServer::group_of(NodeId id) const {
  const NodeRecord* node = loop_->controller().node(id);
  const auto& groups = loop_->controller().state().spec.groups;
  if (node == nullptr) return nullptr;
  const auto found = std::ranges::find(groups, node->group, &InstanceGroup::number);
  return found == groups.end() ? nullptr : &*found;
}

void ClusterServer::provision(NodeId node) {
  MachineWish wish{.node = node};
  if (const InstanceGroup* group = group_of(node)) {
    wish.group = group->name;
    wish.instance_types = group->instance_types;
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

Result<LinkServer::Joined> ClusterServer::on_join(std::string_view token,
                                                  std::string_view csr_pem) {
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
  HF_TRY(std::string certificate, ca_->sign(csr_pem, node, kCertificateLifetime, now));
  return LinkServer::Joined{node, std::move(certificate)};
}

void ClusterServer::on_message(NodeId node, std::uint64_t stream, AgentMessage message) {
  loop_->post([this, node, stream, message = std::move(message)]() mutable {
    take(node, stream, std::move(message));
  });
}

void ClusterServer::on_disconnected(NodeId node, std::uint64_t stream) {
  loop_->post([this, node, stream] {
    const auto found = streams_.find(node);
    if (found != streams_.end() && found->second == stream) streams_.erase(found);
  });
}

void ClusterServer::take(NodeId node, std::uint64_t stream, AgentMessage message) {
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
  if (auto* hello = std::get_if<agent_message::Hello>(&message))
    hello->location = located(std::move(hello->location), topology_);
  if (const auto* wanted = std::get_if<agent_message::LifecycleFilesWanted>(&message))
    give_lifecycle_files(node, *wanted);
  loop_->take(node, std::move(message));
}

void ClusterServer::give_lifecycle_files(NodeId id,
                                         const agent_message::LifecycleFilesWanted& wanted) {
  if (const auto wish = lifecycle_wish(id)) lifecycle_files_->answer(id, wanted, *wish);
}

std::optional<LifecycleWish> ClusterServer::lifecycle_wish(NodeId id) const {
  const Controller& core = loop_->controller();
  const NodeRecord* node = core.node(id);
  if (node == nullptr || node->state != NodeState::kLifecycleScript) return std::nullopt;
  const LifecycleScripts* scripts = core.scripts_of(*node);
  if (scripts == nullptr) return std::nullopt;
  LifecycleWish wish{.source = folder_of_scripts(scripts->source)};
  for (const std::string& program : {scripts->on_create, scripts->on_init_complete})
    if (!program.empty()) wish.programs.push_back(program);
  if (const LifecycleVersion* kept = core.kept_version(*node)) wish.kept = kept->files;
  return wish;
}

// On record which version a node has before it gets the first byte of it.
bool ClusterServer::lifecycle_read(NodeId node, std::uint32_t run, const LifecycleWish& wish,
                                   const Result<std::string>& files) {
  if (lifecycle_wish(node) != wish) return false;  // another version is wanted meanwhile
  event::LifecycleFilesRead read{.node = node, .run = run};
  if (files.ok()) {
    read.files = *files;
  } else {
    read.error = files.error().text();
    const auto& groups = loop_->controller().state().groups;
    const auto group =
        std::ranges::find(groups, loop_->controller().node(node)->group, &GroupRecord::number);
    if (group != groups.end() && group->failure.ends_with(read.error)) return false;  // told
  }
  loop_->submit(std::move(read));
  loop_->take_turn();
  return files.ok();
}

void ClusterServer::forget_packs() const {
  std::set<std::string> used;
  for (const GroupRecord& group : loop_->controller().state().groups)
    for (const LifecycleVersion& version : group.versions) used.insert(version.files);
  keep_packs(state_ + "/lifecycle", used);
}

// A look every few seconds, and not a timer to the time: the wall clock may be set.
void ClusterServer::watch_schedules() {
  schedules_->expires_after(std::chrono::nanoseconds(kScheduleLook.ns));
  schedules_->async_wait([this](const asio::error_code& error) {
    if (error) return;
    if (const WallTime now = wall_now(); loop_->controller().is_due(now))
      loop_->submit(event::SchedulesLookedAt{now});
    watch_schedules();
  });
}

std::string ClusterServer::folder_of_scripts(const std::string& source) const {
  const Result<S3Url> url = is_s3_url(source) ? parse_s3_url(source) : Error{Errc::kNotFound, ""};
  if (!url.ok() || url->bucket.starts_with(".") || url->prefix.find("..") != std::string::npos)
    return source;
  const std::string folder = config_.buckets + "/" + url->bucket;
  return ::access(folder.c_str(), X_OK) == 0 ? folder + "/" + url->prefix : source;
}

std::map<std::string, std::string> ClusterServer::lifecycle_files_config(NodeId node) const {
  const ClusterState& state = loop_->controller().state();
  const InstanceGroup* group = group_of(node);
  if (group == nullptr) return {};
  const std::string& cluster = state.spec.id;
  return lifecycle_config(
      state, *group,
      {.cluster_arn = hyperpod::cluster_arn({kRegion, kAccount}, cluster),
       .instance_id = [cluster](NodeId member) { return hyperpod::instance_id(cluster, member); }});
}

HttpResponse ClusterServer::answer(const HttpRequest& request) {
  const Result<Ask> ask = parse_request(request);
  if (!ask.ok()) return render_error(ask.error());
  if (const auto* events = std::get_if<ask::Events>(&*ask)) {
    if (events->after) loop_->wait_for_note(*events->after, events->wait);
    return view_events(*journal_, *events);
  }
  return loop_->call([&] { return answer_on_loop(*ask); });
}

// The ones that change something; everything else is a view.
HttpResponse ClusterServer::answer_on_loop(const Ask& ask) {
  const Controller& core = loop_->controller();
  const auto job_of = [&](const JobRef& ref) {
    return core.find_job(ref.name.empty() ? to_string(ref.id) : ref.name);
  };
  if (const auto* submitted = std::get_if<ask::Submit>(&ask)) return submit(submitted->spec);
  if (const auto* stop = std::get_if<ask::StopJob>(&ask)) {
    const JobRecord* job = job_of(stop->job);
    if (job == nullptr) return render_error(no_such_job(stop->job));
    return respond(event::JobStopAsked{job->id, "operator"});
  }
  if (const auto* replace = std::get_if<ask::ReplaceNode>(&ask))
    return respond(event::NodeReplaceAsked{replace->node, "operator"});
  if (const auto* start = std::get_if<ask::StartChecks>(&ask)) return start_checks(start->request);
  if (std::holds_alternative<ask::AddNode>(ask)) return respond(event::NodeAddAsked{"operator"});
  if (std::holds_alternative<ask::CloseBreaker>(ask))
    return respond(event::BreakerCloseAsked{"operator"});
  if (const auto* thaw = std::get_if<ask::ThawNode>(&ask)) {
    return this->thaw(thaw->node);
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
  return render_view(ask, *loop_, *logs_);
}

HttpResponse ClusterServer::thaw(NodeId node) {
  auto* local = dynamic_cast<LocalDriver*>(provider_.get());
  if (local == nullptr)
    return render_error({Errc::kWrongState, "node: only one of this host can be thawed"});
  const auto thawed = local->thaw(node);
  return thawed.ok() ? HttpResponse{202, "{}"} : render_error(thawed.error());
}

HttpResponse ClusterServer::inject(NodeId node, const server_message::Inject& what) {
  if (!streams_.contains(node) || !link_->send(node, what))
    return render_error({Errc::kWrongState, "node: " + to_string(node) + " is not connected"});
  return {202, "{}"};
}

Result<void> ClusterServer::accept(Event request) {
  HF_TRY_VOID(loop_->controller().check(request));
  loop_->submit(std::move(request));
  loop_->take_turn();
  return {};
}

HttpResponse ClusterServer::respond(Event request) {
  const Result<void> accepted = accept(std::move(request));
  return accepted.ok() ? HttpResponse{202, "{}"} : render_error(accepted.error());
}

HttpResponse ClusterServer::start_checks(const CheckRequest& request) {
  const HttpResponse response =
      respond(event::ChecksAsked{request.nodes, request.kinds, request.drain, "operator"});
  if (response.status >= 400) return response;
  const NodeRecord* node = loop_->controller().node(request.nodes.front());
  return {202, nlohmann::json{{"check", to_string(node->check)}}.dump()};
}

HttpResponse ClusterServer::submit(const JobSpec& spec) {
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

void ClusterServer::take_down(const std::string& by, std::function<void()> on_down) {
  loop_->post([this, by, on_down = std::move(on_down)]() mutable {
    loop_->submit(event::DownAsked{by});
    loop_->take_turn();
    const Duration limit = config_.provider == "local" ? kDownTimeout : kDownTimeoutElsewhere;
    await_end(monotonic_ns() + limit.ns, std::move(on_down));
  });
}

// Down is when nothing of the cluster runs any more, frozen nodes included.
void ClusterServer::await_end(std::int64_t deadline, std::function<void()> on_down) {
  auto timer = std::make_shared<asio::steady_timer>(loop_->context());
  timer->expires_after(std::chrono::milliseconds(100));
  timer->async_wait([this, timer, deadline, on_down](const asio::error_code& error) mutable {
    if (error) return;
    const bool ended = provider_->end_everything();
    if (!ended && monotonic_ns() < deadline) return await_end(deadline, std::move(on_down));
    if (!ended) spdlog::error("processes of the cluster cannot be killed; they hang in the kernel");
    on_down();
  });
}

}  // namespace holdfast
