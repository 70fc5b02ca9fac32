#include "engine/checkpoint/snapshot_link.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/os_error.h"
#include "engine/checkpoint/folder_link.h"
#include "engine/checkpoint/json_ids.h"
#include "engine/checkpoint/packet.h"

namespace holdfast::engine {
namespace {

using nlohmann::json;

// For another rank to have taken the same step.
constexpr std::chrono::seconds kMirrorWait{60};

json to_json(const PersistCall& call) {
  const PersistRequest& request = call.request;
  return {{"do", "persist"},
          {"folder", call.folder},
          {"name", request.job ? json(*request.job) : json()},
          {"id", to_json(request.id)},
          {"keep", request.retention.last},
          {"keep_every", request.retention.every_steps},
          {"budget", request.retention.bytes_max},
          {"base", request.base ? json{request.base->attempt, request.base->step} : json()},
          {"created", request.created},
          {"save", request.save},
          {"threads", request.threads}};
}

PersistCall persist_call_from(const json& value) {
  PersistCall call{.folder = value.at("folder")};
  PersistRequest& request = call.request;
  if (!value.at("name").is_null()) request.job = value.at("name").get<std::string>();
  request.id = id_from_json(value.at("id"));
  request.retention = {value.at("keep"), value.at("keep_every"), value.at("budget")};
  if (!value.at("base").is_null())
    request.base = Base{value.at("base").at(0), value.at("base").at(1)};
  request.created = value.at("created");
  request.save = value.at("save");
  request.threads = std::clamp(value.at("threads").get<unsigned>(), 1u, 64u);
  return call;
}

// What goes on behind training leaves the processor to it where both want it: a third of what a
// rank gets for each of its threads.
constexpr int kBehind = 5;

void step_back() {
  static_cast<void>(::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kBehind));
}

}  // namespace

// What one connection holds.
struct SnapshotServer::Session {
  explicit Session(const FolderOpener& opener) : folders(opener) {}
  FolderSession folders;
  std::shared_ptr<LocalSnapshots> job;
  std::set<std::uint64_t> filling, open;
  std::shared_ptr<Region> region;  // to be sent with the answer
};

Result<int> SnapshotServer::listen(const std::string& socket_path) {
  const int listener = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (listener < 0) return os_error("cannot make the socket", socket_path, errno);
  ::unlink(socket_path.c_str());
  const LocalAddress address(socket_path);
  if (::bind(listener, address.get(), sizeof(sockaddr_un)) != 0 || ::listen(listener, 512) != 0) {
    const int number = errno;
    ::close(listener);
    return os_error("cannot listen on", socket_path, number);
  }
  return listener;
}

SnapshotServer::~SnapshotServer() {
  stop();
  std::unique_lock lock(mutex_);
  for (const auto& [name, job] : jobs_) job->stop();
  for (const int connection : connections_) ::shutdown(connection, SHUT_RDWR);
  connection_ended_.wait(lock, [this] { return connections_.empty() && mirrors_.empty(); });
  published_.emplace_back(std::nullopt);
  has_published_.notify_one();
  lock.unlock();
  sealer_.join();
  ::close(listener_);
}

void SnapshotServer::stop() {
  ::shutdown(listener_, SHUT_RDWR);
}

void SnapshotServer::run() {
  while (true) {
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (connection < 0) return;
    {
      const std::lock_guard lock(mutex_);
      connections_.insert(connection);
    }
    std::thread([this, connection] { serve(connection); }).detach();
  }
}

void SnapshotServer::serve(int connection) {
  Session session(open_folder_);
  while (const auto text = receive_packet(connection, nullptr)) {
    json reply;
    try {
      reply = answer(json::parse(*text), session);
    } catch (const json::exception& error) {
      reply = to_json(Error{Errc::kInvalidField, error.what()});
    }
    if (reply.is_null()) continue;  // nobody waits for one
    const int descriptor = session.region ? session.region->fd() : -1;
    const bool sent = send_packet(connection, reply.dump(), descriptor).ok();
    session.region.reset();
    if (!sent) break;
  }
  for (const std::uint64_t number : session.filling) memory_.drop(number);
  for (const std::uint64_t number : session.open) memory_.unpin(number);
  const std::lock_guard lock(mutex_);
  ::close(connection);
  connections_.erase(connection);
  connection_ended_.notify_all();
}

