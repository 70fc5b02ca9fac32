#pragma once

// AWS's model of SageMaker as far as HyperPod's operations reach: what a request must be and what
// an answer looks like. The tables are made by tools/service_model.py.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace holdfast::hyperpod {

enum class Type {
  kStructure,
  kList,
  kMap,
  kString,
  kInteger,  // 32 bits
  kLong,
  kFloat,
  kBoolean,
  kTimestamp
};

using ShapeId = std::uint16_t;

struct Member {
  std::string_view name;
  ShapeId shape;
  bool is_required;
};

struct Shape {
  std::string_view name;
  Type type;
  std::span<const Member> members = {};  // kStructure
  bool is_union = false;                 // exactly one of them is there
  ShapeId key = 0;                       // kMap
  ShapeId item = 0;                      // kList, kMap
  // Of the value of a number, the code points of a string, the items of a list or map.
  std::optional<std::int64_t> min = {}, max = {};
  std::string_view pattern = {};                 // all of a string matches; empty: any string
  std::string_view translated = {};              // the pattern for RE2; empty: it takes `pattern`
  std::span<const std::string_view> words = {};  // empty: any string

  // nullptr: there is none.
  [[nodiscard]] const Member* find(std::string_view member) const;
};

struct Operation {
  std::string_view name;
  const Shape& input;
  const Shape* output;  // nullptr: an empty answer
  std::span<const std::string_view> errors;
};

// "botocore 1.44.8"
[[nodiscard]] std::string_view service_model_version();

[[nodiscard]] const Shape& shape_of(ShapeId id);
// nullptr: there is none.
[[nodiscard]] const Shape* find_shape(std::string_view name);
[[nodiscard]] std::span<const Shape> shapes();

// By name, in their order.
[[nodiscard]] std::span<const Operation> operations();
[[nodiscard]] const Operation* find_operation(std::string_view name);

}  // namespace holdfast::hyperpod
