#include "apps/agent.h"

#include <limits.h>
#include <signal.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <memory>
#include <thread>

#include <spdlog/spdlog.h>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>

#include "apps/chaos_on_node.h"
#include "apps/check_launcher.h"
#include "apps/checkpoint_library.h"
#include "apps/device_watch.h"
#include "apps/lifecycle_runner.h"
#include "apps/log_shipper.h"
#include "apps/python_files.h"
#include "apps/rank_launcher.h"
#include "apps/stack_collector.h"
#include "core/agent/agent_machine.h"
#include "io/clock.h"
#include "io/file_tail.h"
#include "io/files.h"
#include "io/host_probe.h"
#include "io/link_client.h"
#include "io/sockets.h"

namespace holdfast {
namespace {

constexpr auto kLookOften =
    std::chrono::milliseconds(20);  // while a rank starts: its first step matters
constexpr auto kLookSeldom = std::chrono::milliseconds(100);
// Ports for rank 0's store: below the range that the kernel gives to outgoing connections.
constexpr std::uint16_t kRendezvousFirst = 20000;
constexpr std::uint16_t kRendezvousLast = 31999;

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

DeviceWatch::Options watch_options(const AgentConfig& config) {
  return {.devices = config.devices,
          .host_root = config.host_root == "none" ? std::string() : config.host_root,
          .folder = config.folder,
          .interval = milliseconds(static_cast<std::int64_t>(config.probe_interval_s * 1000))};
}

// Wires the agent's machine to processes, files and the link. One thread, but for the link's
// callbacks, which only post.
class Agent final : public LinkClient::Listener,
                    public RankLauncher::Listener,
                    public LifecycleRunner::Listener {
 public:
  Agent(AgentConfig config, NodeId node, std::string python_folder, PeerIdentity identity);
  int run(LinkClient::Options link);

  // LinkClient::Listener
  void on_connected() override {
    asio::post(context_, [this] { step(agent_event::Connected{self()}); });
  }
  void on_message(ServerMessage message) override {
    asio::post(context_, [this, message = std::move(message)] { take(message); });
  }
  void on_disconnected(const Error& reason) override {
    asio::post(context_, [reason] { spdlog::warn("link: {}", reason.text()); });
  }

  // RankLauncher::Listener
  void rank_started(const RankLauncher::Key& key, pid_t pid) override;
  void rank_ended(const RankLauncher::Key& key, const RankExit& exit) override;

  // LifecycleRunner::Listener
  bool send_to_server(const agent_message::LifecycleFilesWanted& wanted) override {
    return link_->send(wanted);
  }
  void lifecycle_tried(agent_event::LifecycleTried tried) override { step(std::move(tried)); }
  void program_started(pid_t pid) override {
    launcher_.add_helper(
        pid, [this, pid](const ExitStatus& status) { lifecycle_.program_ended(pid, status); });
  }

 private:
  void step(const AgentEvent& event);
  void take(const ServerMessage& message);
  void perform(const agent_effect::Send& send);
  void perform(const agent_effect::WarmUp& warm_up) {
    launcher_.warm_up(warm_up.job, warm_up.spec);
  }
  void perform(const agent_effect::CoolDown& cool) { launcher_.cool_down(cool.job); }
  void perform(const agent_effect::StartRank& start);
  void perform(const agent_effect::KillRanks& kill) {
    launcher_.kill(kill.job, kill.attempt, kill.signal);
  }
  void perform(const agent_effect::CollectStacks& collect);
  void perform(const agent_effect::ArmGrace& grace);
  void perform(const agent_effect::ArmHeartbeat& heartbeat);
  void perform(const agent_effect::StartCheck& check) { checks_.start(check.start); }
  void perform(const agent_effect::StopCheck&) { checks_.stop(); }
  void perform(const agent_effect::TryLifecycle& scripts);
  void perform(const agent_effect::StopLifecycle&) { lifecycle_.stop(); }
  void perform(const agent_effect::ArmLifecycleRetry& retry);
  void perform(const agent_effect::Leave& leave);
  void perform(const agent_effect::ResetDevices& reset) { devices_.reset(reset.devices); }

  agent_message::Hello self();
  void pick_rendezvous_port();
  void change_devices(const std::string& what);
  void watch_children();
  void look();
  void read_kernel_log();
  void beat();

  const AgentConfig config_;
  const NodeId node_;
  const std::map<std::string, std::string> software_;
  asio::io_context context_{1};
  AgentMachine machine_;
  RankLauncher launcher_;
  CheckLauncher checks_;
  LifecycleRunner lifecycle_;
  LogShipper logs_;
  StackCollector stacks_;
  KernelLogTail kernel_log_;
  DeviceWatch devices_;
  std::uint16_t rendezvous_port_ = 0;
  std::int64_t last_ship_ns_ = 0;
  Duration heartbeat_interval_ = milliseconds(500);
  asio::steady_timer look_timer_{context_};
  asio::steady_timer heartbeat_timer_{context_};
  asio::signal_set children_{context_, SIGCHLD};
  asio::signal_set end_{context_, SIGTERM, SIGINT};
  std::unique_ptr<LinkClient> link_;
};

Agent::Agent(AgentConfig config, NodeId node, std::string python_folder, PeerIdentity identity)
    : config_(std::move(config)),
      node_(node),
      software_(read_software(config_.host_root == "none" ? "/" : config_.host_root)),
      launcher_(context_,
                {.node = node,
                 .folder = config_.folder,
                 .python_folder = std::move(python_folder),
                 .cluster = config_.cluster,
                 .identity = std::move(identity),
                 .environment = own_environment()},
                *this),
      checks_(
          context_, node, config_.folder,
          [this](const std::string& name) { return launcher_.make_group(name); },
          [this](agent_message::CheckReport report) {
            step(agent_event::CheckDone{std::move(report)});
          }),
      lifecycle_(context_,
                 {.node = node,
                  .cluster = config_.cluster,
                  .folder = config_.folder,
                  .config = lifecycle_config_folder(config_.folder, config_.host_root == "/"),
                  .environment = own_environment()},
                 *this),
      logs_([this](const agent_message::LogChunk& chunk) { return link_->send(chunk); }),
      stacks_(context_,
              [this](const agent_message::StacksCollected& stacks) {
                step(agent_event::StacksRead{stacks});
              }),
      kernel_log_(config_.kernel_log, KernelLogTail::Start::kEnd),
      devices_(
          context_, watch_options(config_), [this](const AgentEvent& event) { step(event); },
          [this](pid_t pid) { launcher_.add_helper(pid); }) {}

int Agent::run(LinkClient::Options link) {
  pick_rendezvous_port();
  step(lifecycle_.found());
  link_ = std::make_unique<LinkClient>(std::move(link), *this);
  watch_children();
  end_.async_wait([this](const asio::error_code& error, int) {
    if (error) return;
    launcher_.kill_all(SIGKILL);
    checks_.stop();
    lifecycle_.stop();
    context_.stop();
  });
  look();
  devices_.start();
  context_.run();
  return 0;
}

agent_message::Hello Agent::self() {
  struct sysinfo machine {};
  ::sysinfo(&machine);
  return {.node = node_,
          .address = config_.address,
          .rendezvous_port = rendezvous_port_,
          .pid = ::getpid(),
          .cpus = std::thread::hardware_concurrency(),
          .memory_bytes = std::uint64_t{machine.totalram} * machine.mem_unit,
          .snapshot_address = launcher_.snapshot_address(),
          .software = software_,
          .instance_type = config_.instance_type,
          .location = {config_.spine, config_.rack, host_name()}};
}

void Agent::pick_rendezvous_port() {
  // Nodes on one machine begin at different places, so they do not race for one port.
  const std::uint16_t hint =
      rendezvous_port_ != 0
          ? static_cast<std::uint16_t>(rendezvous_port_ + 1)
          : static_cast<std::uint16_t>(kRendezvousFirst + (::getpid() * 37) % 12000);
  const auto port = free_port(config_.address, kRendezvousFirst, kRendezvousLast, hint);
  if (port.ok())
    rendezvous_port_ = *port;
  else
    spdlog::error("{}", port.error().text());
}

void Agent::step(const AgentEvent& event) {
  AgentEffects effects;
  machine_.step(Instant{monotonic_ns()}, event, effects);
  for (const AgentEffect& effect : effects)
    std::visit([this](const auto& e) { perform(e); }, effect);
}

void Agent::take(const ServerMessage& message) {
  if (const auto* ack = std::get_if<server_message::LogAck>(&message))
    return logs_.acknowledged(*ack);
  if (const auto* inject = std::get_if<server_message::Inject>(&message)) {
    if (inject->what == Injection::kGpu) return change_devices(inject->line);
    return inject_here(*inject, launcher_, config_.kernel_log);
  }
  if (const auto* files = std::get_if<server_message::LifecycleFiles>(&message))
    return lifecycle_.take(*files);
  if (std::holds_alternative<server_message::Welcome>(message)) logs_.reconnected();
  step(agent_event::Received{message});
}

void Agent::change_devices(const std::string& what) {
  spdlog::warn("chaos: gpu {}", what);
  if (const Result<void> changed = devices_.change(what); !changed.ok())
    spdlog::warn("{}", changed.error().text());
}

void Agent::perform(const agent_effect::Send& send) {
  // The output of a rank comes before the news of its end.
  if (std::holds_alternative<agent_message::RankExited>(send.message)) logs_.ship();
  if (const auto* report = std::get_if<agent_message::LifecycleReported>(&send.message)) {
    lifecycle_.keep(*report);
    logs_.ship();
  }
  link_->send(send.message);
}

void Agent::perform(const agent_effect::StartRank& start) {
  const RankLauncher::Key key{start.start.job, start.start.attempt,
                              start.start.first_rank() + start.local_rank};
  logs_.add(key, launcher_.paths(key).log);
  launcher_.start(start.start, start.local_rank);
  if (start.start.group_rank == 0 && start.local_rank == 0) {
    pick_rendezvous_port();  // this one is in use now; the next attempt gets another
    beat();
  }
  look();
}

void Agent::perform(const agent_effect::TryLifecycle& scripts) {
  logs_.add({}, LifecycleRunner::log_path(config_.folder));
  lifecycle_.start(scripts.start);
}

void Agent::perform(const agent_effect::ArmLifecycleRetry& retry) {
  auto timer = std::make_shared<asio::steady_timer>(context_);
  timer->expires_after(std::chrono::nanoseconds(retry.after.ns));
  timer->async_wait([this, timer, run = retry.run](const asio::error_code& error) {
    if (!error) step(agent_event::LifecycleRetryDue{run});
  });
}

void Agent::perform(const agent_effect::CollectStacks& collect) {
  const RankLauncher::Key key{collect.job, collect.attempt, collect.rank};
  const auto rank = launcher_.ranks().find(key);
  if (rank != launcher_.ranks().end()) stacks_.collect(key, rank->second);
}

void Agent::perform(const agent_effect::ArmGrace& grace) {
  auto timer = std::make_shared<asio::steady_timer>(context_);
  timer->expires_after(std::chrono::nanoseconds(grace.after.ns));
  timer->async_wait(
      [this, timer, job = grace.job, attempt = grace.attempt](const asio::error_code& error) {
        if (!error) step(agent_event::GraceOver{job, attempt});
      });
}

void Agent::perform(const agent_effect::ArmHeartbeat& heartbeat) {
  heartbeat_interval_ = heartbeat.interval;
  heartbeat_timer_.expires_after(std::chrono::nanoseconds(heartbeat_interval_.ns));
  heartbeat_timer_.async_wait([this](const asio::error_code& error) {
    if (error) return;
    beat();
    perform(agent_effect::ArmHeartbeat{heartbeat_interval_});
  });
}

void Agent::beat() {
  // Without its folder the node has been deleted by a person.
  if (::access(config_.folder.c_str(), F_OK) != 0)
    return perform(agent_effect::Leave{config_.folder + " is gone"});
  step(agent_event::HeartbeatDue{rendezvous_port_});
}

void Agent::perform(const agent_effect::Leave& leave) {
  spdlog::warn("leaving: {}", leave.reason);
  launcher_.signal_everything(SIGKILL);
  context_.stop();
}

void Agent::rank_started(const RankLauncher::Key& key, pid_t pid) {
  step(agent_event::RankStarted{key.job, key.attempt, key.rank, pid});
}

void Agent::rank_ended(const RankLauncher::Key& key, const RankExit& exit) {
  read_kernel_log();  // a kill for memory is on record before the rank is reaped
  logs_.ended(key);
  step(agent_event::RankEnded{key.job, key.attempt, exit});
}

void Agent::watch_children() {
  children_.async_wait([this](const asio::error_code& error, int) {
    if (error) return;
    launcher_.reap_children();
    watch_children();
  });
}

void Agent::read_kernel_log() {
  const auto lines = kernel_log_.read_lines();
  if (!lines.ok()) return;
  for (const std::string& line : *lines) step(agent_event::KernelLine{line});
}

// What nobody tells us: pages, logs, the kernel log, memory.
void Agent::look() {
  for (const auto& [key, rank] : launcher_.ranks())
    if (rank.page) step(agent_event::PageRead{key.job, key.attempt, rank.page->read().progress});
  const bool often = machine_.is_starting();
  const std::int64_t now = monotonic_ns();
  if (!often || now - last_ship_ns_ > 100'000'000) {
    last_ship_ns_ = now;
    read_kernel_log();
    launcher_.watch_memory();
    logs_.ship();
  }
  look_timer_.expires_after(often ? kLookOften : kLookSeldom);
  look_timer_.async_wait([this](const asio::error_code& error) {
    if (!error) look();
  });
}

// Each node has its own copy, so that what a rank imports is what its agent was built with.
Result<std::string> unpack_python(const std::string& folder) {
  const std::string python = folder + "/python";
  for (const EmbeddedFile& file : python_files()) {
    const std::string path = python + "/" + std::string(file.path);
    HF_TRY_VOID(make_folder(path.substr(0, path.rfind('/')), 0755));
    HF_TRY_VOID(write_file_atomic(path, file.content, 0644));
  }
  HF_TRY_VOID(write_file_atomic(python + "/holdfast/libholdfast_checkpoint.so",
                                checkpoint_library(), 0755));
  return python;
}

}  // namespace

Result<int> run_agent(const AgentConfig& given) {
  AgentConfig config = given;
  if (config.kernel_log.empty()) config.kernel_log = config.folder + "/kernel.log";
  ::signal(SIGPIPE, SIG_IGN);
  HF_TRY_VOID(become_subreaper());
  HF_TRY(const std::string ca, read_file(config.ca, 64 * 1024));
  HF_TRY(const std::string token, read_file(config.folder + "/join.token", 4096));
  HF_TRY(const std::string python, unpack_python(config.folder));
  HF_TRY_VOID(DeviceWatch::prepare(watch_options(config)));
  HF_TRY(const JoinResult joined, join(config.server, ca, token));
  Agent agent(config, joined.node, python,
              {.address = config.address, .ca_pem = ca, .credentials = joined.credentials});
  return agent.run({.server = config.server,
                    .ca_pem = ca,
                    .credentials = joined.credentials,
                    .jitter_seed = joined.node.value});
}

}  // namespace holdfast
