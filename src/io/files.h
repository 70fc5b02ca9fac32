#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/os_error.h"
#include "base/result.h"
#include "io/unique_fd.h"

namespace holdfast {

// open(2) with O_CLOEXEC added.
[[nodiscard]] Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode = 0);

// Everything from the descriptor's position to its end; an error for more than `max_bytes`.
// `path` is for the error.
[[nodiscard]] Result<std::string> read_all(const UniqueFd& fd, const std::string& path,
                                           std::size_t max_bytes);
[[nodiscard]] Result<void> write_all(const UniqueFd& fd, const std::string& path,
                                     std::string_view bytes);

// Works for /proc and /sys, whose files have no size.
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t max_bytes);

// Readers see the old content or the new, also after a crash or a power cut; durable when it
// returns. Exactly `mode`, whatever the umask. One writer per path at a time.
[[nodiscard]] Result<void> write_file_atomic(const std::string& path, std::string_view bytes,
                                             mode_t mode);

// Adds the newline. Lines of several writers do not mix. Not synced to disk.
[[nodiscard]] Result<void> append_line(const std::string& path, std::string_view line);

// With its parents. A folder that exists keeps its mode.
[[nodiscard]] Result<void> make_folder(const std::string& path, mode_t mode);

// Symbolic links are removed, not followed. No such path is fine.
[[nodiscard]] Result<void> rename_durably(const std::string& from, const std::string& to);
[[nodiscard]] Result<void> remove_tree(const std::string& path);

}  // namespace holdfast
