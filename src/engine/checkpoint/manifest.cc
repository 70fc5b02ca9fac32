#include "engine/checkpoint/manifest.h"

#include <algorithm>
#include <cstdio>
#include <initializer_list>

#include <nlohmann/json.hpp>

#include "engine/checkpoint/shard.h"
#include "model/json_text.h"

namespace holdfast::engine {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "holdfast-checkpoint";
constexpr std::string_view kChecksumKind = "xxh3-128:";
constexpr std::uint64_t kVersion = 2;
constexpr std::size_t kDimensionsMax = 64;

// Reads the fields of one object and remembers the first that is not as it should be.
class Fields {
 public:
  Fields(const json& object, std::string name) : object_(object), name_(std::move(name)) {
    if (!object.is_object()) fail("it is no object");
  }

  std::uint64_t number(const char* field, std::uint64_t most = INT64_MAX) {
    const json* value = find(field);
    if (value == nullptr) return 0;
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > most)
      return bad(field, *value);
    return value->get<std::uint64_t>();
  }

  std::string text(const char* field) {
    const json* value = find(field);
    if (value == nullptr) return {};
    if (!value->is_string()) return bad(field, *value), std::string();
    return value->get<std::string>();
  }

  std::optional<std::string> text_or_null(const char* field) {
    const json* value = find(field);
    if (value == nullptr || value->is_null()) return std::nullopt;
    if (!value->is_string()) return bad(field, *value), std::nullopt;
    return value->get<std::string>();
  }

  std::vector<std::uint64_t> numbers(const char* field) {
    std::vector<std::uint64_t> found;
    const json& list = array(field);
    if (list.size() > kDimensionsMax) return bad(field, list), found;
    for (const json& value : list) {
      if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX)
        return bad(field, value), found;
      found.push_back(value.get<std::uint64_t>());
    }
    return found;
  }

  const json& array(const char* field) {
    static const json empty = json::array();
    const json* value = find(field);
    if (value == nullptr) return empty;
    if (!value->is_array()) return bad(field, *value), empty;
    return *value;
  }

  const json& object(const char* field) {
    static const json empty = json::object();
    const json* value = find(field);
    return value == nullptr ? empty : *value;
  }

  bool has(const char* field) { return object_.is_object() && object_.contains(field); }

  void require(bool good, const std::string& what) {
    if (!good) fail(what);
  }

  // Call last: every field of the object must have been asked for.
  Result<void> done() {
    if (!problem_.empty()) return Error{Errc::kDamaged, problem_};
    if (known_ == object_.size()) return {};
    return Error{Errc::kDamaged, name_ + ": it has a field that this version does not know"};
  }

 private:
  const json* find(const char* field) {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(field);
    if (found == object_.end()) return fail(std::string(field) + " is missing"), nullptr;
    ++known_;
    return &*found;
  }

  std::uint64_t bad(const char* field, const json& value) {
    const std::string shown = value.dump(-1, ' ', true, json::error_handler_t::replace);
    fail(std::string(field) + " is " + shown.substr(0, 80));
    return 0;
  }

  void fail(const std::string& what) {
    if (problem_.empty()) problem_ = name_ + ": " + what;
  }

  const json& object_;
  const std::string name_;
  std::string problem_;
  std::size_t known_ = 0;
};

