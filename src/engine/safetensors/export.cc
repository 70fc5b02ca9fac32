#include "engine/safetensors/export.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "base/check.h"
#include "engine/checkpoint/persist.h"
#include "engine/checkpoint/shard_reader.h"
#include "engine/checkpoint/store.h"

namespace holdfast::engine {
namespace {

struct Free {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};

bool overlap(const TensorPiece& a, const TensorPiece& b) {
  for (std::size_t i = 0; i < a.shape.size(); ++i)
    if (a.offsets[i] + a.shape[i] <= b.offsets[i] || b.offsets[i] + b.shape[i] <= a.offsets[i])
      return false;
  return a.bytes > 0 && b.bytes > 0;
}

// The name in the file; empty: the tensor is left out.
std::string exported_name(const std::string& name, const std::string& object) {
  if (name.starts_with("per_rank.") || name.starts_with("random.")) return "";
  if (object.empty()) return name;
  return name.starts_with(object + ".") ? name.substr(object.size() + 1) : "";
}

using Pieces = std::vector<ExportPlan::Piece>;

Result<void> check_pieces(const std::string& name, const Pieces& pieces) {
  const TensorPiece& first = pieces.front().piece;
  const auto wrong = [&name](const char* what) {
    return Error{Errc::kDamaged, "tensor " + name + ": " + what};
  };
  std::uint64_t covered = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const TensorPiece& piece = pieces[i].piece;
    if (piece.dtype != first.dtype || piece.global_shape != first.global_shape)
      return wrong("its pieces are of different tensors");
    for (std::size_t j = 0; j < i; ++j)
      if (overlap(piece, pieces[j].piece)) return wrong("its pieces overlap");
    covered += piece.bytes;
  }
  std::uint64_t whole = dtype_bytes(first.dtype);
  for (const std::uint64_t size : first.global_shape)
    if (__builtin_mul_overflow(whole, size, &whole)) return wrong("it is too large");
  return covered == whole ? Result<void>() : wrong("pieces of it are missing");
}

// Copies a piece row by row to its place in the whole tensor.
void scatter(const TensorPiece& piece, const std::byte* from, std::byte* whole) {
  const std::size_t dimensions = piece.shape.size();
  const std::uint64_t element = dtype_bytes(piece.dtype);
  const std::uint64_t row = dimensions == 0 ? element : piece.shape.back() * element;
  if (row == 0) return;
  std::vector<std::uint64_t> at(dimensions, 0);
  for (std::uint64_t rows = piece.bytes / row; rows > 0; --rows, from += row) {
    std::uint64_t place = 0;
    for (std::size_t i = 0; i < dimensions; ++i)
      place = place * piece.global_shape[i] + piece.offsets[i] + at[i];
    std::memcpy(whole + place * element, from, row);
    for (std::size_t i = dimensions < 2 ? 0 : dimensions - 1; i-- > 0;) {
      if (++at[i] < piece.shape[i]) break;
      at[i] = 0;
    }
  }
}

// Whether it is one run of bytes of the whole tensor; then where it begins there.
std::optional<std::uint64_t> contiguous_at(const TensorPiece& piece) {
  std::uint64_t at = 0;
  bool whole_from_here = false;
  for (std::size_t i = 0; i < piece.shape.size(); ++i) {
    if (whole_from_here && piece.shape[i] != piece.global_shape[i]) return std::nullopt;
    at = at * piece.global_shape[i] + piece.offsets[i];
    whole_from_here = whole_from_here || piece.shape[i] != 1;
  }
  return at * dtype_bytes(piece.dtype);
}

Result<void> export_shard(const Folder& folder, const Manifest& manifest, const ExportPlan& plan,
                          const ShardEntry& entry, std::span<std::byte> file, unsigned threads) {
  std::vector<ShardReader::Destination> destinations;
  std::vector<std::pair<const ExportPlan::Piece*, std::vector<std::byte>>> scattered;
  for (const ExportPlan::Piece& piece : plan.pieces) {
    if (piece.rank != entry.rank || piece.piece.bytes == 0) continue;
    const auto at = contiguous_at(piece.piece);
    if (at) {
      const std::uint64_t begin = plan.header.tensors[piece.tensor].begin + *at;
      destinations.push_back({piece.piece.at, file.subspan(begin, piece.piece.bytes)});
    } else {
      scattered.emplace_back(&piece, std::vector<std::byte>(piece.piece.bytes));
      destinations.push_back({piece.piece.at, std::span(scattered.back().second)});
    }
  }
  if (destinations.empty()) return {};
  const std::string path =
      step_folder(manifest.attempt, manifest.step) + "/" + shard_name(entry.rank);
  HF_TRY(auto shard, folder.open(path));
  HF_TRY(const ShardReader reader,
         ShardReader::open(std::move(shard), folder.name(path),
                           {manifest.attempt, manifest.step, entry.rank, manifest.world_size()},
                           &entry));
  HF_TRY_VOID(reader.read(std::move(destinations), threads));
  for (const auto& [piece, bytes] : scattered)
    scatter(piece->piece, bytes.data(), file.data() + plan.header.tensors[piece->tensor].begin);
  return {};
}

// A pickle of {"objects": {object: {name: tensor 0, ...}}, "per_rank": {}, "random": {}}, as
// python/holdfast/_state.py reads it: a persistent id stands for a tensor.
std::string skeleton_of(const std::string& object, const std::vector<SafeTensor>& tensors) {
  std::string pickle("\x80\x04", 2);
  const auto number = [&pickle](std::size_t value) {
    for (int i = 0; i < 4; ++i) pickle += static_cast<char>(value >> (8 * i) & 0xff);
  };
  const auto text = [&](const std::string& value) {
    pickle += 'X';
    number(value.size());
    pickle += value;
  };
  pickle += "}(";
  text("objects");
  pickle += "}(";
  text(object);
  pickle += "}(";
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    text(tensors[i].name);
    pickle += 'J';
    number(i);
    pickle += 'Q';
  }
  pickle += "uu";
  text("per_rank");
  pickle += '}';
  text("random");
  pickle += "}u.";
  return pickle;
}

