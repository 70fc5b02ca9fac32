#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include <asio/io_context.hpp>

#include "apps/rank_environment.h"
#include "apps/snapshot_process.h"
#include "apps/warm_parent.h"
#include "io/cgroup.h"
#include "io/file_tail.h"
#include "io/process.h"
#include "io/progress_page.h"
#include "model/link.h"

namespace holdfast {

// Starts the ranks of this node and tells how they ended. Forks them from a parent with torch
// imported where the command allows, starts them the ordinary way where not.
//
// One thread: that of the io_context, which must last (ranks die with the thread that made them).
class RankLauncher {
 public:
  struct Key {
    JobId job;
    Attempt attempt;
    std::uint32_t rank = 0;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Options {
    NodeId node;
    std::string folder;  // FOLDER/jobs/j1/a2/rank-0.{log,page,error,stacks}
    std::string python_folder;
    std::string cluster;
    PeerIdentity identity;  // for the node's snapshot server
    std::map<std::string, std::string> environment;
  };
  struct Listener {
    virtual ~Listener() = default;
    virtual void rank_started(const Key& key, pid_t pid) = 0;
    // After its output is complete. Also for a rank that could not be started.
    virtual void rank_ended(const Key& key, const RankExit& exit) = 0;
  };

  RankLauncher(asio::io_context& context, Options options, Listener& listener);

  void warm_up(JobId job, const JobSpec& spec);
  void cool_down(JobId job);
  void start(const server_message::StartRanks& start, std::uint32_t local_rank);
  // To every process of each rank of the attempt; one that is not started yet never is.
  void kill(JobId job, Attempt attempt, int signal);
  void kill_all(int signal);
  // Everything that lives here, warm parents too: for chaos.
  void signal_everything(int signal);

  // A child of this process that is none of the ranks': it is left alone while it lives.
  void add_helper(pid_t pid, std::function<void(const ExitStatus&)> ended = {}) {
    helpers_[pid] = std::move(ended);
  }

  // Call on SIGCHLD.
  void reap_children();
  // Ranks over their memory limit, where no cgroup watches it. Call about ten times a second.
  void watch_memory();

  struct Rank {
    pid_t pid = 0;  // 0: asked for, not there yet
    RankPaths paths;
    std::optional<ProgressPage> page;
    std::optional<RankCgroup> cgroup;
    std::uint64_t memory_limit_bytes = 0;
    bool over_limit = false;
    std::uint64_t memory_seen_bytes = 0;
    server_message::StartRanks start;
    std::uint32_t local_rank = 0;
  };
  // For something else that runs on the node; none: there are no control groups.
  [[nodiscard]] std::optional<RankCgroup> make_group(const std::string& name);
  // Those that live, or are about to.
  [[nodiscard]] const std::map<Key, Rank>& ranks() const { return ranks_; }
  // The process of the rank that trains: the one that wrote its page, else its first.
  [[nodiscard]] static pid_t training_pid(const Rank& rank);
  // See agent_message::Hello.
  [[nodiscard]] const std::string& snapshot_address() const { return snapshots_.address(); }
  [[nodiscard]] RankPaths paths(const Key& key) const;

 private:
  Result<void> prepare(const Key& key, Rank& rank);
  void start_cold(const Key& key);
  bool ask_warm(const Key& key);
  void warm_answered(const std::string& id, pid_t pid, const std::string& reason);
  void withdraw(const Key& key);
  void started(const Key& key, pid_t pid);
  void failed(const Key& key, const Error& error);
  void ended(const Key& key, const Reaped& reaped);
  void report_when_empty(const Key& key, std::shared_ptr<Rank> rank, const Reaped& reaped);
  // Children that are no ranks.
  [[nodiscard]] std::set<pid_t> helpers() const;
  WarmParent* warm_parent(JobId job, const JobSpec& spec);

  asio::io_context& context_;
  const Options options_;
  Listener& listener_;
  std::optional<NodeCgroup> cgroup_;
  SnapshotProcess snapshots_;
  std::map<pid_t, std::function<void(const ExitStatus&)>> helpers_;
  std::map<Key, Rank> ranks_;
  std::map<std::string, Key> asked_;   // of warm parents, by request id
  std::map<pid_t, Reaped> unclaimed_;  // ended before their parent told us their pid
  std::map<JobId, std::unique_ptr<WarmParent>> warm_;
};

}  // namespace holdfast
