#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "model/check.h"
#include "model/enum_text.h"

namespace holdfast {

// Programs of the user's that make a fresh machine a node of its group.
struct LifecycleScripts {
  std::string source;            // a folder of the control plane's host, or s3://BUCKET/PREFIX
  std::string on_create;         // the program in it that runs; empty: none
  std::string on_init_complete;  // likewise, afterwards; HyperPod knows either, here both may be

  friend bool operator==(const LifecycleScripts&, const LifecycleScripts&) = default;
};

// Nodes that are alike: what a cluster is made of.
struct InstanceGroup {
  std::uint32_t number = 0;  // given by the controller, for ever; 0: not yet
  std::string name;
  std::uint32_t count = 0;      // places that jobs may use
  std::uint32_t count_min = 0;  // so many filled ones are enough for the group to be in service
  std::uint32_t spares = 0;     // healthy nodes besides, held in its warm pool
  std::vector<std::string> instance_types;  // in order of preference, as the provider knows them
  LifecycleScripts lifecycle;
  std::vector<CheckKind> checks_on_start;  // deep checks of each machine that comes
  // The JSON object that asked for it, for what is only kept and shown (roles, volumes, networks,
  // images, labels); what has a field above is read from there.
  std::string specification;
};

// The one group of a cluster that nobody has divided: "workers".
[[nodiscard]] std::vector<InstanceGroup> one_group(std::uint32_t count, std::uint32_t spares = 0);

// What became of a wish for a group.
struct GroupRecord {
  std::uint32_t number = 0;        // see InstanceGroup
  std::set<std::uint32_t> places;  // numbers that no other group of the cluster has or gets
  std::uint32_t provisioning_failures = 0;  // in a row; it is not refilled after too many
  std::string failure;  // why it is not what it should be; empty: nothing is known
};

// A request to add nodes that bore a token: asked for again within kTokenLifetime it changes
// nothing and is answered as it was.
struct Addition {
  std::string request;  // its text: the token of another one is an error
  Instant at;
  std::vector<std::uint32_t> places;
};

// A rolling update: some nodes at a time leave their work, start anew with the software of now, and
// come back.
enum class SoftwareUpdateState { kInProgress, kSucceeded, kFailed };
template <>
inline constexpr auto kWords<SoftwareUpdateState> =
    std::to_array<std::string_view>({"in_progress", "succeeded", "failed"});
struct SoftwareUpdate {
  SoftwareUpdateState state = SoftwareUpdateState::kInProgress;
  std::string by;
  std::vector<std::uint32_t> groups;  // numbers
  std::uint32_t batch = 1;            // nodes at one time
  Duration wait;                      // from the end of a batch to the next
  Instant began;
  std::optional<Instant> ended;
  Instant next_at;              // of the next batch
  std::vector<NodeId> pending;  // in their order
  std::set<NodeId> under_way;
  std::uint32_t updated = 0, failed = 0;
};

}  // namespace holdfast
