#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "apps/terminal.h"
#include "model/fault.h"

namespace holdfast {

// What `holdfast explain` says of the rules of the kernel log (core/diagnose/kernel_rules.h).

// A page for "xid 79" or "sxid 20034": what it means, what Holdfast does, why, the source. An
// undocumented number has a page too, which says so. nullopt: there are no codes of that kind.
[[nodiscard]] std::optional<std::string> code_page(std::string_view kind, std::int32_t code,
                                                   const Paint& paint);

// All rules of a kind ("xid", "oom", "aer", ...) as a table. nullopt: no such kind.
[[nodiscard]] std::optional<std::string> kind_page(std::string_view kind, const Paint& paint);

// "xid sxid aer ...", for a message.
[[nodiscard]] std::string kinds_text();

// What an action comes to, as a sentence.
[[nodiscard]] std::string_view action_text(Action action);

}  // namespace holdfast
