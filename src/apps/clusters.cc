#include "apps/clusters.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include <spdlog/spdlog.h>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include "io/clock.h"
#include "io/files.h"
#include "io/random.h"

namespace holdfast {
namespace {

constexpr const char* kUnfinished = ".new";
constexpr const char* kRemoved = ".gone";
constexpr const char* kLocalProvider = "local";
// What an agent and its helpers are allowed for; one has 4 to 8 MiB of its own.
constexpr std::uint64_t kLocalNodeBytes = 32 << 20;
constexpr std::uint64_t kLocalNodesMin = 8;
constexpr std::uint64_t kLocalNodesMax = 512;  // 256 nodes and 256 spares: the most of `up`

std::vector<std::string> folders_in(const std::string& folder) {
  std::vector<std::string> names;
  DIR* stream = ::opendir(folder.c_str());
  if (stream == nullptr) return names;
  while (const dirent* entry = ::readdir(stream)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(stream);
  return names;
}

}  // namespace

Clusters::Clusters(asio::io_context& context, std::string state)
    : context_(context), state_(std::move(state)) {}

Result<Clusters::Handle> Clusters::open_one(const std::string& folder) {
  HF_TRY(ServerConfig config, read_server_config(folder));
  config.buckets = state_ + "/buckets";
  auto cluster = std::make_shared<ClusterServer>(folder, std::move(config), claims_);
  HF_TRY_VOID(cluster->open());
  return cluster;
}

Result<void> Clusters::start(const Handle& cluster, bool serving) {
  if (serving) HF_TRY_VOID(cluster->start());
  const bool is_own = cluster->state_folder() == state_;
  const bool is_going_down =
      serving && (is_own ? cluster->config().deleted : cluster->is_going_down());
  {
    const std::lock_guard lock(mutex_);
    clusters_[cluster->config().spec.id] = cluster;
  }
  if (is_own) own_ = cluster;
  cluster->run();
  if (is_going_down) HF_TRY_VOID(end(cluster, "operator"));
  return {};
}

// All are opened before the first one begins to work: which hosts they have is known by then.
Result<void> Clusters::open(bool serving) {
  HF_TRY(const Handle own, open_one(state_));
  std::vector<Handle> others;
  for (const std::string& name : folders_in(state_ + "/clusters")) {
    const std::string folder = folder_of(name);
    if (name.ends_with(kUnfinished) || name.ends_with(kRemoved)) {
      HF_TRY_VOID(remove_tree(folder));
      continue;
    }
    // One that cannot be opened does not take the others with it.
    if (const auto opened = open_one(folder); opened.ok())
      others.push_back(*opened);
    else
      spdlog::error("cluster {}: {}", name, opened.error().text());
  }
  HF_TRY_VOID(start(own, serving));
  for (const Handle& cluster : others)
    if (const auto started = start(cluster, serving); !started.ok())
      spdlog::error("cluster {}: {}", cluster->config().spec.id, started.error().text());
  return {};
}

void Clusters::stop() {
  for (const Handle& cluster : all()) cluster->stop();
  if (own_ != nullptr) own_->stop();
}

Clusters::Handle Clusters::find(const std::string& name_or_id) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = clusters_.find(name_or_id); found != clusters_.end()) return found->second;
  for (const auto& [id, cluster] : clusters_)
    if (cluster->config().spec.name == name_or_id) return cluster;
  return nullptr;
}

std::vector<Clusters::Handle> Clusters::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<Handle> handles;
  for (const auto& [id, cluster] : clusters_) handles.push_back(cluster);
  return handles;
}

Result<Clusters::Handle> Clusters::make(const ClusterSpec& spec) {
  const std::lock_guard lock(making_);
  if (find(spec.name) != nullptr)
    return Error{Errc::kNameExists, "name: cluster '" + spec.name + "' exists already"};
  HF_TRY_VOID(check_room(spec, local_nodes_beside(nullptr)));
  ServerConfig config = own_->config();
  config.deleted = false;
  config.uuid = new_uuid();
  const DeepChecks checks = config.spec.checks;
  const ClusterSpec defaults = config.spec;
  config.spec = spec;
  config.spec.checks = checks;
  config.spec.checks.on_start.clear();  // its groups say
  config.spec.breaker_percent = defaults.breaker_percent;
  config.api_port = config.hyperpod_port = 0;
  HF_TRY(config.link_port,
         free_server_port(config.host, static_cast<std::uint16_t>(config.link_port + 7)));
  const std::string folder = folder_of(spec.id), unfinished = folder + kUnfinished;
  HF_TRY_VOID(make_folder(state_ + "/clusters", 0700));
  HF_TRY_VOID(make_folder(unfinished, 0700));
  HF_TRY_VOID(make_folder(unfinished + "/ca", 0700));
  HF_TRY(const ClusterCa ca, ClusterCa::create(unfinished + "/ca", config.uuid, wall_now()));
  HF_TRY_VOID(write_server_config(unfinished, config));
  HF_TRY_VOID(rename_durably(unfinished, folder));
  const Result<Handle> opened = open_one(folder);
  const Result<void> started = opened.ok() ? start(*opened, true) : opened.error();
  if (started.ok()) return opened;
  static_cast<void>(remove_tree(folder));
  return started.error();
}

