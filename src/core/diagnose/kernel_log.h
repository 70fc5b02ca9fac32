#pragma once

#include <optional>
#include <string_view>

#include "model/fault.h"

namespace holdfast {

// Reads one line of a kernel log. nullopt for a line that says nothing about this machine's health,
// including look-alikes and lines that are cut off before the fact they would tell.
//
// Known here: NVIDIA Xid ("NVRM: Xid (PCI:0000:b9:00): 79, pid=..., ...", format and meaning from
// NVIDIA's "XID Errors" guide) and the kernel's out-of-memory kill (mm/oom_kill.c). An Xid that is
// not in the table asks the operator: never a silent default.
[[nodiscard]] std::optional<Fault> read_kernel_line(std::string_view line);

}  // namespace holdfast
