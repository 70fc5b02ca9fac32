#include "engine/checkpoint/copy_commit.h"

#include <cstdlib>
#include <memory>
#include <span>
#include <utility>

#include "engine/checkpoint/shard_reader.h"

namespace holdfast::engine {
namespace {

constexpr std::uint64_t kLineageBytesMax = 64 * 1024;

struct Free {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};

// Where a copy is turned on, what is read is written as well: the same bytes that the reader above
// verifies. When they are not right, the copy is never finished.
struct Copy {
  FileWriter* to = nullptr;
};

class CopyingReader final : public FileReader {
 public:
  CopyingReader(std::unique_ptr<FileReader> from, std::shared_ptr<const Copy> copy)
      : from_(std::move(from)), copy_(std::move(copy)) {}
  [[nodiscard]] std::uint64_t size() const override { return from_->size(); }
  [[nodiscard]] std::uint64_t read_bytes() const override { return from_->read_bytes(); }
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> to) const override {
    HF_TRY_VOID(from_->read_at(offset, to));
    return copy_->to == nullptr ? Result<void>() : copy_->to->write_at(offset, to);
  }

 private:
  const std::unique_ptr<FileReader> from_;
  const std::shared_ptr<const Copy> copy_;
};

Result<void> copy_table(const FileReader& from, FileWriter& to, const ShardHeader& header,
                        const ShardEntry& entry, const std::string& name) {
  const std::uint64_t bytes = header.total - header.body;
  const std::unique_ptr<std::byte, Free> buffer(
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)));
  if (!buffer) return Error{Errc::kDamaged, name + ": too large for this machine's memory"};
  const std::span table(buffer.get(), bytes);
  HF_TRY_VOID(from.read_at(header.body, table));
  if (table_checksum(table.first(header.blocks() * sizeof(std::uint64_t))) != entry.checksum)
    return Error{Errc::kDamaged, name + ": its table of checksums has changed"};
  return to.write_at(header.body, table);
}

Result<void> copy_shard(const Folder& from, Folder& to, const Manifest& manifest,
                        const ShardEntry& entry, unsigned threads) {
  const std::string path =
      step_folder(manifest.attempt, manifest.step) + "/" + shard_name(entry.rank);
  const auto copy = std::make_shared<Copy>();
  HF_TRY(auto file, from.open(path));
  HF_TRY(const auto table_file, from.open(path));
  const ShardId id{manifest.attempt, manifest.step, entry.rank, manifest.world_size()};
  HF_TRY(const ShardReader reader,
         ShardReader::open(std::make_unique<CopyingReader>(std::move(file), copy), from.name(path),
                           id, &entry));
  HF_TRY(const auto writer, to.create(path, entry.bytes));
  copy->to = writer.get();
  HF_TRY_VOID(reader.read({}, threads));
  HF_TRY_VOID(copy_table(*table_file, *writer, reader.header(), entry, from.name(path)));
  return writer->sync();
}

// Everything under its final name at once: what stands in its place was left by a copy that failed.
Result<void> write_into(Folder& to, const std::string& folder, const std::string& name,
                        std::string_view text) {
  const std::string path = folder + "/" + name;
  HF_TRY_VOID(to.write(path + ".tmp", text));
  HF_TRY_VOID(to.rename(path + ".tmp", path));
  return to.sync(folder);
}

}  // namespace

Result<void> copy_commit(const Folder& from, Folder& to, const std::optional<std::string>& job,
                         const Base& commit, unsigned threads) {
  const std::string attempt = attempt_folder(commit.attempt);
  const std::string step = step_folder(commit.attempt, commit.step);
  if (to.exists(step + "/manifest.json")) return {};
  const std::string manifest_path = step + "/manifest.json";
  HF_TRY(const std::string text, from.read(manifest_path, kTextBytesMax));
  HF_TRY(const Manifest manifest,
         read_manifest(text, from.name(manifest_path), job, commit.attempt, commit.step));
  HF_TRY_VOID(to.make_folder(""));
  HF_TRY_VOID(to.make_folder(attempt));
  HF_TRY_VOID(to.make_folder(step));
  HF_TRY_VOID(to.sync(attempt));
  HF_TRY_VOID(to.sync(""));
  for (const ShardEntry& entry : manifest.shards)
    HF_TRY_VOID(copy_shard(from, to, manifest, entry, threads));
  HF_TRY_VOID(to.sync(step));
  if (!to.exists(attempt + "/lineage.json")) {
    HF_TRY(const std::string lineage, from.read(attempt + "/lineage.json", kLineageBytesMax));
    HF_TRY_VOID(write_into(to, attempt, "lineage.json", lineage));
  }
  return write_into(to, step, "manifest.json", text);
}

}  // namespace holdfast::engine
