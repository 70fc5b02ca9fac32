#include "engine/checkpoint/folder_link.h"

#include <cstring>
#include <mutex>
#include <utility>

#include <nlohmann/json.hpp>

#include "engine/checkpoint/packet.h"

namespace holdfast::engine {
namespace {

using nlohmann::json;

constexpr std::uint64_t kReadMax = std::uint64_t{64} << 20;
constexpr std::size_t kWriteMax = 64 * 1024;

Result<std::shared_ptr<Region>> region_with(std::string_view text) {
  HF_TRY(auto region, Region::make(text.size()));
  std::memcpy(region->bytes().data(), text.data(), text.size());
  return region;
}

json done(const Result<void>& result) {
  return result.ok() ? json::object() : to_json(result.error());
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += name + "\n";
  return text;
}

// Sends a text along, whatever its length.
json with_text(const Result<std::string>& text, std::shared_ptr<Region>& content) {
  if (!text.ok()) return to_json(text.error());
  if (!text->empty()) {
    auto region = region_with(*text);
    if (!region.ok()) return to_json(region.error());
    content = std::move(*region);
  }
  return {{"bytes", text->size()}};
}

}  // namespace

bool is_far_folder(const std::string& name) {
  return name.starts_with("s3://");
}

Result<Folder*> FolderSession::folder(const std::string& name) {
  auto& found = folders_[name];
  if (!found) {
    HF_TRY(found, opener_(name));
  }
  return found.get();
}

Result<FileReader*> FolderSession::reader(const std::string& name, const std::string& path) {
  auto& found = readers_[{name, path}];
  if (!found) {
    HF_TRY(Folder* const in, folder(name));
    HF_TRY(found, in->open(path));
  }
  return found.get();
}

json FolderSession::answer(const json& request, std::shared_ptr<Region>& content) {
  const std::string name = request.at("folder"), op = request.at("op"), path = request.at("path");
  if (!is_far_folder(name)) return to_json(Error{Errc::kInvalidField, name + " is not far"});
  auto opened = folder(name);
  if (!opened.ok()) return to_json(opened.error());
  Folder& in = **opened;
  if (op == "read") return with_text(in.read(path, request.at("max")), content);
  if (op == "list") {
    const auto names = in.list(path);
    return names.ok() ? with_text(joined(*names), content) : to_json(names.error());
  }
  if (op == "exists") {
    const bool there = in.exists(path);
    // A folder that could not tell says so at the next call.
    if (!there)
      if (const auto again = in.read(path, 0); !again.ok() && again.error().code != Errc::kNotFound)
        return to_json(again.error());
    return {{"exists", there}};
  }
  if (op == "size") {
    readers_.erase({name, path});  // opened anew: it may have been replaced
    const auto file = reader(name, path);
    return file.ok() ? json{{"bytes", (*file)->size()}} : to_json(file.error());
  }
  if (op == "read_at") {
    const std::uint64_t bytes = request.at("bytes");
    if (bytes == 0 || bytes > kReadMax) return to_json(Error{Errc::kInvalidField, "bytes"});
    const auto file = reader(name, path);
    if (!file.ok()) return to_json(file.error());
    auto region = Region::make(bytes);
    if (!region.ok()) return to_json(region.error());
    const auto read = (*file)->read_at(request.at("offset"), (*region)->bytes().first(bytes));
    if (read.ok()) content = std::move(*region);
    return done(read);
  }
  if (op == "write") return done(in.write(path, request.at("text").get<std::string>()));
  if (op == "rename") return done(in.rename(path, request.at("to")));
  if (op == "link") return done(in.link(path, request.at("to")));
  if (op == "remove") return done(in.remove(path));
  if (op == "make_folder") return done(in.make_folder(path));
  if (op == "remove_folder") return done(in.remove_folder(path));
  if (op == "sync") return done(in.sync(path));
  return to_json(Error{Errc::kUnknownField, "op: " + op});
}

namespace {

// Connections to the server, each for one request at a time. The first is for all that must see
// each other; the others are for reading beside it.
class Connections {
 public:
  explicit Connections(std::string path) : path_(std::move(path)) {}
  ~Connections() {
    for (const int connection : idle_) ::close(connection);
  }
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  // `content`: at most one region, mapped.
  Result<json> call(json request, std::shared_ptr<Region>* content) {
    HF_TRY(const int connection, take());
    int descriptor = -1;
    bool is_alive = false;
    auto reply = exchange(connection, request, &descriptor, &is_alive);
    give_back(connection, is_alive);
    if (descriptor < 0) return reply;
    const std::uint64_t bytes =
        reply.ok() ? reply->value("bytes", request.value("bytes", 0ull)) : 0;
    if (content == nullptr || bytes == 0) {
      ::close(descriptor);
      return reply;
    }
    HF_TRY(*content, Region::map(descriptor, bytes, false));
    return reply;
  }

 private:
  Result<int> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return open_connection(path_);
    const int connection = idle_.back();
    idle_.pop_back();
    return connection;
  }
  void give_back(int connection, bool is_good) {
    const std::lock_guard lock(mutex_);
    if (is_good)
      idle_.push_back(connection);
    else
      ::close(connection);
  }

