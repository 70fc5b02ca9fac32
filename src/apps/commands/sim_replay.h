#pragma once

#include "apps/commands/commands.h"

namespace holdfast {

// `sim replay`, below `sim`.
void add_sim_replay(CLI::App& group);

}  // namespace holdfast
