#include "apps/clusters.h"

#include <dirent.h>
#include <sys/stat.h>

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
  const bool is_going_down =
      serving && cluster->is_going_down() && cluster->state_folder() != state_;
  {
    const std::lock_guard lock(mutex_);
    clusters_[cluster->config().spec.id] = cluster;
  }
  cluster->run();
  if (is_going_down) end(cluster, "operator");
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
  own_ = own->config().spec.id;
  for (const Handle& cluster : others)
    if (const auto started = start(cluster, serving); !started.ok())
      spdlog::error("cluster {}: {}", cluster->config().spec.id, started.error().text());
  return {};
}

void Clusters::stop() {
  for (const Handle& cluster : all()) cluster->stop();
}

Clusters::Handle Clusters::own() const {
  return find(own_);
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
  ServerConfig config = own()->config();
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

void Clusters::end(const Handle& cluster, const std::string& by) {
  {
    const std::lock_guard lock(mutex_);
    if (!ending_.insert(cluster->config().spec.id).second) return;
  }
  cluster->take_down(by, [this, cluster] {
    asio::post(context_, [this, cluster] {
      {
        const std::lock_guard lock(mutex_);
        clusters_.erase(cluster->config().spec.id);
      }
      cluster->release_waiters();
      forget(cluster);
    });
  });
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
  const auto left = std::make_shared<std::size_t>(all().size());
  for (const Handle& cluster : all()) {
    cluster->take_down(by, [this, left, on_end, cluster] {
      asio::post(context_, [this, left, on_end, cluster] {
        if (cluster->config().spec.id != own_) {
          const std::string folder = cluster->state_folder();
          static_cast<void>(rename_durably(folder, folder + kRemoved));
        }
        if (--*left == 0) on_end();
      });
    });
  }
}

}  // namespace holdfast
