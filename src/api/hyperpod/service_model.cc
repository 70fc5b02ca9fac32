#include "api/hyperpod/service_model.h"

#include <algorithm>

#include "base/check.h"

namespace holdfast::hyperpod {
namespace {

#include "api/hyperpod/service_model.inc"

// Both tables are sorted by name.
template <class Named>
const Named* find_in(std::span<const Named> table, std::string_view name) {
  const auto found = std::ranges::lower_bound(table, name, {}, &Named::name);
  return found != table.end() && found->name == name ? &*found : nullptr;
}

}  // namespace

const Member* Shape::find(std::string_view member) const {
  const auto found = std::ranges::find(members, member, &Member::name);
  return found == members.end() ? nullptr : &*found;
}

std::string_view service_model_version() {
  return kVersion;
}

const Shape& shape_of(ShapeId id) {
  CHECK(id < std::size(kShapes));
  return kShapes[id];
}

const Shape* find_shape(std::string_view name) {
  return find_in(shapes(), name);
}

std::span<const Shape> shapes() {
  return kShapes;
}

std::span<const Operation> operations() {
  return kOperations;
}

const Operation* find_operation(std::string_view name) {
  return find_in(operations(), name);
}

}  // namespace holdfast::hyperpod
