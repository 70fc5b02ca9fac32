#include "io/cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>
#include <system_error>

#include "io/clock.h"
#include "io/files.h"

namespace holdfast {

namespace {

constexpr std::size_t kFileMax = 1 << 20;

std::string read_or_empty(const std::string& path) {
  auto text = read_file(path, kFileMax);
  return text.ok() ? std::move(*text) : std::string();
}

Result<void> write_control(const std::string& path, const std::string& value) {
  HF_TRY(const UniqueFd fd, open_file(path, O_WRONLY));
  return write_all(fd, path, value);
}

bool has_word(const std::string& text, std::string_view word) {
  std::istringstream words(text);
  for (std::string each; words >> each;)
    if (each == word) return true;
  return false;
}

// The number after `key` in a file of "key number" lines; 0: none.
std::uint64_t value_of(const std::string& path, std::string_view key) {
  std::istringstream words(read_or_empty(path));
  std::string each;
  std::uint64_t value = 0;
  while (words >> each >> value)
    if (each == key) return value;
  return 0;
}

// The group and those that its processes may have made in it, the deepest first.
std::vector<std::string> groups_of(const std::string& folder) {
  std::vector<std::string> groups{folder};
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error))
    if (it->is_directory(error)) groups.push_back(it->path().string());
  std::reverse(groups.begin(), groups.end());
  return groups;
}

bool kill_group(const std::string& folder) {
  // Where the kernel has it, nothing escapes it by forking.
  static_cast<void>(write_control(folder + "/cgroup.kill", "1"));
  bool empty = true;
  for (const std::string& group : groups_of(folder)) {
    std::istringstream pids(read_or_empty(group + "/cgroup.procs"));
    for (pid_t pid = 0; pids >> pid;) {
      empty = false;
      if (pid > 1) ::kill(pid, SIGKILL);
    }
  }
  return empty;
}

Result<void> remove_group(const std::string& folder) {
  for (const std::string& group : groups_of(folder))
    if (::rmdir(group.c_str()) != 0 && errno != ENOENT)
      return os_error("cannot remove the cgroup", group, errno);
  return {};
}

// What an earlier agent left. What cannot be killed within two seconds hangs in the kernel and
// stays.
void clear_groups_in(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> groups;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error))
    if (it->is_directory(error)) groups.push_back(it->path().string());
  const std::int64_t deadline = monotonic_ns() + seconds(2).ns;
  for (const std::string& group : groups) {
    while (!kill_group(group) && monotonic_ns() < deadline) ::poll(nullptr, 0, 5);
    static_cast<void>(remove_group(group));
  }
}

Result<void> make_group(const std::string& folder, bool with_memory) {
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST)
    return os_error("cannot make the cgroup", folder, errno);
  if (!with_memory) return {};
  return write_control(folder + "/cgroup.subtree_control", "+memory");
}

// BASE/holdfast/CLUSTER/NODE. `with_memory`: v2 groups that give the memory controller on.
Result<std::string> make_node_group(std::string folder, const std::string& cluster,
                                    const std::string& node, bool with_memory) {
  for (const std::string& name : {std::string("holdfast"), cluster, node}) {
    folder += "/" + name;
    HF_TRY_VOID(make_group(folder, with_memory));
  }
  clear_groups_in(folder);
  return folder;
}

// May this process put others from its own v2 group into groups below `folder`, with memory limits?
bool can_limit_memory(const std::string& folder) {
  if (!has_word(read_or_empty(folder + "/cgroup.controllers"), "memory")) return false;
  if (::access((folder + "/cgroup.procs").c_str(), W_OK) != 0) return false;
  return has_word(read_or_empty(folder + "/cgroup.subtree_control"), "memory") ||
         write_control(folder + "/cgroup.subtree_control", "+memory").ok();
}

std::optional<std::string> v2_base_with_memory(const OwnCgroups& own) {
  for (std::string folder = own.v2; folder.size() >= own.v2_top.size() && !folder.empty();
       folder = folder.substr(0, folder.rfind('/')))
    if (can_limit_memory(folder)) return folder;
  return std::nullopt;
}

bool is_path_element(const std::string& name) {
  return !name.empty() && name[0] != '.' && name.find('/') == std::string::npos;
}

}  // namespace

