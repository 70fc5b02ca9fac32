#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace holdfast::engine {

// What offsets, lengths and addresses of a shard's I/O are multiples of, for O_DIRECT.
inline constexpr std::size_t kAlignment = 4096;

// FileReader::read_bytes() in an object store. Each of a reader's threads has a buffer of so much.
inline constexpr std::uint64_t kFarReadBytes = std::uint64_t{8} << 20;

// A file that is being written. Several threads may write at different offsets.
class FileWriter {
 public:
  virtual ~FileWriter() = default;
  // REQUIRES: offset, size and address are multiples of kAlignment.
  virtual Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  // What was written is durable afterwards; the file's name is not (Folder::sync).
  virtual Result<void> sync() = 0;
};

// Bytes that may be read by several threads.
class FileReader {
 public:
  virtual ~FileReader() = default;
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  // All of `to`, or an error. REQUIRES: offset, size and address are multiples of kAlignment.
  virtual Result<void> read_at(std::uint64_t offset, std::span<std::byte> to) const = 0;
  // What one read is best made of, at least: it is much where each is a request to a server.
  [[nodiscard]] virtual std::uint64_t read_bytes() const { return 0; }
  // All of it where it is in memory already, and need not be copied to be looked at; else empty.
  [[nodiscard]] virtual std::span<const std::byte> mapped() const { return {}; }
};

// The file operations that a checkpoint is made of, so that a test can stand in for the disk. Paths
// are relative to the folder. A change of a name is durable after sync() of the folder it is in.
class Folder {
 public:
  virtual ~Folder() = default;

  // Empty, in place of what is there. `bytes` is what will be written: room may be made for it.
  virtual Result<std::unique_ptr<FileWriter>> create(const std::string& path,
                                                     std::uint64_t bytes) = 0;
  // A small file, content synced.
  virtual Result<void> write(const std::string& path, std::string_view bytes) = 0;
  // The same, but others see it and a power cut may tear it.
  virtual Result<void> write_soon(const std::string& path, std::string_view bytes) {
    return write(path, bytes);
  }
  [[nodiscard]] virtual Result<std::unique_ptr<FileReader>> open(const std::string& path) const = 0;
  // kNotFound when there is none; an error when it is longer than max_bytes.
  [[nodiscard]] virtual Result<std::string> read(const std::string& path,
                                                 std::uint64_t max_bytes) const = 0;
  // Replaces what is at `to`.
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  // kNameExists when there is something at `to`.
  virtual Result<void> link(const std::string& from, const std::string& to) = 0;
  // kNotFound when there is none.
  virtual Result<void> remove(const std::string& path) = 0;
  // One that exists is fine; its parent must exist, but for "", which is made with its parents,
  // durably.
  virtual Result<void> make_folder(const std::string& path) = 0;
  // Only an empty one.
  virtual Result<void> remove_folder(const std::string& path) = 0;
  virtual Result<void> sync(const std::string& folder) = 0;
  // Names; none when there is no such folder.
  [[nodiscard]] virtual Result<std::vector<std::string>> list(const std::string& folder) const = 0;
  [[nodiscard]] virtual bool exists(const std::string& path) const = 0;
  // As a person would write it, for errors.
  [[nodiscard]] virtual std::string name(const std::string& path) const = 0;
};

// Opens a folder by its name. By the name alone nothing is made.
using FolderOpener = std::function<Result<std::unique_ptr<Folder>>(const std::string&)>;

}  // namespace holdfast::engine
