#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/prng.h"
#include "engine/checkpoint/folder.h"

namespace holdfast::engine {

// A disk in memory that loses its power at a chosen operation. Content is durable once its file was
// synced, a name once its folder was. What is left after the power cut is up to `Loss`.
class CrashingDisk {
 public:
  enum class Loss { kEverythingUnsynced, kNothing, kAtRandom };

  struct Node {
    bool is_folder = false;
    std::string now, durable;  // a file's content
    std::map<std::string, std::shared_ptr<Node>> names, durable_names;
    std::vector<std::pair<std::string, std::shared_ptr<Node>>> unsynced;  // null: removed
  };

  // Operations that change something, since the start.
  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  // The power goes before operation `at` is done: it and all that follow fail.
  void crash_at(std::uint64_t at) { crash_at_ = at; }
  [[nodiscard]] bool crashed() const { return operations_ >= crash_at_; }
  // Operation `at` alone fails so.
  void fail_at(std::uint64_t at, Errc code) {
    fail_at_ = at;
    fail_with_ = code;
  }

  // The power comes back.
  void restart(Loss loss, std::uint64_t seed = 0) {
    Prng prng(seed, 17);
    root_ = survivor(*root_, loss, prng);
    crash_at_ = UINT64_MAX;
    fail_at_ = UINT64_MAX;
  }

  Result<void> operate(const std::string& what) {
    const std::uint64_t number = operations_++;
    if (number >= crash_at_) return Error{Errc::kIo, what + ": the power is off"};
    if (number == fail_at_) return Error{fail_with_, what + ": planted"};
    return {};
  }

  // nullptr: no such path.
  [[nodiscard]] std::shared_ptr<Node> find(const std::string& path) const {
    std::shared_ptr<Node> at = root_;
    for (std::size_t from = 0; from < path.size() && at;) {
      const std::size_t end = std::min(path.find('/', from), path.size());
      const auto found = at->names.find(path.substr(from, end - from));
      at = found == at->names.end() ? nullptr : found->second;
      from = end + 1;
    }
    return at;
  }
  static std::string parent(const std::string& path) {
    return path.rfind('/') == std::string::npos ? "" : path.substr(0, path.rfind('/'));
  }
  static std::string base(const std::string& path) {
    return path.rfind('/') == std::string::npos ? path : path.substr(path.rfind('/') + 1);
  }
  Result<void> set_name(const std::string& path, std::shared_ptr<Node> node) {
    const auto folder = find(parent(path));
    if (!folder) return Error{Errc::kNotFound, path};
    folder->unsynced.emplace_back(base(path), node);
    apply(folder->names, base(path), node);
    return {};
  }
  static void apply(std::map<std::string, std::shared_ptr<Node>>& names, const std::string& name,
                    const std::shared_ptr<Node>& node) {
    if (node)
      names[name] = node;
    else
      names.erase(name);
  }

 private:
  static std::shared_ptr<Node> survivor(const Node& node, Loss loss, Prng& prng) {
    auto left = std::make_shared<Node>();
    left->is_folder = node.is_folder;
    left->durable = node.durable;
    if (loss == Loss::kNothing || (loss == Loss::kAtRandom && prng.chance(1, 3)))
      left->durable = node.now;
    if (loss == Loss::kAtRandom && prng.chance(1, 3)) {
      // Some pages of the new content, and the new length.
      left->durable.resize(node.now.size(), '\0');
      for (std::size_t at = 0; at < node.now.size(); at += 4096)
        if (prng.chance(1, 2))
          std::memcpy(left->durable.data() + at, node.now.data() + at,
                      std::min<std::size_t>(4096, node.now.size() - at));
      if (node.now == node.durable) left->durable = node.durable;
    }
    left->now = left->durable;
    auto names = node.durable_names;
    std::size_t kept = loss == Loss::kNothing    ? node.unsynced.size()
                       : loss == Loss::kAtRandom ? prng.below(node.unsynced.size() + 1)
                                                 : 0;
    for (std::size_t i = 0; i < kept; ++i)
      apply(names, node.unsynced[i].first, node.unsynced[i].second);
    for (const auto& [name, child] : names) left->names[name] = survivor(*child, loss, prng);
    left->durable_names = left->names;
    return left;
  }

  std::shared_ptr<Node> root_ = [] {
    auto root = std::make_shared<Node>();
    root->is_folder = true;
    return root;
  }();
  std::uint64_t operations_ = 0;
  std::uint64_t crash_at_ = UINT64_MAX;
  std::uint64_t fail_at_ = UINT64_MAX;
  Errc fail_with_ = Errc::kIo;
};

class CrashingFolder final : public Folder {
 public:
  using Node = CrashingDisk::Node;
  explicit CrashingFolder(CrashingDisk& disk) : disk_(disk) {}

