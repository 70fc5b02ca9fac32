#include "engine/safetensors/safetensors.h"

#include <algorithm>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "model/json_text.h"

namespace holdfast::engine {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::size_t kDimensionsMax = 64;
constexpr const char* kMetadata = "__metadata__";

struct Dtype {
  std::string_view word;
  std::string_view torch;  // empty: the engine has none
  std::uint64_t bytes;
};
constexpr Dtype kDtypes[] = {
    {"BOOL", "bool", 1},     {"U8", "uint8", 1},  {"I8", "int8", 1}, {"F8_E5M2", "", 1},
    {"F8_E4M3", "", 1},      {"I16", "int16", 2}, {"U16", "", 2},    {"F16", "float16", 2},
    {"BF16", "bfloat16", 2}, {"I32", "int32", 4}, {"U32", "", 4},    {"F32", "float32", 4},
    {"F64", "float64", 8},   {"I64", "int64", 8}, {"U64", "", 8},    {"C64", "complex64", 8},
};

const Dtype* find_dtype(std::string_view word) {
  const auto* found = std::ranges::find(kDtypes, word, &Dtype::word);
  return found == std::end(kDtypes) ? nullptr : found;
}

// nullopt-like: false when it does not fit into 64 bits.
bool tensor_bytes(const SafeTensor& tensor, std::uint64_t& bytes) {
  bytes = find_dtype(tensor.dtype)->bytes;
  if (std::ranges::find(tensor.shape, 0u) != tensor.shape.end()) return bytes = 0, true;
  return std::ranges::all_of(tensor.shape, [&](std::uint64_t size) {
    return !__builtin_mul_overflow(bytes, size, &bytes);
  });
}

bool read_numbers(const json& list, std::vector<std::uint64_t>& numbers) {
  if (!list.is_array() || list.size() > kDimensionsMax) return false;
  for (const json& value : list) {
    if (!value.is_number_unsigned()) return false;
    numbers.push_back(value.get<std::uint64_t>());
  }
  return true;
}

// Empty: nothing is wrong.
std::string read_tensor(const json& value, std::uint64_t data, std::uint64_t file_bytes,
                        SafeTensor& tensor) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets"))
    return "needs dtype, shape and data_offsets, and nothing else";
  if (!value["dtype"].is_string() || find_dtype(value["dtype"].get<std::string>()) == nullptr)
    return "has a dtype that the format does not know";
  tensor.dtype = value["dtype"].get<std::string>();
  if (!read_numbers(value["shape"], tensor.shape)) return "has a shape that is no list of sizes";
  std::vector<std::uint64_t> offsets;
  if (!read_numbers(value["data_offsets"], offsets) || offsets.size() != 2 ||
      offsets[0] > offsets[1] || offsets[1] > file_bytes - data)
    return "has data_offsets that are not two offsets in this file";
  std::uint64_t bytes = 0;
  if (!tensor_bytes(tensor, bytes) || bytes != offsets[1] - offsets[0])
    return "has data_offsets that do not fit its shape and dtype";
  tensor.begin = data + offsets[0];
  tensor.end = data + offsets[1];
  return "";
}

// nlohmann's parser keeps the last of two equal keys; a reader that keeps the first would see
// another tensor.
struct RepeatedKeys {
  std::vector<std::set<std::string>> open;
  bool found = false;

  bool operator()(int, json::parse_event_t event, const json& value) {
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::object_end) open.pop_back();
    if (event == json::parse_event_t::key)
      found = !open.back().insert(value.get<std::string>()).second || found;
    return true;
  }
};

}  // namespace

Result<std::uint64_t> safetensors_header_bytes(std::string_view first_8, std::uint64_t file_bytes,
                                               const std::string& name) {
  if (first_8.size() < kLengthBytes || file_bytes < kLengthBytes)
    return Error{Errc::kDamaged, name + ": it is too short to be a safetensors file"};
  std::uint64_t length = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;)
    length = length << 8 | static_cast<unsigned char>(first_8[i]);
  if (length > kSafetensorsHeaderMax)
    return Error{Errc::kDamaged,
                 name + ": its header would have " + std::to_string(length) +
                     " bytes, more than safetensors allows; it is no safetensors file"};
  if (length > file_bytes - kLengthBytes)
    return Error{Errc::kDamaged, name + ": its header has " + std::to_string(length) +
                                     " bytes, and the file only " + std::to_string(file_bytes)};
  return length;
}