std::shared_ptr<LocalSnapshots> SnapshotServer::job(const std::string& name) {
  const std::lock_guard lock(mutex_);
  auto& found = jobs_[name];
  if (!found) found = std::make_shared<LocalSnapshots>(memory_, name, open_folder_);
  return found;
}

void SnapshotServer::forget(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = jobs_.find(name);
    if (found == jobs_.end()) return;
    found->second->stop();
    jobs_.erase(found);
    std::erase_if(kept_streams_, [&](const auto& kept) { return kept.first.first == name; });
  }
  memory_.forget(name);
}

// A thread of its own, one image after the other: while one rank's is sealed, others still copy
// theirs, and training waits for the last of them.
void SnapshotServer::seal_published() {
  step_back();
  std::unique_lock lock(mutex_);
  while (true) {
    has_published_.wait(lock, [this] { return !published_.empty(); });
    const std::optional<Published> next = std::move(published_.front());
    published_.pop_front();
    if (!next) return;
    lock.unlock();
    memory_.seal_now(next->number, default_threads());
    memory_.make_ready(next->job, next->rank, next->bytes);
    lock.lock();
  }
}

void SnapshotServer::join_peers(std::string address, PeerConnector& connector) {
  address_ = std::move(address);
  connector_ = &connector;
}

Result<void> SnapshotServer::fetch(const std::string& address, const std::string& job,
                                   const ShardId& id, std::chrono::milliseconds wait) {
  if (connector_ == nullptr) return Error{Errc::kNotFound, "this node has no peers"};
  HF_TRY(const auto stream, connector_->connect(address));
  return fetch_from_peer(*stream, memory_, job, id, wait);
}

// One thread for each rank that is mirrored here. What is asked for while it is busy waits, and is
// replaced by what is newer.
void SnapshotServer::mirror(const std::string& address, const std::string& job, const ShardId& id) {
  const std::pair key(job, id.rank);
  const std::lock_guard lock(mutex_);
  const bool is_running = mirrors_.contains(key);
  mirrors_[key] = Replica{address, id};
  if (is_running) return;
  std::thread([this, key] {
    std::unique_lock own(mutex_);
    KeptStream kept = std::exchange(kept_streams_[key], {});
    while (const auto next = std::exchange(mirrors_[key], std::nullopt)) {
      own.unlock();
      bring(*next, key.first, kept);
      own.lock();
    }
    mirrors_.erase(key);
    if (jobs_.contains(key.first)) kept_streams_[key] = std::move(kept);
    connection_ended_.notify_all();
  }).detach();
}

// One that cannot be had now is made good by the next. A kept stream may have ended meanwhile.
void SnapshotServer::bring(const Replica& replica, const std::string& job, KeptStream& kept) {
  if (kept.address != replica.address) kept = {};
  for (const bool was_kept : {true, false}) {
    if (was_kept && !kept.stream) continue;
    if (!was_kept) {
      auto made = connector_ == nullptr ? Result<std::unique_ptr<PeerStream>>(
                                              Error{Errc::kNotFound, "this node has no peers"})
                                        : connector_->connect(replica.address);
      if (!made.ok()) return;
      kept = {replica.address, std::move(*made)};
    }
    const auto done = fetch_from_peer(*kept.stream, memory_, job, replica.id, kMirrorWait);
    if (done.ok() || done.error().code == Errc::kNotFound) return;
    kept = {};
  }
}

json SnapshotServer::answer_of_peers(const std::string& what, const json& request,
                                     const std::string& job) {
  if (what == "address") return {{"address", address_}};
  const ShardId id = id_from_json(request.at("id"));
  if (what == "mirror") return mirror(request.at("address"), job, id), json();
  const Result<void> done = fetch(request.at("address"), job, id, std::chrono::milliseconds(0));
  return done.ok() ? json::object() : to_json(done.error());
}