Result<json> parse(std::string_view text, const std::string& name) {
  json value = parse_json_text(text);
  if (value.is_discarded())
    return Error{Errc::kDamaged, name + ": cannot be read: it is no JSON, or cut off"};
  return value;
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json piece_to_json(const TensorPiece& piece) {
  return {{"name", piece.name},       {"dtype", piece.dtype},
          {"shape", piece.shape},     {"global_shape", piece.global_shape},
          {"offsets", piece.offsets}, {"at", piece.at},
          {"bytes", piece.bytes}};
}

// Whether the piece is `bytes` long and inside its tensor.
bool fits(const TensorPiece& piece) {
  const std::uint64_t element = dtype_bytes(piece.dtype);
  if (element == 0 || piece.shape.size() != piece.global_shape.size() ||
      piece.shape.size() != piece.offsets.size())
    return false;
  std::uint64_t bytes = element;
  bool is_empty = false;
  bool too_large = false;
  for (std::size_t i = 0; i < piece.shape.size(); ++i) {
    if (piece.shape[i] > piece.global_shape[i] ||
        piece.offsets[i] > piece.global_shape[i] - piece.shape[i])
      return false;
    is_empty = is_empty || piece.shape[i] == 0;
    too_large = __builtin_mul_overflow(bytes, piece.shape[i], &bytes) || too_large;
  }
  if (is_empty) return piece.bytes == 0;
  return !too_large && bytes == piece.bytes;
}

Result<TensorPiece> piece_from_json(const json& value, const std::string& name, std::uint64_t end) {
  Fields fields(value, name);
  TensorPiece piece{.name = fields.text("name"),
                    .dtype = fields.text("dtype"),
                    .shape = fields.numbers("shape"),
                    .global_shape = fields.numbers("global_shape"),
                    .offsets = fields.numbers("offsets"),
                    .at = fields.number("at"),
                    .bytes = fields.number("bytes")};
  HF_TRY_VOID(fields.done());
  if (!fits(piece))
    return Error{Errc::kDamaged, name + ": " + piece.name + " (" + piece.dtype +
                                     ") has a shape that does not fit its bytes or its tensor"};
  if (piece.at < kHeaderBytes || piece.at > end || piece.bytes > end - piece.at)
    return Error{Errc::kDamaged, name + ": " + piece.name + " lies outside its shard"};
  return piece;
}

Result<std::vector<TensorPiece>> pieces_from_json(const json& list, const std::string& name,
                                                  std::uint64_t end) {
  std::vector<TensorPiece> pieces;
  std::uint64_t free_from = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    HF_TRY(TensorPiece piece,
           piece_from_json(list[i], name + ": tensors[" + std::to_string(i) + "]", end));
    if (piece.at < free_from)
      return Error{Errc::kDamaged, name + ": " + piece.name + " lies over the tensor before it"};
    free_from = piece.at + piece.bytes;
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

json entry_to_json(const ShardEntry& entry) {
  json tensors = json::array();
  for (const TensorPiece& piece : entry.tensors) tensors.push_back(piece_to_json(piece));
  return {{"rank", entry.rank},
          {"name", shard_name(entry.rank)},
          {"bytes", entry.bytes},
          {"checksum", entry.checksum},
          {"tensors", std::move(tensors)}};
}

bool is_checksum(std::string_view text) {
  if (!text.starts_with(kChecksumKind) || text.size() != kChecksumKind.size() + 32) return false;
  text.remove_prefix(kChecksumKind.size());
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Result<ShardEntry> entry_from_json(const json& value, const std::string& name, std::uint64_t rank) {
  Fields fields(value, name);
  ShardEntry entry{.rank = static_cast<std::uint32_t>(fields.number("rank", UINT32_MAX)),
                   .bytes = fields.number("bytes"),
                   .checksum = fields.text("checksum")};
  const std::string shard = fields.text("name");
  const json& tensors = fields.array("tensors");
  fields.require(entry.rank == rank, "rank is " + std::to_string(entry.rank) + " in the place of " +
                                         std::to_string(rank));
  fields.require(shard == shard_name(entry.rank), "name is " + shard.substr(0, 80));
  fields.require(is_checksum(entry.checksum), "checksum is " + entry.checksum.substr(0, 80));
  HF_TRY_VOID(fields.done());
  HF_TRY(entry.tensors, pieces_from_json(tensors, name, entry.bytes));
  return entry;
}

std::string padded(const char* format, std::uint64_t number) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, static_cast<unsigned long long>(number));
  return buffer;
}

Error refused(const std::string& name, const std::string& what) {
  return {Errc::kWrongState, name + ": " + what};
}

// What is no fault of the file, but not for this reader either.
Result<void> check_kind(const json& manifest, const std::string& name) {
  if (!manifest.is_object()) return Error{Errc::kDamaged, name + ": it is no object"};
  const json format = manifest.value("format", json());
  if (format != kFormat)
    return refused(name, "format is " + dump(format).substr(0, 80) +
                             "; it was not written by Holdfast: use another checkpoint folder");
  const json version = manifest.value("version", json());
  if (version != kVersion)
    return refused(name, "version is " + dump(version).substr(0, 80) +
                             "; this Holdfast reads version 2: use the release that wrote it, or "
                             "another checkpoint folder");
  return {};
}

}  // namespace