Result<SafetensorsHeader> read_safetensors_header(std::string_view text, std::uint64_t file_bytes,
                                                  const std::string& name) {
  const auto wrong = [&name](const std::string& what) {
    return Error{Errc::kDamaged, name + ": " + what};
  };
  if (!text.starts_with('{')) return wrong("its header does not begin with {");
  if (text.size() > kSafetensorsHeaderMax || file_bytes < kLengthBytes + text.size())
    return wrong("its header is longer than the format or the file allows");
  if (nests_deeper(text, kJsonDepthMax)) return wrong("its header nests deeper than the format");
  RepeatedKeys repeated;
  const json header = json::parse(text, std::ref(repeated), false);
  if (header.is_discarded() || !header.is_object()) return wrong("its header is no JSON object");
  if (repeated.found) return wrong("a name stands twice in its header");
  const std::uint64_t data = kLengthBytes + text.size();
  SafetensorsHeader read;
  for (const auto& [key, value] : header.items()) {
    if (key == kMetadata) {
      if (!value.is_object()) return wrong("its __metadata__ is no object");
      for (const auto& [field, content] : value.items()) {
        if (!content.is_string()) return wrong("its __metadata__ holds more than texts");
        read.metadata[field] = content.get<std::string>();
      }
      continue;
    }
    SafeTensor tensor{.name = key};
    const std::string problem = read_tensor(value, data, file_bytes, tensor);
    if (!problem.empty()) return wrong("tensor " + key.substr(0, 200) + " " + problem);
    read.tensors.push_back(std::move(tensor));
  }
  std::ranges::sort(read.tensors, {}, [](const SafeTensor& tensor) {
    return std::tie(tensor.begin, tensor.end, tensor.name);
  });
  std::uint64_t at = data;
  for (const SafeTensor& tensor : read.tensors) {
    if (tensor.begin != at)
      return wrong("tensor " + tensor.name.substr(0, 200) +
                   (tensor.begin < at ? " overlaps another" : " begins after a gap"));
    at = tensor.end;
  }
  if (at != file_bytes)
    return wrong("its tensors end at byte " + std::to_string(at) + " of " +
                 std::to_string(file_bytes));
  return read;
}

Result<std::string> lay_out_safetensors(SafetensorsHeader& header) {
  json text = json::object();
  if (!header.metadata.empty()) text[kMetadata] = header.metadata;
  std::uint64_t at = 0;
  for (SafeTensor& tensor : header.tensors) {
    std::uint64_t bytes = 0;
    if (find_dtype(tensor.dtype) == nullptr || !tensor_bytes(tensor, bytes))
      return Error{Errc::kInvalidField, tensor.name +
                                            ": safetensors has no tensor of this dtype "
                                            "and shape (" +
                                            tensor.dtype + ")"};
    if (tensor.name == kMetadata || text.contains(tensor.name))
      return Error{Errc::kInvalidField,
                   tensor.name + ": a name that cannot be used, or is used twice"};
    tensor.begin = at;
    tensor.end = at += bytes;
    text[tensor.name] = {{"dtype", tensor.dtype},
                         {"shape", tensor.shape},
                         {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string dumped = text.dump(-1, ' ', false, json::error_handler_t::replace);
  dumped.resize((dumped.size() + 7) / 8 * 8, ' ');
  if (dumped.size() > kSafetensorsHeaderMax)
    return Error{Errc::kInvalidField,
                 "the header would be longer than safetensors allows; export fewer tensors"};
  std::string all;
  for (std::size_t i = 0; i < kLengthBytes; ++i)
    all += static_cast<char>(dumped.size() >> (8 * i) & 0xff);
  all += dumped;
  for (SafeTensor& tensor : header.tensors) {
    tensor.begin += all.size();
    tensor.end += all.size();
  }
  return all;
}

std::string_view safetensors_dtype(std::string_view torch) {
  const auto* found = std::ranges::find(kDtypes, torch, &Dtype::torch);
  return torch.empty() || found == std::end(kDtypes) ? std::string_view() : found->word;
}

std::string_view torch_dtype(std::string_view safetensors) {
  const Dtype* found = find_dtype(safetensors);
  return found == nullptr ? std::string_view() : found->torch;
}

}  // namespace holdfast::engine
