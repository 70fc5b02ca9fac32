#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>

#include "api/rest.h"
#include "api/topology_file.h"
#include "apps/control_loop.h"
#include "apps/lifecycle_files.h"
#include "apps/rank_logs.h"
#include "apps/server_config.h"
#include "drivers/host_claims.h"
#include "drivers/machine_provider.h"
#include "io/certificates.h"
#include "io/link_server.h"
#include "io/state_lock.h"

namespace holdfast {

// The control plane of one cluster: wires its control loop, which has a thread of its own, to its
// agents and machines.
//
//   open() [start()] run() ... take_down(), or stop()
//
// open(), start(), run() and stop() are called by one thread, the rest by any. What is called on
// the loop's thread says so.
class ClusterServer final : public ControlLoop::World, public LinkServer::Listener {
 public:
  // `claims`: of all clusters of this process.
  ClusterServer(std::string state, ServerConfig config, std::shared_ptr<HostClaims> claims)
      : state_(std::move(state)), config_(std::move(config)), claims_(std::move(claims)) {}
  ~ClusterServer() override { stop(); }

  // Takes the folder and replays the journal. kStateLocked, kStateCorrupt, kIo.
  Result<void> open();
  // The network, and what is left of its nodes; a new cluster is made.
  Result<void> start();
  void run();
  // Agents and ranks stay, and find the next server. Waits for requests that wait for news.
  // Idempotent.
  void stop();
  // Long polls return from here on.
  void release_waiters() { loop_->release_waiters(); }

  // Ends the cluster; `on_down` is called on the loop's thread when nothing of it runs any more.
  void take_down(const std::string& by, std::function<void()> on_down);
  // Was taken down before its server last stopped. REQUIRES: before run().
  [[nodiscard]] bool is_going_down() const { return loop_->controller().state().down; }

  // A request of our own REST face.
  HttpResponse answer(const HttpRequest& request);

  [[nodiscard]] const ServerConfig& config() const { return config_; }
  [[nodiscard]] const std::string& state_folder() const { return state_; }
  [[nodiscard]] const ClusterCa& ca() const { return *ca_; }
  [[nodiscard]] Journal& journal() { return *journal_; }  // for its notes
  // Runs `work` on the loop's thread and waits.
  template <class Work>
  auto call(Work work) {
    return loop_->call(std::move(work));
  }
  // On the loop's thread.
  [[nodiscard]] const ControlLoop& loop() const { return *loop_; }
  // Does what is asked for at once; the error says why it cannot be done. On the loop's thread.
  Result<void> accept(Event request);

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
  [[nodiscard]] std::map<std::string, std::string> lifecycle_files_config(NodeId node) const;
  [[nodiscard]] std::string folder_of_scripts(const std::string& source) const;
  // nullopt: it runs no scripts.
  [[nodiscard]] std::optional<LifecycleWish> lifecycle_wish(NodeId node) const;
  bool lifecycle_read(NodeId node, std::uint32_t run, const LifecycleWish& wish,
                      const Result<std::string>& files);
  void forget_packs() const;
  void watch_schedules();
  [[nodiscard]] const InstanceGroup* group_of(NodeId node) const;
  HttpResponse thaw(NodeId node);
  HttpResponse inject(NodeId node, const server_message::Inject& what);
  HttpResponse answer_on_loop(const Ask& ask);
  HttpResponse respond(Event request);
  HttpResponse submit(const JobSpec& spec);
  HttpResponse start_checks(const CheckRequest& request);
  void await_end(std::int64_t deadline, std::function<void()> on_down);
  [[nodiscard]] std::map<std::string, std::string> agent_environment() const;
  [[nodiscard]] std::string make_token(NodeId node) const;

  const std::string state_;
  const ServerConfig config_;
  const std::shared_ptr<HostClaims> claims_;
  std::optional<StateLock> lock_;
  std::optional<ClusterCa> ca_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<ControlLoop> loop_;
  std::unique_ptr<MachineProvider> provider_;
  std::unique_ptr<RankLogs> logs_;
  std::unique_ptr<LifecycleFiles> lifecycle_files_;
  std::unique_ptr<asio::steady_timer> schedules_;
  asio::thread_pool behind_{1};              // what need not be done before anything else
  std::map<NodeId, std::uint64_t> streams_;  // the newest of each node
  Topology topology_;                        // of STATE/topology.conf, if there is one
  std::unique_ptr<LinkServer> link_;         // has threads that call into the rest
  std::thread thread_;                       // the loop's
};

}  // namespace holdfast
