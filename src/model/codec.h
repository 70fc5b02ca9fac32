#pragma once

// Values <-> JSON: the journal, snapshots, the REST view and digests all use these. Reading is
// strict: a missing or unknown field, an unknown word or a wrong type is kUnparsable that names the
// place, never a default.
//
// Ids are text ("n3"; null: none), times and durations are integers under a key that ends in _ns,
// enums are their words, an empty optional and a loss that is not finite are null. The fields are
// listed in model/fields.h. Text that is no UTF-8 is written with U+FFFD in place of what is not.

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "model/cluster.h"
#include "model/event.h"
#include "model/readings.h"

namespace holdfast {

// One line of JSON, keys sorted: equal values give equal text.
[[nodiscard]] std::string encode(const Event& event);
[[nodiscard]] std::string encode(const ClusterState& state);
[[nodiscard]] std::string encode(const ClusterSpec& spec);
[[nodiscard]] Result<ClusterSpec> decode_cluster_spec(std::string_view text);
[[nodiscard]] Result<Event> decode_event(std::string_view text);
[[nodiscard]] Result<ClusterState> decode_cluster_state(std::string_view text);

// What a probe's process tells its agent.
[[nodiscard]] std::string encode(const DevicesReading& reading);
[[nodiscard]] std::string encode(const HostReading& reading);
[[nodiscard]] Result<DevicesReading> decode_devices_reading(std::string_view text);
[[nodiscard]] Result<HostReading> decode_host_reading(std::string_view text);

// The REST view of one thing.
[[nodiscard]] nlohmann::json to_json_value(const NodeRecord& node);
[[nodiscard]] nlohmann::json to_json_value(const JobRecord& job);
[[nodiscard]] nlohmann::json to_json_value(const IncidentRecord& incident);
[[nodiscard]] nlohmann::json to_json_value(const Verdict& verdict);
[[nodiscard]] nlohmann::json to_json_value(const CheckRun& run);
[[nodiscard]] nlohmann::json to_json_value(const ClusterSpec& spec);

}  // namespace holdfast
