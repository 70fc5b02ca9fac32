#include "engine/checkpoint/posix_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/os_error.h"

namespace holdfast::engine {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// O_DIRECT where the file system has it.
Result<Descriptor> open_direct(const std::string& path, int flags) {
  int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_DIRECT, 0600);
  if (fd < 0 && errno == EINVAL) fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (fd < 0) return os_error("cannot open", path, errno);
  return Descriptor(fd);
}

class PosixWriter final : public FileWriter {
 public:
  PosixWriter(Descriptor fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return os_error("cannot write", path_, errno);
      if (n == 0) return os_error("cannot write", path_, EIO);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return {};
  }

  Result<void> sync() override {
    if (::fdatasync(fd_.get()) != 0) return os_error("cannot sync", path_, errno);
    return {};
  }

 private:
  Descriptor fd_;
  const std::string path_;
};

class PosixReader final : public FileReader {
 public:
  PosixReader(Descriptor fd, std::string path, std::uint64_t size)
      : fd_(std::move(fd)), path_(std::move(path)), size_(size) {}

  [[nodiscard]] std::uint64_t size() const override { return size_; }

  Result<void> read_at(std::uint64_t offset, std::span<std::byte> to) const override {
    while (!to.empty()) {
      const ssize_t n = ::pread(fd_.get(), to.data(), to.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return os_error("cannot read", path_, errno);
      if (n == 0) return Error{Errc::kDamaged, path_ + " ends at byte " + std::to_string(offset)};
      to = to.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return {};
  }

 private:
  Descriptor fd_;
  const std::string path_;
  const std::uint64_t size_;
};

class PosixFolder final : public Folder {
 public:
  explicit PosixFolder(std::string root) : root_(std::move(root)) {}

  Result<std::unique_ptr<FileWriter>> create(const std::string& path,
                                             std::uint64_t bytes) override {
    const std::string at = name(path);
    ::unlink(at.c_str());  // a reader, or a writer that was superseded, keeps what it has open
    HF_TRY(Descriptor fd, open_direct(at, O_WRONLY | O_CREAT | O_EXCL));
    // Not enough room is known now, not after gigabytes.
    if (::fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) != 0 && errno != EOPNOTSUPP)
      return os_error("cannot make room for", at, errno);
    return std::unique_ptr<FileWriter>(std::make_unique<PosixWriter>(std::move(fd), at));
  }

  Result<void> write(const std::string& path, std::string_view bytes) override {
    HF_TRY(Descriptor fd, write_small(name(path), bytes));
    if (::fsync(fd.get()) != 0) return os_error("cannot sync", name(path), errno);
    return {};
  }

  Result<void> write_soon(const std::string& path, std::string_view bytes) override {
    HF_TRY(Descriptor fd, write_small(name(path), bytes));
    // A file system of a network sends it now, and says so now when it cannot.
    if (::close(fd.release()) != 0) return os_error("cannot write", name(path), errno);
    return {};
  }

  [[nodiscard]] Result<std::unique_ptr<FileReader>> open(const std::string& path) const override {
    const std::string at = name(path);
    HF_TRY(Descriptor fd, open_direct(at, O_RDONLY));
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return os_error("cannot read", at, errno);
    return std::unique_ptr<FileReader>(std::make_unique<PosixReader>(
        std::move(fd), at, static_cast<std::uint64_t>(status.st_size)));
  }

  [[nodiscard]] Result<std::string> read(const std::string& path,
                                         std::uint64_t max_bytes) const override {
    const std::string at = name(path);
    const Descriptor fd(::open(at.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) return os_error("cannot open", at, errno);
    std::string text;
    char buffer[65536];
    while (true) {
      const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return os_error("cannot read", at, errno);
      if (n == 0) return text;
      text.append(buffer, static_cast<std::size_t>(n));
      if (text.size() > max_bytes)
        return Error{Errc::kDamaged, at + " has more than " + std::to_string(max_bytes) + " bytes"};
    }
  }

  Result<void> rename(const std::string& from, const std::string& to) override {
    if (::rename(name(from).c_str(), name(to).c_str()) != 0)
      return os_error("cannot replace", name(to), errno);
    return {};
  }

  Result<void> link(const std::string& from, const std::string& to) override {
    if (::link(name(from).c_str(), name(to).c_str()) == 0) return {};
    if (errno == EEXIST) return Error{Errc::kNameExists, name(to) + " is there already"};
    return os_error("cannot make", name(to), errno);
  }

  Result<void> remove(const std::string& path) override {
    if (::unlink(name(path).c_str()) != 0) return os_error("cannot remove", name(path), errno);
    return {};
  }

  Result<void> make_folder(const std::string& path) override {
    const std::string at = name(path);
    if (!path.empty()) return make_one(at);
    for (std::size_t end = 0; end != std::string::npos;) {
      end = at.find('/', end + 1);
      const std::string folder = at.substr(0, end);
      const bool is_new = ::access(folder.c_str(), F_OK) != 0;
      HF_TRY_VOID(make_one(folder));
      if (!is_new) continue;
      const std::size_t slash = folder.rfind('/');
      HF_TRY_VOID(sync_path(slash == 0                   ? "/"
                            : slash == std::string::npos ? "."
                                                         : folder.substr(0, slash)));
    }
    return {};
  }

  Result<void> remove_folder(const std::string& path) override {
    if (::rmdir(name(path).c_str()) != 0) return os_error("cannot remove", name(path), errno);
    return {};
  }

  Result<void> sync(const std::string& folder) override { return sync_path(name(folder)); }

  [[nodiscard]] Result<std::vector<std::string>> list(const std::string& folder) const override {
    const std::string at = name(folder);
    std::vector<std::string> names;
    DIR* open = ::opendir(at.c_str());
    if (open == nullptr) {
      if (errno == ENOENT || errno == ENOTDIR) return names;
      return os_error("cannot read", at, errno);
    }
    while (const dirent* entry = ::readdir(open)) {
      const std::string_view found = entry->d_name;
      if (found != "." && found != "..") names.emplace_back(found);
    }
    ::closedir(open);
    return names;
  }

  [[nodiscard]] bool exists(const std::string& path) const override {
    return ::access(name(path).c_str(), F_OK) == 0;
  }

  [[nodiscard]] std::string name(const std::string& path) const override {
    return path.empty() ? root_ : root_ + "/" + path;
  }

 private:
  static Result<Descriptor> write_small(const std::string& at, std::string_view bytes) {
    Descriptor fd(::open(at.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (fd.get() < 0) return os_error("cannot open", at, errno);
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return os_error("cannot write", at, errno);
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return fd;
  }

  static Result<void> sync_path(const std::string& at) {
    const Descriptor fd(::open(at.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) return os_error("cannot open", at, errno);
    if (::fsync(fd.get()) != 0) return os_error("cannot sync", at, errno);
    return {};
  }

  static Result<void> make_one(const std::string& at) {
    if (::mkdir(at.c_str(), 0700) == 0) return {};
    const int number = errno;
    struct stat status {};
    if (number == EEXIST && ::stat(at.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return {};
    return os_error("cannot make the folder", at, number == EEXIST ? ENOTDIR : number);
  }

  const std::string root_;
};

}  // namespace

std::unique_ptr<Folder> posix_folder(const std::string& root) {
  return std::make_unique<PosixFolder>(root);
}

Result<std::unique_ptr<Folder>> open_posix_folder(const std::string& root) {
  if (root.starts_with("s3://"))
    return Error{Errc::kInvalidField,
                 root +
                     ": checkpoints in S3 are written by the node's snapshot server; start the "
                     "job with `holdfast run`"};
  return posix_folder(root);
}

}  // namespace holdfast::engine