json SnapshotServer::answer(const json& request, Session& session) {
  const std::string what = request.at("do");
  if (what == "hello") {
    session.job = job(request.at("job"));
    const std::uint64_t attempt = request.at("attempt");
    if (attempt > 0) session.job->cancel(attempt - 1, UINT64_MAX);
    return json::object();
  }
  if (what == "forget") return forget(request.at("job")), json::object();
  if (what == "folder") return session.folders.answer(request, session.region);
  if (!session.job) return to_json(Error{Errc::kInvalidField, "hello comes first"});
  const auto image = [&](Result<MappedImage> got, std::set<std::uint64_t>& held) {
    if (!got.ok()) return to_json(got.error());
    held.insert(got->number);
    session.region = got->region;
    return json{{"number", got->number},
                {"bytes", got->bytes},
                {"region", got->region->id()},
                {"room", got->region->bytes().size()}};
  };
  if (what == "address" || what == "fetch" || what == "mirror")
    return answer_of_peers(what, request, session.job->name());
  if (what == "take")
    return image(session.job->take(request.at("rank"), request.at("bytes")), session.filling);
  if (what == "open") return image(session.job->open(id_from_json(request.at("id"))), session.open);
  if (what == "drop" || what == "close") {
    const std::uint64_t number = request.at("number");
    if (session.filling.erase(number) > 0) session.job->drop(number);
    if (session.open.erase(number) > 0) session.job->close(number);
    return json::object();
  }
  if (what == "publish") {
    const std::uint64_t number = request.at("number"), bytes = request.at("bytes");
    const ShardId id = id_from_json(request.at("id"));
    if (session.filling.erase(number) == 0)
      return to_json(Error{Errc::kWrongState, "the image is not being filled"});
    const bool hold = request.at("hold");
    const Result<void> done = session.job->publish(number, id, bytes, hold);
    if (!done.ok()) return to_json(done.error());
    if (hold) session.open.insert(number);
    const std::lock_guard lock(mutex_);
    published_.emplace_back(Published{session.job->name(), number, bytes, id.rank});
    has_published_.notify_one();
    return json::object();
  }
  if (what == "list") {
    json images = json::array();
    const auto names = session.job->list();
    if (!names.ok()) return to_json(names.error());
    for (const ImageName& name : *names) images.push_back({to_json(name.id), name.bytes});
    return {{"images", std::move(images)}};
  }
  if (what == "persist") {
    step_back();  // a connection of its own, and so a thread
    const Result<void> done = session.job->persist(persist_call_from(request));
    return done.ok() ? json::object() : to_json(done.error());
  }
  if (what == "cancel") {
    session.job->cancel(request.at("attempt"), request.at("step"));
    return json::object();
  }
  return to_json(Error{Errc::kUnknownField, "do: " + what});
}

// The rank's side.

Result<std::unique_ptr<RemoteSnapshots>> RemoteSnapshots::connect(const std::string& socket_path,
                                                                  std::string job,
                                                                  std::uint64_t attempt) {
  HF_TRY(const int connection, open_connection(socket_path));
  std::unique_ptr<RemoteSnapshots> remote(
      new RemoteSnapshots(socket_path, std::move(job), attempt, connection));
  HF_TRY(const json ignored,
         remote->call({{"do", "hello"}, {"job", remote->job_}, {"attempt", attempt}}));
  return remote;
}

RemoteSnapshots::~RemoteSnapshots() {
  ::close(connection_);
}

Result<json> RemoteSnapshots::call(const json& request, int* descriptor) {
  const std::lock_guard lock(mutex_);
  bool is_alive = true;
  Result<json> answer = exchange(connection_, request, descriptor, &is_alive);
  if (!is_alive) is_alive_ = false;
  return answer;
}

