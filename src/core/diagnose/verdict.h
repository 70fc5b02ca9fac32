#pragma once

#include "model/fault.h"
#include "model/job.h"

namespace holdfast {

// What ended this attempt? Pure: the evidence of all its ranks and nodes, in; the first cause and
// the mildest cure, out. The loudest is rarely the first: when one rank dies, all others report a
// broken connection, so those echoes count only when there is nothing else.
//
// The order in which causes are believed: a node that was lost or has a device fault; memory; a
// rank ended by a signal; a rank that raised something of its own; a hang; echoes alone. A rank
// that ended well explains a hang of ranks that all wait for a peer, and echoes.
//
// `over`: when its ranks were all gone: the time of evidence that has none of its own.
[[nodiscard]] Verdict diagnose(const AttemptRecord& attempt, Instant over = {});

// Whether an error of a rank only says that another rank went away.
[[nodiscard]] bool is_echo(const RankExit& exit);

// The fault is a reason to take the node out, whatever runs on it.
[[nodiscard]] bool condemns_node(const Fault& fault);

// Which ranks of a hang are not where the others are: those that did not answer, else those that do
// not wait for peers while others do, else those whose innermost Python frame is in the minority.
// Empty when all look alike.
[[nodiscard]] std::vector<std::uint32_t> odd_ranks(
    const std::vector<agent_message::StacksCollected>& stacks);

}  // namespace holdfast