Result<SafetensorsHeader> read_header_of(const ReadAt& read, std::uint64_t file_bytes,
                                         const std::string& name) {
  std::string first(std::min<std::uint64_t>(file_bytes, 8), '\0');
  HF_TRY_VOID(read(0, std::as_writable_bytes(std::span(first))));
  HF_TRY(const std::uint64_t length, safetensors_header_bytes(first, file_bytes, name));
  std::string text(length, '\0');
  HF_TRY_VOID(read(8, std::as_writable_bytes(std::span(text))));
  return read_safetensors_header(text, file_bytes, name);
}

}  // namespace

Result<ExportPlan> plan_export(const Manifest& manifest, const std::string& object) {
  std::map<std::string, Pieces> tensors;
  for (const ShardEntry& entry : manifest.shards)
    for (const TensorPiece& piece : entry.tensors) {
      const std::string name = exported_name(piece.name, object);
      if (!name.empty()) tensors[name].push_back({entry.rank, piece, 0});
    }
  if (tensors.empty())
    return Error{Errc::kInvalidField, "object: the commit has no tensor of `" + object +
                                          "`; `holdfast checkpoint show` lists what it has"};
  ExportPlan plan;
  plan.header.metadata = {{"format", "pt"}, {"holdfast_step", std::to_string(manifest.step)}};
  if (manifest.job) plan.header.metadata["holdfast_job"] = *manifest.job;
  for (auto& [name, pieces] : tensors) {
    HF_TRY_VOID(check_pieces(name, pieces));
    const TensorPiece& first = pieces.front().piece;
    const std::string_view dtype = safetensors_dtype(first.dtype);
    if (dtype.empty())
      return Error{Errc::kInvalidField, "tensor " + name + ": safetensors has no " + first.dtype};
    for (ExportPlan::Piece& piece : pieces) {
      piece.tensor = plan.header.tensors.size();
      plan.pieces.push_back(std::move(piece));
    }
    plan.header.tensors.push_back({.name = name,
                                   .dtype = std::string(dtype),
                                   .shape = plan.pieces.back().piece.global_shape});
  }
  HF_TRY(plan.front, lay_out_safetensors(plan.header));
  return plan;
}

Result<void> run_export(const Folder& folder, const Manifest& manifest, const ExportPlan& plan,
                        std::span<std::byte> file, unsigned threads) {
  CHECK(file.size() == plan.file_bytes());
  std::memcpy(file.data(), plan.front.data(), plan.front.size());
  for (const ShardEntry& entry : manifest.shards)
    HF_TRY_VOID(export_shard(folder, manifest, plan, entry, file, threads));
  return {};
}

Result<void> import_safetensors(const ReadAt& read, std::uint64_t file_bytes,
                                const std::string& name, Folder& folder,
                                const std::optional<std::string>& job, const std::string& object,
                                std::uint64_t step, const std::string& created, unsigned threads) {
  constexpr std::uint64_t attempt = 1;
  HF_TRY(const SafetensorsHeader header, read_header_of(read, file_bytes, name));
  HF_TRY(const std::uint64_t newest, Store(folder, job, attempt).newest_attempt());
  if (newest != 0)
    return Error{Errc::kNameExists, folder.name("") +
                                        " has checkpoints already; import into an "
                                        "empty folder"};
  Index index{.job = job, .tensors = {}};
  for (const SafeTensor& tensor : header.tensors) {
    const std::string dtype(torch_dtype(tensor.dtype));
    if (dtype.empty())
      return Error{Errc::kInvalidField, name + ": tensor " + tensor.name + " is of " +
                                            tensor.dtype + ", which checkpoints do not hold"};
    index.tensors.push_back({.name = object + "." + tensor.name,
                             .dtype = dtype,
                             .shape = tensor.shape,
                             .global_shape = tensor.shape,
                             .offsets = std::vector<std::uint64_t>(tensor.shape.size(), 0),
                             .bytes = tensor.end - tensor.begin});
  }
  const std::string skeleton = skeleton_of(object, header.tensors);
  const ShardId id{attempt, step, 0, 1};
  const ShardLayout layout = lay_out(id, std::move(index), skeleton.size());
  const std::unique_ptr<std::byte, Free> memory(
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, layout.header.total)));
  if (!memory) return Error{Errc::kIo, name + ": too large for this machine's memory"};
  const std::span image(memory.get(), layout.header.total);
  write_frame(layout, std::as_bytes(std::span(skeleton)), image);
  for (std::size_t i = 0; i < header.tensors.size(); ++i)
    HF_TRY_VOID(read(header.tensors[i].begin,
                     image.subspan(layout.index.tensors[i].at, layout.index.tensors[i].bytes)));
  HF_TRY(const std::string checksum, seal(image, threads));
  const PersistRequest request{.job = job,
                               .id = id,
                               .retention = {.last = UINT64_MAX},
                               .created = created,
                               .save = "import",
                               .threads = threads};
  return persist(folder, request, image, [&] { return Result<std::string>(checksum); }, {});
}

}  // namespace holdfast::engine
