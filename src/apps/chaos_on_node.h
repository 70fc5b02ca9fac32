#pragma once

#include <string>

#include "apps/rank_launcher.h"
#include "model/link.h"

namespace holdfast {

// Does harm to this node on request, for tests and for users who try their set-up. Process faults
// are real (signals); device and memory faults are the kernel-log lines that the real ones would
// leave.
void inject_here(const server_message::Inject& inject, RankLauncher& launcher,
                 const std::string& kernel_log);

}  // namespace holdfast
