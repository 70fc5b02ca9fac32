#pragma once

// The kernel's lines as `journalctl -k -o json` writes them: an object a line, fields as in
// systemd.journal-fields(7).

#include <optional>
#include <string>
#include <string_view>

namespace holdfast {

// The same line as `journalctl -o short-unix` writes it, "1795493179.123456 gpu-7 kernel: TEXT";
// empty for an entry that is not the kernel's, whatever it quotes. Nullopt: no such object, so the
// line is in some other format.
[[nodiscard]] std::optional<std::string> kernel_line_of_journal(std::string_view line);

}  // namespace holdfast