std::string shard_name(std::uint32_t rank) {
  return padded("rank-%04llu.shard", rank);
}
std::string entry_name(std::uint32_t rank) {
  return padded("rank-%04llu.json", rank);
}
std::string attempt_folder(std::uint64_t attempt) {
  return padded("attempt-%04llu", attempt);
}
std::string step_folder(std::uint64_t attempt, std::uint64_t step) {
  return attempt_folder(attempt) + padded("/step-%08llu", step);
}

std::uint64_t dtype_bytes(std::string_view dtype) {
  struct Kind {
    std::string_view name;
    std::uint64_t bytes;
  };
  static constexpr Kind kKinds[] = {{"float32", 4}, {"bfloat16", 2},  {"float16", 2},
                                    {"float64", 8}, {"int64", 8},     {"int32", 4},
                                    {"int16", 2},   {"int8", 1},      {"uint8", 1},
                                    {"bool", 1},    {"complex64", 8}, {"complex128", 16}};
  for (const Kind& kind : kKinds)
    if (kind.name == dtype) return kind.bytes;
  return 0;
}

std::string write_manifest(const Manifest& manifest) {
  json shards = json::array();
  for (const ShardEntry& entry : manifest.shards) shards.push_back(entry_to_json(entry));
  return dump({{"format", kFormat},
               {"version", kVersion},
               {"job", manifest.job ? json(*manifest.job) : json()},
               {"attempt", manifest.attempt},
               {"step", manifest.step},
               {"world_size", manifest.shards.size()},
               {"created", manifest.created},
               {"shards", std::move(shards)}});
}

Result<Manifest> read_manifest(std::string_view text, const std::string& name,
                               const std::optional<std::string>& job, std::uint64_t attempt,
                               std::uint64_t step) {
  HF_TRY(const json value, parse(text, name));
  HF_TRY_VOID(check_kind(value, name));
  Fields fields(value, name);
  fields.text("format");
  fields.number("version");
  Manifest manifest{.job = fields.text_or_null("job"),
                    .attempt = fields.number("attempt"),
                    .step = fields.number("step"),
                    .created = fields.text("created")};
  const std::uint64_t world = fields.number("world_size", UINT32_MAX);
  const json& shards = fields.array("shards");
  fields.require(world > 0 && shards.size() == world,
                 "shards are " + std::to_string(shards.size()) + " for a world_size of " +
                     std::to_string(world));
  HF_TRY_VOID(fields.done());
  if (job && manifest.job && *job != *manifest.job)
    return refused(name, "job is " + *manifest.job + " and this job is " + *job +
                             "; give it another checkpoint folder or that name");
  if (manifest.attempt != attempt || manifest.step != step)
    return refused(name, "it says attempt " + std::to_string(manifest.attempt) + ", step " +
                             std::to_string(manifest.step) +
                             ": it was moved; put the folder back in its place");
  for (std::size_t rank = 0; rank < shards.size(); ++rank) {
    HF_TRY(ShardEntry entry,
           entry_from_json(shards[rank], name + ": shards[" + std::to_string(rank) + "]", rank));
    manifest.shards.push_back(std::move(entry));
  }
  return manifest;
}

std::string write_entry(const ShardEntry& entry, const std::string& save) {
  return dump({{"save", save}, {"shard", entry_to_json(entry)}});
}

