#pragma once

#include <nlohmann/json.hpp>

#include "engine/checkpoint/shard.h"

namespace holdfast::engine {

// How snapshot servers and ranks name an image. The reader throws json::exception.

inline nlohmann::json to_json(const ShardId& id) {
  return {id.attempt, id.step, id.rank, id.world_size};
}

inline ShardId id_from_json(const nlohmann::json& value) {
  return {value.at(0), value.at(1), value.at(2), value.at(3)};
}

}  // namespace holdfast::engine