std::uint32_t Clusters::local_nodes_beside(const Handle& cluster) const {
  std::uint32_t nodes = 0;
  for (const Handle& each : all())
    if (each != cluster && each->config().provider == kLocalProvider)
      nodes += each->call([&] {
        const ClusterSpec& spec = each->loop().controller().state().spec;
        return spec.nodes() + spec.spares();
      });
  return nodes;
}

Result<void> Clusters::check_room(const ClusterSpec& wanted, std::uint32_t others) const {
  if (own_->config().provider != kLocalProvider) return {};
  const auto memory = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                      static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto most = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(memory / kLocalNodeBytes, kLocalNodesMin, kLocalNodesMax));
  const std::uint32_t nodes = wanted.nodes() + wanted.spares();
  if (std::uint64_t{nodes} + others <= most) return {};
  return Error{Errc::kTooFewNodes,
               "nodes: cluster '" + wanted.name + "' would have " + std::to_string(nodes) +
                   " with its spares, beside " + std::to_string(others) +
                   " of others; this machine " + "can be " + std::to_string(most) +
                   ". Ask for fewer, or start the server with " + "--provider for other machines"};
}

Result<void> Clusters::mark_own_deleted(bool deleted) {
  ServerConfig config = own_->config();
  config.deleted = deleted;
  return write_server_config(state_, config);
}

Result<void> Clusters::end(const Handle& cluster, const std::string& by) {
  const std::string& id = cluster->config().spec.id;
  {
    const std::lock_guard lock(mutex_);
    if (!ending_.insert(id).second) return {};
  }
  if (cluster == own_) {
    if (Result<void> marked = mark_own_deleted(true); !marked.ok()) {
      const std::lock_guard lock(mutex_);
      ending_.erase(id);
      return marked;
    }
  }
  cluster->take_down(by, [this, cluster] {
    asio::post(context_, [this, cluster] {
      {
        const std::lock_guard lock(mutex_);
        clusters_.erase(cluster->config().spec.id);
      }
      if (cluster == own_) return;
      cluster->release_waiters();
      forget(cluster);
    });
  });
  return {};
}

// Whoever has found it before may still ask it something, so it goes when nobody holds it.
void Clusters::forget(const Handle& cluster) {
  auto timer = std::make_shared<asio::steady_timer>(context_);
  timer->expires_after(std::chrono::milliseconds(20));
  timer->async_wait([this, timer, cluster](const asio::error_code& error) {
    if (error) return;
    if (cluster.use_count() > 1) return forget(cluster);
    const std::string folder = cluster->state_folder();
    cluster->stop();
    Result<void> removed = rename_durably(folder, folder + kRemoved);
    if (removed.ok()) removed = remove_tree(folder + kRemoved);
    if (!removed.ok()) spdlog::warn("{}", removed.error().text());
  });
}

void Clusters::end_all(const std::string& by, std::function<void()> on_end) {
  // The next `up` makes the folder's own anew, also one that was deleted.
  if (const auto marked = mark_own_deleted(false); !marked.ok())
    spdlog::warn("{}", marked.error().text());
  std::vector<Handle> clusters = all();
  if (std::ranges::find(clusters, own_) == clusters.end()) clusters.push_back(own_);
  const auto left = std::make_shared<std::size_t>(clusters.size());
  for (const Handle& cluster : clusters) {
    cluster->take_down(by, [this, left, on_end, cluster] {
      asio::post(context_, [this, left, on_end, cluster] {
        if (cluster != own_) {
          const std::string folder = cluster->state_folder();
          static_cast<void>(rename_durably(folder, folder + kRemoved));
        }
        if (--*left == 0) on_end();
      });
    });
  }
}

}  // namespace holdfast