std::string write_failure(const Error& why, const std::string& save) {
  return dump({{"save", save}, {"failed", why.detail}, {"code", code_of(why.code)}});
}

bool may_be_failure(std::string_view entry) {
  return entry.find("\"failed\"") != std::string_view::npos;
}

std::optional<std::string> save_of_entry(std::string_view text) {
  const json value = json::parse(text, nullptr, false);
  if (!value.is_object()) return std::nullopt;
  const auto save = value.find("save");
  if (save == value.end() || !save->is_string()) return std::nullopt;
  return save->get<std::string>();
}

Result<EntryOrFailure> read_entry(std::string_view text, const std::string& name,
                                  std::uint32_t rank) {
  HF_TRY(const json value, parse(text, name));
  EntryOrFailure found;
  Fields fields(value, name);
  found.save = fields.text("save");
  if (fields.has("failed")) {
    found.failure = {Errc::kIo, "rank " + std::to_string(rank) + ": " + fields.text("failed")};
    if (fields.text("code") == code_of(Errc::kDiskFull)) found.failure.code = Errc::kDiskFull;
    HF_TRY_VOID(fields.done());
    return found;
  }
  const json& shard = fields.object("shard");
  HF_TRY_VOID(fields.done());
  HF_TRY(found.entry, entry_from_json(shard, name, rank));
  return found;
}

std::string write_index(const Index& index) {
  json tensors = json::array();
  for (const TensorPiece& piece : index.tensors) tensors.push_back(piece_to_json(piece));
  return dump({{"job", index.job ? json(*index.job) : json()}, {"tensors", std::move(tensors)}});
}

Result<Index> read_index(std::string_view text, const std::string& name, std::uint64_t body) {
  HF_TRY(const json value, parse(text, name));
  Fields fields(value, name);
  Index index{.job = fields.text_or_null("job")};
  const json& tensors = fields.array("tensors");
  HF_TRY_VOID(fields.done());
  HF_TRY(index.tensors, pieces_from_json(tensors, name, body));
  return index;
}

Result<std::vector<TensorPiece>> read_pieces(std::string_view text) {
  HF_TRY(const json list, parse(text, "tensors"));
  if (!list.is_array()) return Error{Errc::kInvalidField, "tensors: it is no list"};
  std::vector<TensorPiece> pieces;
  for (const json& value : list) {
    Fields fields(value, "tensors[" + std::to_string(pieces.size()) + "]");
    TensorPiece piece{.name = fields.text("name"),
                      .dtype = fields.text("dtype"),
                      .shape = fields.numbers("shape"),
                      .bytes = fields.number("bytes")};
    piece.global_shape = fields.has("global_shape") ? fields.numbers("global_shape") : piece.shape;
    piece.offsets = fields.has("offsets") ? fields.numbers("offsets")
                                          : std::vector<std::uint64_t>(piece.shape.size(), 0);
    HF_TRY_VOID(fields.done());
    if (!fits(piece))
      return Error{Errc::kInvalidField, "tensors: " + piece.name + ": dtype " + piece.dtype +
                                            " and its shape do not give " +
                                            std::to_string(piece.bytes) + " bytes"};
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

std::string write_lineage(const Base& base) {
  if (base.attempt == 0) return R"({"base": null})";
  return dump({{"base", {{"attempt", base.attempt}, {"step", base.step}}}});
}

Result<Base> read_lineage(std::string_view text, const std::string& name, std::uint64_t attempt) {
  const json value = parse_json_text(text);
  Base base;
  bool good = value.is_object() && value.contains("base");
  if (good && !value["base"].is_null()) {
    Fields fields(value["base"], name);
    base = {.attempt = fields.number("attempt"), .step = fields.number("step")};
    good = fields.done().ok() && base.attempt > 0 && base.attempt < attempt;
  }
  if (!good) return refused(name, "it is no lineage; move the folder away to start anew");
  return base;
}

}  // namespace holdfast::engine
