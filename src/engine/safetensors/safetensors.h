#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace holdfast::engine {

// The safetensors format of Hugging Face: 8 bytes of length, a JSON header of that length, and the
// bytes of the tensors, one after the other without a gap (its README, "Format").

inline constexpr std::uint64_t kSafetensorsHeaderMax = 100'000'000;  // the format's own limit

struct SafeTensor {
  std::string name;
  std::string dtype;  // the format's word: "F32"
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;  // from the start of the file
  friend bool operator==(const SafeTensor&, const SafeTensor&) = default;
};

struct SafetensorsHeader {
  std::vector<SafeTensor> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;
  friend bool operator==(const SafetensorsHeader&, const SafetensorsHeader&) = default;
};

// What the 8 bytes say; kDamaged when a file of `file_bytes` cannot hold it, or it is too long.
[[nodiscard]] Result<std::uint64_t> safetensors_header_bytes(std::string_view first_8,
                                                             std::uint64_t file_bytes,
                                                             const std::string& name);

// `text` is the header without its 8 bytes. kDamaged for what is not as the format says: a field
// that is missing, unknown or of the wrong type, a name that stands there twice, a length that does
// not fit shape and dtype, and bytes that overlap, leave a gap or do not end with the file.
[[nodiscard]] Result<SafetensorsHeader> read_safetensors_header(std::string_view text,
                                                                std::uint64_t file_bytes,
                                                                const std::string& name);

// Gives the tensors their places, one after the other, and makes what stands before their bytes,
// with the 8 bytes: a multiple of 8, as long as tensors.front().begin. kInvalidField: more than
// kSafetensorsHeaderMax, or a tensor of no dtype that the format has.
[[nodiscard]] Result<std::string> lay_out_safetensors(SafetensorsHeader& header);

// PyTorch's names to the format's and back; empty: the other side has none.
[[nodiscard]] std::string_view safetensors_dtype(std::string_view torch);
[[nodiscard]] std::string_view torch_dtype(std::string_view safetensors);

}  // namespace holdfast::engine
