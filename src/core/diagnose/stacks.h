#pragma once

#include <string_view>

namespace holdfast {

// Readings of a Python stack dump as `faulthandler` writes it ("Current thread 0x... (most recent
// call first):" and `  File "f", line 3 in g` lines). Views into the given text.

// The innermost frame of the main thread: the one that took the signal, or, where a timer or
// another thread wrote the dump, the oldest. Empty when there is none.
[[nodiscard]] std::string_view innermost_frame(std::string_view dump);

// The main thread is inside a collective operation or a wait for one: it is where a rank is that
// waits for another rank.
[[nodiscard]] bool waits_for_peers(std::string_view dump);

}  // namespace holdfast
