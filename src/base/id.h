#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace holdfast {

// An integer that cannot be mixed up with another kind of integer. 0 means "none" for every id.
template <class Tag>
struct StrongId {
  std::uint32_t value = 0;

  friend auto operator<=>(const StrongId&, const StrongId&) = default;
  explicit operator bool() const { return value != 0; }
};

struct NodeTag {
  static constexpr char kPrefix = 'n';
};
struct JobTag {
  static constexpr char kPrefix = 'j';
};
struct IncidentTag {
  static constexpr char kPrefix = 'i';
};
struct CheckTag {
  static constexpr char kPrefix = 'c';
};
struct AttemptTag {
  static constexpr char kPrefix = 'a';
};

using NodeId = StrongId<NodeTag>;          // this machine; never reused
using JobId = StrongId<JobTag>;            // scoped by cluster
using Attempt = StrongId<AttemptTag>;      // numbered within its job; the fencing token
using CheckId = StrongId<CheckTag>;        // scoped by cluster
using IncidentId = StrongId<IncidentTag>;  // scoped by cluster

// "n3", "j1", "i2"
template <class Tag>
[[nodiscard]] std::string to_string(StrongId<Tag> id) {
  return Tag::kPrefix + std::to_string(id.value);
}

}  // namespace holdfast
