#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/checkpoint/folder.h"
#include "engine/checkpoint/manifest.h"
#include "engine/safetensors/safetensors.h"

namespace holdfast::engine {

// Where each piece of a commit goes in a safetensors file.
struct ExportPlan {
  struct Piece {
    std::uint32_t rank = 0;
    TensorPiece piece;
    std::size_t tensor = 0;  // of header.tensors
  };
  std::string front;         // what stands before the tensors' bytes
  SafetensorsHeader header;  // with their places
  std::vector<Piece> pieces;
  [[nodiscard]] std::uint64_t file_bytes() const {
    return header.tensors.empty() ? front.size() : header.tensors.back().end;
  }
};

// The tensors of `object` ("model"), without its name in front; empty: all, with full names. Left
// out is what each rank has of its own (per_rank, random): safetensors has one tensor of a name.
// kInvalidField: no such object, a dtype that safetensors has not. kDamaged: the pieces of a tensor
// do not make it up.
[[nodiscard]] Result<ExportPlan> plan_export(const Manifest& manifest, const std::string& object);

// Fills `file`, of plan.file_bytes(), each block verified.
Result<void> run_export(const Folder& folder, const Manifest& manifest, const ExportPlan& plan,
                        std::span<std::byte> file, unsigned threads);

// Copies bytes [offset, offset + to.size()) of the file.
using ReadAt = std::function<Result<void>(std::uint64_t offset, std::span<std::byte> to)>;

// Makes step `step` of attempt 1 of the job in an empty folder, from a safetensors file: restored
// as the object named `object`. Needs the file's size in memory. kNameExists: the folder has
// commits.
Result<void> import_safetensors(const ReadAt& read, std::uint64_t file_bytes,
                                const std::string& name, Folder& folder,
                                const std::optional<std::string>& job, const std::string& object,
                                std::uint64_t step, const std::string& created, unsigned threads);

}  // namespace holdfast::engine