// One line of mountinfo: "36 31 0:32 ROOT MOUNTPOINT options [tags] - TYPE source OPTIONS"; of
// cgroup: "4:memory:PATH", for v2 "0::PATH". ROOT is the group that is seen at MOUNTPOINT.
OwnCgroups find_own_cgroups(std::string_view mountinfo, std::string_view cgroup) {
  std::string memory_path, v2_path;
  std::istringstream memberships{std::string(cgroup)};
  for (std::string line; std::getline(memberships, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers = line.substr(first + 1, second - first - 1);
    std::replace(controllers.begin(), controllers.end(), ',', ' ');
    if (controllers.empty()) v2_path = line.substr(second + 1);
    if (has_word(controllers, "memory")) memory_path = line.substr(second + 1);
  }
  OwnCgroups own;
  std::istringstream mounts{std::string(mountinfo)};
  for (std::string line; std::getline(mounts, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::string skip, root, mount_point, type, source, options;
    std::istringstream(line) >> skip >> skip >> skip >> root >> mount_point;
    std::istringstream(line.substr(dash + 3)) >> type >> source >> options;
    std::replace(options.begin(), options.end(), ',', ' ');
    const bool v2 = type == "cgroup2";
    if (!v2 && !(type == "cgroup" && has_word(options, "memory"))) continue;
    std::string path = v2 ? v2_path : memory_path;
    if (root != "/") path = path.rfind(root, 0) == 0 ? path.substr(root.size()) : "";
    if (path == "/") path.clear();
    (v2 ? own.v2 : own.memory_v1) = mount_point + path;
    if (v2) own.v2_top = mount_point;
  }
  return own;
}

std::vector<std::string> RankCgroup::procs_files() const {
  std::vector<std::string> files{memory_ + "/cgroup.procs"};
  if (!v2_.empty() && v2_ != memory_) files.push_back(v2_ + "/cgroup.procs");
  return files;
}

Result<void> RankCgroup::set_memory_limit(std::uint64_t bytes) {
  if (memory_ == v2_) {
    // Fails where there is no swap to forbid.
    static_cast<void>(write_control(memory_ + "/memory.swap.max", "0"));
    return write_control(memory_ + "/memory.max", bytes == 0 ? "max" : std::to_string(bytes));
  }
  const std::string value = bytes == 0 ? "-1" : std::to_string(bytes);
  // Memory and swap together may never be less than memory alone, so the order depends on the
  // direction: one of the two tries is right. Without swap accounting the file is absent.
  const std::string with_swap = memory_ + "/memory.memsw.limit_in_bytes";
  static_cast<void>(write_control(with_swap, value));
  HF_TRY_VOID(write_control(memory_ + "/memory.limit_in_bytes", value));
  static_cast<void>(write_control(with_swap, value));
  return {};
}

std::uint64_t RankCgroup::oom_kills() const {
  return value_of(memory_ + (memory_ == v2_ ? "/memory.events" : "/memory.oom_control"),
                  "oom_kill");
}

std::uint64_t RankCgroup::memory_peak_bytes() const {
  const std::string text =
      read_or_empty(memory_ + (memory_ == v2_ ? "/memory.peak" : "/memory.max_usage_in_bytes"));
  return std::strtoull(text.c_str(), nullptr, 10);
}

bool RankCgroup::kill_all() {
  const bool v2_empty = v2_.empty() || kill_group(v2_);
  return kill_group(memory_) && v2_empty;
}

Result<void> RankCgroup::remove() {
  if (!v2_.empty()) {
    HF_TRY_VOID(remove_group(v2_));
  }
  return remove_group(memory_);
}

Result<NodeCgroup> NodeCgroup::open(const std::string& cluster, const std::string& node) {
  if (!is_path_element(cluster) || !is_path_element(node))
    return Error{Errc::kInvalidField, "cluster " + cluster + ", node " + node +
                                          ": not the name of a folder; use letters and digits"};
  HF_TRY(const std::string mounts, read_file("/proc/self/mountinfo", kFileMax));
  HF_TRY(const std::string groups, read_file("/proc/self/cgroup", kFileMax));
  const OwnCgroups own = find_own_cgroups(mounts, groups);
  if (const auto base = v2_base_with_memory(own)) {
    HF_TRY(const std::string folder, make_node_group(*base, cluster, node, true));
    return NodeCgroup(folder, folder);
  }
  if (own.memory_v1.empty())
    return Error{Errc::kIo,
                 "memory cgroup: none above " + (own.v2.empty() ? "this process" : own.v2) +
                     " may be written; run as root, or in a systemd unit with Delegate=memory and "
                     "DelegateSubgroup=agent"};
  HF_TRY(const std::string memory, make_node_group(own.memory_v1, cluster, node, false));
  Result<std::string> v2 = Error{Errc::kNotFound, ""};
  if (!own.v2.empty()) v2 = make_node_group(own.v2, cluster, node, false);
  return NodeCgroup(memory, v2.ok() ? std::move(*v2) : std::string());
}

Result<RankCgroup> NodeCgroup::make(const std::string& name, std::uint64_t memory_limit_bytes) {
  CHECK(is_path_element(name));
  RankCgroup group(memory_ + "/" + name, v2_.empty() ? "" : v2_ + "/" + name);
  HF_TRY_VOID(make_group(group.memory_, false));
  if (!v2_.empty()) {
    HF_TRY_VOID(make_group(group.v2_, false));
  }
  if (memory_limit_bytes != 0) {
    HF_TRY_VOID(group.set_memory_limit(memory_limit_bytes));
  }
  return group;
}

Result<void> NodeCgroup::remove() {
  for (const std::string& folder : {v2_, memory_}) {
    if (folder.empty()) continue;
    HF_TRY_VOID(remove_group(folder));
    // The cluster's and ours go with the last node.
    const std::filesystem::path cluster = std::filesystem::path(folder).parent_path();
    if (::rmdir(cluster.c_str()) == 0) ::rmdir(cluster.parent_path().c_str());
  }
  return {};
}

}  // namespace holdfast