// Mappings are kept: to map gigabytes anew for each save would cost as much as to copy them.
Result<MappedImage> RemoteSnapshots::mapped(const json& answer, int descriptor, bool writable) {
  const std::uint64_t region = answer.value("region", std::uint64_t{0});
  MappedImage image{.number = answer.value("number", std::uint64_t{0}),
                    .bytes = answer.value("bytes", std::uint64_t{0})};
  const std::lock_guard lock(mutex_);
  const auto known =
      std::ranges::find(mapped_, region, [](const auto& entry) { return entry.first; });
  if (known != mapped_.end() && (known->second->is_writable() || !writable)) {
    if (descriptor >= 0) ::close(descriptor);
    image.region = known->second;
    return image;
  }
  if (known != mapped_.end()) mapped_.erase(known);
  if (descriptor < 0) return Error{Errc::kUnavailable, "the snapshot server gave no memory"};
  HF_TRY(image.region, Region::map(descriptor, answer.value("room", std::uint64_t{0}), writable));
  mapped_.emplace_front(region, image.region);
  if (mapped_.size() > SnapshotMemory::kSlots) mapped_.pop_back();
  return image;
}

Result<MappedImage> RemoteSnapshots::take(std::uint32_t rank, std::uint64_t bytes) {
  int descriptor = -1;
  HF_TRY(const json answer, call({{"do", "take"}, {"rank", rank}, {"bytes", bytes}}, &descriptor));
  return mapped(answer, descriptor, true);
}

void RemoteSnapshots::drop(std::uint64_t number) {
  static_cast<void>(call({{"do", "drop"}, {"number", number}}));
}

Result<void> RemoteSnapshots::publish(std::uint64_t number, const ShardId& id, std::uint64_t bytes,
                                      bool hold) {
  HF_TRY(const json ignored, call({{"do", "publish"},
                                   {"number", number},
                                   {"id", to_json(id)},
                                   {"bytes", bytes},
                                   {"hold", hold}}));
  return {};
}

Result<std::vector<ImageName>> RemoteSnapshots::list() {
  HF_TRY(const json answer, call({{"do", "list"}}));
  std::vector<ImageName> names;
  try {
    for (const json& image : answer.at("images"))
      names.push_back({id_from_json(image.at(0)), image.at(1)});
  } catch (const json::exception& error) {
    return Error{Errc::kUnparsable, error.what()};
  }
  return names;
}

Result<MappedImage> RemoteSnapshots::open(const ShardId& id) {
  int descriptor = -1;
  HF_TRY(const json answer, call({{"do", "open"}, {"id", to_json(id)}}, &descriptor));
  return mapped(answer, descriptor, false);
}

void RemoteSnapshots::close(std::uint64_t number) {
  static_cast<void>(call({{"do", "close"}, {"number", number}}));
}

// On a connection of its own: it may wait for other ranks for long.
Result<void> RemoteSnapshots::persist(const PersistCall& call) {
  HF_TRY(const int connection, open_connection(path_));
  auto answer =
      exchange(connection, {{"do", "hello"}, {"job", job_}, {"attempt", attempt_}}, nullptr);
  if (answer.ok()) answer = exchange(connection, to_json(call), nullptr);
  ::close(connection);
  if (!answer.ok()) return answer.error();
  return {};
}

void RemoteSnapshots::cancel(std::uint64_t attempt, std::uint64_t step) {
  static_cast<void>(call({{"do", "cancel"}, {"attempt", attempt}, {"step", step}}));
}

Result<std::string> RemoteSnapshots::address() {
  HF_TRY(const json answer, call({{"do", "address"}}));
  return answer.value("address", std::string());
}

Result<void> RemoteSnapshots::fetch(const std::string& address, const ShardId& id) {
  HF_TRY(const json ignored, call({{"do", "fetch"}, {"address", address}, {"id", to_json(id)}}));
  return {};
}

void RemoteSnapshots::mirror(const std::string& address, const ShardId& id) {
  // No answer: training would wait until another process had its turn.
  const json request = {{"do", "mirror"}, {"address", address}, {"id", to_json(id)}};
  const std::lock_guard lock(mutex_);
  if (!send_packet(connection_, request.dump(), -1).ok()) is_alive_ = false;
}

Result<void> RemoteSnapshots::forget(const std::string& socket_path, const std::string& job) {
  HF_TRY(const int connection, open_connection(socket_path, SOCK_NONBLOCK));
  const auto sent = send_packet(connection, json{{"do", "forget"}, {"job", job}}.dump(), -1);
  ::close(connection);
  return sent;
}

}  // namespace holdfast::engine