  const std::string path_;
  std::mutex mutex_;
  std::vector<int> idle_;
};

class RemoteReader final : public FileReader {
 public:
  RemoteReader(std::shared_ptr<Connections> connections, json request, std::uint64_t size)
      : connections_(std::move(connections)), request_(std::move(request)), size_(size) {}
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  [[nodiscard]] std::uint64_t read_bytes() const override { return kFarReadBytes; }
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> to) const override {
    if (offset > size_ || to.size() > size_ - offset)
      return Error{Errc::kDamaged, "the shard ends early"};
    while (!to.empty()) {
      const std::size_t count = std::min<std::uint64_t>(to.size(), kReadMax);
      json request = request_;
      request["op"] = "read_at";
      request["offset"] = offset;
      request["bytes"] = count;
      std::shared_ptr<Region> content;
      HF_TRY(const json ignored, connections_->call(std::move(request), &content));
      if (!content) return Error{Errc::kUnavailable, "the node's snapshot server sent nothing"};
      std::memcpy(to.data(), content->bytes().data(), count);
      to = to.subspan(count);
      offset += count;
    }
    return {};
  }

 private:
  std::shared_ptr<Connections> connections_;
  const json request_;
  const std::uint64_t size_;
};

class RemoteFolder final : public Folder {
 public:
  RemoteFolder(const std::string& socket_path, std::string name)
      : own_(socket_path),
        for_reading_(std::make_shared<Connections>(socket_path)),
        name_(std::move(name)) {}

  Result<std::unique_ptr<FileWriter>> create(const std::string& path, std::uint64_t) override {
    return Error{Errc::kWrongState, this->name(path) + " is written by the node's snapshot server"};
  }
  Result<void> write(const std::string& path, std::string_view bytes) override {
    if (bytes.size() > kWriteMax)
      return Error{Errc::kInvalidField, this->name(path) + " is too long to be sent"};
    return change("write", path, {{"text", std::string(bytes)}});
  }
  [[nodiscard]] Result<std::unique_ptr<FileReader>> open(const std::string& path) const override {
    HF_TRY(const json reply, call("size", path, json::object(), nullptr));
    return std::unique_ptr<FileReader>(std::make_unique<RemoteReader>(
        for_reading_, request_of("read_at", path), reply.value("bytes", std::uint64_t{0})));
  }
  [[nodiscard]] Result<std::string> read(const std::string& path,
                                         std::uint64_t max_bytes) const override {
    return text("read", path, {{"max", max_bytes}});
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    return change("rename", from, {{"to", to}});
  }
  Result<void> link(const std::string& from, const std::string& to) override {
    return change("link", from, {{"to", to}});
  }
  Result<void> remove(const std::string& path) override { return change("remove", path, {}); }
  Result<void> make_folder(const std::string& path) override {
    return change("make_folder", path, {});
  }
  Result<void> remove_folder(const std::string& path) override {
    return change("remove_folder", path, {});
  }
  Result<void> sync(const std::string& folder) override { return change("sync", folder, {}); }
  [[nodiscard]] Result<std::vector<std::string>> list(const std::string& folder) const override {
    HF_TRY(const std::string names, text("list", folder, json::object()));
    std::vector<std::string> found;
    for (std::size_t at = 0; at < names.size(); at = names.find('\n', at) + 1)
      found.push_back(names.substr(at, names.find('\n', at) - at));
    return found;
  }
  [[nodiscard]] bool exists(const std::string& path) const override {
    const auto reply = call("exists", path, json::object(), nullptr);
    if (reply.ok()) return reply->value("exists", false);
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = reply.error();
    return false;
  }
  [[nodiscard]] std::string name(const std::string& path) const override {
    return path.empty() ? name_ : name_ + "/" + path;
  }

 private:
  [[nodiscard]] json request_of(const char* op, const std::string& path) const {
    return {{"do", "folder"}, {"folder", name_}, {"op", op}, {"path", path}};
  }
  [[nodiscard]] Result<json> call(const char* op, const std::string& path, const json& more,
                                  std::shared_ptr<Region>* content) const {
    {
      const std::lock_guard lock(mutex_);
      if (failure_) return *failure_;
    }
    json request = request_of(op, path);
    request.update(more);
    const std::lock_guard lock(own_mutex_);
    return own_.call(std::move(request), content);
  }
  Result<void> change(const char* op, const std::string& path, const json& more) const {
    HF_TRY(const json ignored, call(op, path, more.is_null() ? json::object() : more, nullptr));
    return {};
  }
  [[nodiscard]] Result<std::string> text(const char* op, const std::string& path,
                                         const json& more) const {
    std::shared_ptr<Region> content;
    HF_TRY(const json reply, call(op, path, more, &content));
    const std::uint64_t bytes = reply.value("bytes", std::uint64_t{0});
    if (bytes == 0) return std::string();
    if (!content) return Error{Errc::kUnavailable, "the node's snapshot server sent nothing"};
    return std::string(reinterpret_cast<const char*>(content->bytes().data()), bytes);
  }

  mutable std::mutex own_mutex_;  // one request at a time: what is drafted is the connection's
  mutable Connections own_;
  std::shared_ptr<Connections> for_reading_;
  const std::string name_;
  mutable std::mutex mutex_;
  mutable std::optional<Error> failure_;
};

}  // namespace

Result<std::unique_ptr<Folder>> remote_folder(const std::string& socket_path,
                                              const std::string& name) {
  return std::unique_ptr<Folder>(std::make_unique<RemoteFolder>(socket_path, name));
}

}  // namespace holdfast::engine