  Result<std::unique_ptr<FileWriter>> create(const std::string& path, std::uint64_t) override {
    HF_TRY_VOID(disk_.operate("create " + path));
    auto node = std::make_shared<Node>();
    HF_TRY_VOID(disk_.set_name(path, node));
    return std::unique_ptr<FileWriter>(std::make_unique<Writer>(disk_, node));
  }
  Result<void> write(const std::string& path, std::string_view bytes) override {
    HF_TRY(const auto node, write_small(path, bytes));
    HF_TRY_VOID(disk_.operate("sync " + path));
    node->durable = node->now;
    return {};
  }
  Result<void> write_soon(const std::string& path, std::string_view bytes) override {
    HF_TRY(const auto ignored, write_small(path, bytes));
    return {};
  }
  Result<std::shared_ptr<Node>> write_small(const std::string& path, std::string_view bytes) {
    HF_TRY_VOID(disk_.operate("create " + path));
    auto node = disk_.find(path);
    if (!node) {
      node = std::make_shared<Node>();
      HF_TRY_VOID(disk_.set_name(path, node));
    }
    node->now.clear();
    HF_TRY_VOID(disk_.operate("write " + path));
    node->now = bytes;
    return node;
  }
  Result<std::unique_ptr<FileReader>> open(const std::string& path) const override {
    const auto node = disk_.find(path);
    if (!node) return Error{Errc::kNotFound, path};
    return std::unique_ptr<FileReader>(std::make_unique<Reader>(node));
  }
  Result<std::string> read(const std::string& path, std::uint64_t) const override {
    const auto node = disk_.find(path);
    if (!node) return Error{Errc::kNotFound, path};
    return node->now;
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    HF_TRY_VOID(disk_.operate("rename " + to));
    const auto node = disk_.find(from);
    if (!node) return Error{Errc::kNotFound, from};
    HF_TRY_VOID(disk_.set_name(to, node));
    return disk_.set_name(from, nullptr);
  }
  Result<void> link(const std::string& from, const std::string& to) override {
    HF_TRY_VOID(disk_.operate("link " + to));
    if (disk_.find(to)) return Error{Errc::kNameExists, to};
    return disk_.set_name(to, disk_.find(from));
  }
  Result<void> remove(const std::string& path) override {
    HF_TRY_VOID(disk_.operate("remove " + path));
    if (!disk_.find(path)) return Error{Errc::kNotFound, path};
    return disk_.set_name(path, nullptr);
  }
  Result<void> make_folder(const std::string& path) override {
    HF_TRY_VOID(disk_.operate("make folder " + path));
    if (disk_.find(path)) return {};
    auto node = std::make_shared<Node>();
    node->is_folder = true;
    return disk_.set_name(path, node);
  }
  Result<void> remove_folder(const std::string& path) override {
    HF_TRY_VOID(disk_.operate("remove folder " + path));
    const auto node = disk_.find(path);
    if (!node || !node->names.empty()) return Error{Errc::kIo, path};
    return disk_.set_name(path, nullptr);
  }
  Result<void> sync(const std::string& folder) override {
    HF_TRY_VOID(disk_.operate("sync " + folder));
    const auto node = disk_.find(folder);
    if (!node) return Error{Errc::kNotFound, folder};
    node->durable_names = node->names;
    node->unsynced.clear();
    return {};
  }
  Result<std::vector<std::string>> list(const std::string& folder) const override {
    std::vector<std::string> found;
    if (const auto node = disk_.find(folder))
      for (const auto& [name, child] : node->names) found.push_back(name);
    return found;
  }
  bool exists(const std::string& path) const override { return disk_.find(path) != nullptr; }
  std::string name(const std::string& path) const override { return "ck/" + path; }

 private:
  struct Writer final : FileWriter {
    Writer(CrashingDisk& d, std::shared_ptr<Node> n) : disk(d), node(std::move(n)) {}
    Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      HF_TRY_VOID(disk.operate("write"));
      if (node->now.size() < offset + bytes.size()) node->now.resize(offset + bytes.size());
      std::memcpy(node->now.data() + offset, bytes.data(), bytes.size());
      return {};
    }
    Result<void> sync() override {
      HF_TRY_VOID(disk.operate("sync"));
      node->durable = node->now;
      return {};
    }
    CrashingDisk& disk;
    std::shared_ptr<Node> node;
  };
  struct Reader final : FileReader {
    explicit Reader(std::shared_ptr<Node> n) : node(std::move(n)) {}
    std::uint64_t size() const override { return node->now.size(); }
    Result<void> read_at(std::uint64_t offset, std::span<std::byte> to) const override {
      if (offset + to.size() > node->now.size()) return Error{Errc::kDamaged, "ends early"};
      std::memcpy(to.data(), node->now.data() + offset, to.size());
      return {};
    }
    std::shared_ptr<Node> node;
  };

  CrashingDisk& disk_;
};

}  // namespace holdfast::engine
