#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace holdfast::engine {

// The texts of a checkpoint (docs/checkpoint-format.md). Readers are strict: kDamaged for what is
// not as written there, kWrongState for what a person must decide about. Their errors begin with
// `name`, the path for people.

inline constexpr std::uint64_t kTextBytesMax = std::uint64_t{1} << 30;

// A tensor, or the piece of one that is in this shard.
struct TensorPiece {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> global_shape;
  std::vector<std::uint64_t> offsets;
  std::uint64_t at = 0;  // in the shard
  std::uint64_t bytes = 0;
  friend bool operator==(const TensorPiece&, const TensorPiece&) = default;
};

struct ShardEntry {
  std::uint32_t rank = 0;
  std::uint64_t bytes = 0;
  std::string checksum;  // "xxh3-128:" and 32 hexadecimal digits
  std::vector<TensorPiece> tensors;
  friend bool operator==(const ShardEntry&, const ShardEntry&) = default;
};

struct Manifest {
  std::optional<std::string> job;
  std::uint64_t attempt = 0;
  std::uint64_t step = 0;
  std::string created;
  std::vector<ShardEntry> shards;  // by rank: as many as the world had
  [[nodiscard]] std::uint32_t world_size() const {
    return static_cast<std::uint32_t>(shards.size());
  }
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

// "rank-0003.shard", and the rest of the names
[[nodiscard]] std::string shard_name(std::uint32_t rank);
[[nodiscard]] std::string entry_name(std::uint32_t rank);
[[nodiscard]] std::string attempt_folder(std::uint64_t attempt);
[[nodiscard]] std::string step_folder(std::uint64_t attempt, std::uint64_t step);

// Bytes of one element; 0: no dtype that we know.
[[nodiscard]] std::uint64_t dtype_bytes(std::string_view dtype);

[[nodiscard]] std::string write_manifest(const Manifest& manifest);
// `job`: the reader's; nullopt on either side fits any.
[[nodiscard]] Result<Manifest> read_manifest(std::string_view text, const std::string& name,
                                             const std::optional<std::string>& job,
                                             std::uint64_t attempt, std::uint64_t step);

// What a rank says of its shard: that it is durable, or why there is none. `save` names the call of
// save(): what an earlier run left in the folder has another.
[[nodiscard]] std::string write_entry(const ShardEntry& entry, const std::string& save);
[[nodiscard]] std::string write_failure(const Error& why, const std::string& save);
// Which save() an entry is of; nullopt: it is none, or torn.
[[nodiscard]] std::optional<std::string> save_of_entry(std::string_view text);
// False: it is surely no write_failure(). Does not read all of it.
[[nodiscard]] bool may_be_failure(std::string_view entry);
struct EntryOrFailure {
  std::string save;
  std::optional<ShardEntry> entry;
  Error failure{Errc::kIo, ""};  // where there is no entry
};
[[nodiscard]] Result<EntryOrFailure> read_entry(std::string_view text, const std::string& name,
                                                std::uint32_t rank);

// The index of a shard. `body`: where pieces must end.
struct Index {
  std::optional<std::string> job;
  std::vector<TensorPiece> tensors;
};
[[nodiscard]] std::string write_index(const Index& index);
[[nodiscard]] Result<Index> read_index(std::string_view text, const std::string& name,
                                       std::uint64_t body);

// Pieces as a program hands them in, without `at`: [{"name", "dtype", "shape", ...}].
// `global_shape` and `offsets` may be left out: the piece is the whole tensor.
[[nodiscard]] Result<std::vector<TensorPiece>> read_pieces(std::string_view text);

// Where an attempt began.
struct Base {
  std::uint64_t attempt = 0;  // 0: there was no commit
  std::uint64_t step = 0;
  friend bool operator==(const Base&, const Base&) = default;
};
[[nodiscard]] std::string write_lineage(const Base& base);
[[nodiscard]] Result<Base> read_lineage(std::string_view text, const std::string& name,
                                        std::uint64_t attempt);

}  // namespace holdfast::engine
