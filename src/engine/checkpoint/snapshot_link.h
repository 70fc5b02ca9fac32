#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "engine/checkpoint/peer.h"
#include "engine/checkpoint/snapshots.h"

namespace holdfast::engine {

// Serves the memory of this process to the ranks of this node over a local socket: each request and
// answer one packet of JSON, shared memory passed along as a descriptor. What a rank holds is given
// back when its connection ends; what it published stays. The socket is in a folder that only this
// user can enter.
class SnapshotServer {
 public:
  // A socket for it: who connects before a server accepts waits. 0700 is its folder's business.
  static Result<int> listen(const std::string& socket_path);
  // Takes the socket.
  explicit SnapshotServer(int listener, FolderOpener open_folder = open_posix_folder)
      : listener_(listener), open_folder_(std::move(open_folder)) {
    sealer_ = std::thread([this] { seal_published(); });
  }
  // Makes it reachable for those of other nodes, at `address`. Call before run(). The connector
  // outlives the server.
  void join_peers(std::string address, PeerConnector& connector);
  // Answers another node's server until the stream ends.
  void serve_peer(PeerStream& stream) { engine::serve_peer(stream, memory_); }
  // Ends all connections. REQUIRES: run() has returned, or was never called.
  ~SnapshotServer();
  // Accepts connections until stop(), which any thread or signal handler may call.
  void run();
  void stop();

 private:
  struct Session;
  void serve(int connection);
  std::shared_ptr<LocalSnapshots> job(const std::string& name);
  void forget(const std::string& name);
  void seal_published();
  nlohmann::json answer(const nlohmann::json& request, Session& session);
  nlohmann::json answer_of_peers(const std::string& what, const nlohmann::json& request,
                                 const std::string& job);
  Result<void> fetch(const std::string& address, const std::string& job, const ShardId& id,
                     std::chrono::milliseconds wait);
  void mirror(const std::string& address, const std::string& job, const ShardId& id);
  struct Replica;
  struct KeptStream;
  void bring(const Replica& replica, const std::string& job, KeptStream& kept);

  const int listener_;
  const FolderOpener open_folder_;
  SnapshotMemory memory_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<LocalSnapshots>> jobs_;
  std::string address_;
  PeerConnector* connector_ = nullptr;
  struct Replica {
    std::string address;
    ShardId id;
  };
  // By job and rank: there while a thread brings one; what is next for it.
  std::map<std::pair<std::string, std::uint32_t>, std::optional<Replica>> mirrors_;
  struct KeptStream {
    std::string address;
    std::unique_ptr<PeerStream> stream;
  };
  // By job and rank, between two replicas: a handshake costs more than the copy of a small state.
  std::map<std::pair<std::string, std::uint32_t>, KeptStream> kept_streams_;
  std::set<int> connections_;
  std::condition_variable connection_ended_;
  struct Published {
    std::string job;
    std::uint64_t number = 0, bytes = 0;
    std::uint32_t rank = 0;
  };
  std::deque<std::optional<Published>> published_;  // nullopt: the end
  std::condition_variable has_published_;
  std::thread sealer_;
};

// The other end. Every call fails with kUnavailable once the server is gone.
class RemoteSnapshots final : public Snapshots {
 public:
  // `attempt`: whatever an older one still waits for is given up.
  static Result<std::unique_ptr<RemoteSnapshots>> connect(const std::string& socket_path,
                                                          std::string job, std::uint64_t attempt);
  ~RemoteSnapshots() override;

  Result<MappedImage> take(std::uint32_t rank, std::uint64_t bytes) override;
  void drop(std::uint64_t number) override;
  Result<void> publish(std::uint64_t number, const ShardId& id, std::uint64_t bytes,
                       bool hold) override;
  [[nodiscard]] Result<std::vector<ImageName>> list() override;
  Result<MappedImage> open(const ShardId& id) override;
  void close(std::uint64_t number) override;
  Result<void> persist(const PersistCall& call) override;
  void cancel(std::uint64_t attempt, std::uint64_t step) override;
  [[nodiscard]] bool is_alive() const override { return is_alive_; }
  [[nodiscard]] Result<std::string> address() override;
  Result<void> fetch(const std::string& address, const ShardId& id) override;
  void mirror(const std::string& address, const ShardId& id) override;

  // For the agent: the job has ended. Does not wait for the server.
  static Result<void> forget(const std::string& socket_path, const std::string& job);

 private:
  RemoteSnapshots(std::string path, std::string job, std::uint64_t attempt, int connection)
      : path_(std::move(path)), job_(std::move(job)), attempt_(attempt), connection_(connection) {}
  Result<nlohmann::json> call(const nlohmann::json& request, int* descriptor = nullptr);
  Result<MappedImage> mapped(const nlohmann::json& answer, int descriptor, bool writable);

  const std::string path_;
  const std::string job_;
  const std::uint64_t attempt_;
  std::atomic<bool> is_alive_ = true;
  std::mutex mutex_;  // one request at a time
  const int connection_;
  std::list<std::pair<std::uint64_t, std::shared_ptr<Region>>> mapped_;  // by region, newest first
};

}  // namespace holdfast::engine
