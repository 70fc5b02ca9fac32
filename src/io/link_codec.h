#pragma once

// model/link.h <-> proto/link.proto. Reading is total: whatever bytes a peer sends give a value or
// an Error that names the field.

#include "base/result.h"
#include "link.pb.h"
#include "model/link.h"

namespace holdfast {

[[nodiscard]] wire::AgentEnvelope to_wire(const AgentMessage& message);
[[nodiscard]] wire::ServerEnvelope to_wire(const ServerMessage& message);

// kUnparsable: no or an unknown message, an unknown enum value, a port above 65535, a negative
// duration, a list of more than 4,096 items.
Result<AgentMessage> from_wire(const wire::AgentEnvelope& envelope);
Result<ServerMessage> from_wire(const wire::ServerEnvelope& envelope);

// Both ends refuse larger ones.
inline constexpr int kLinkMessageBytesMax = 8 << 20;

}  // namespace holdfast
