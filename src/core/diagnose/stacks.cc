#include "core/diagnose/stacks.h"

#include <algorithm>
#include <array>

namespace holdfast {
namespace {

// Where PyTorch waits for peers: its distributed package (collectives, store, DDP's own) and the
// engine's backward, in which DDP's reducer waits for the all-reduce. Only the innermost frame
// counts: the user's own forward() also runs below a frame of DDP or FSDP.
constexpr auto kWaits = std::to_array<std::string_view>(
    {"/torch/distributed/", "/torch/nn/parallel/distributed.py", "/torch/autograd/__init__.py",
     "/torch/autograd/graph.py", "/deepspeed/comm/", "/horovod/", "/mpi4py/"});

// A thread that Python's threading began; the main one was not. Its outermost frame says so.
bool is_side_thread(std::string_view thread) {
  thread = thread.substr(0, thread.find_last_not_of(" \r\n") + 1);
  thread.remove_prefix(thread.rfind('\n') + 1);  // npos + 1 is 0
  return thread.find("threading.py\", line ") != std::string_view::npos &&
         thread.ends_with(" in _bootstrap");
}

// From the last of `header` to the next empty line: what comes then is another thread's.
std::string_view last_thread(std::string_view dump, std::string_view header) {
  const auto at = dump.rfind(header);
  if (at == std::string_view::npos) return {};
  return dump.substr(at, dump.find("\n\n", at) - at);
}

// faulthandler calls the thread that dumps the current one: the main one in a handler of a signal.
// Where it is none, or another (dump_traceback_later, a thread that watches), the last one that is
// no side thread is the main one, since Python lists the youngest first.
std::string_view main_thread(std::string_view dump) {
  const std::string_view current = last_thread(dump, "Current thread ");
  if (!current.empty() && !is_side_thread(current)) return current;
  constexpr std::string_view kOther = "Thread 0x";
  while (true) {
    const std::string_view thread = last_thread(dump, kOther);
    if (thread.empty()) return current;
    if (!is_side_thread(thread) && thread.find("\n  File ") != std::string_view::npos)
      return thread;
    dump = dump.substr(0, static_cast<std::size_t>(thread.data() - dump.data()));
  }
}

}  // namespace

std::string_view innermost_frame(std::string_view dump) {
  dump = main_thread(dump);
  const auto frame = dump.find("\n  File ");
  if (frame == std::string_view::npos) return {};
  dump.remove_prefix(frame + 1);
  return dump.substr(0, dump.find('\n'));
}

bool waits_for_peers(std::string_view dump) {
  const std::string_view frame = innermost_frame(dump);
  return std::any_of(kWaits.begin(), kWaits.end(), [&](std::string_view place) {
    return frame.find(place) != std::string_view::npos;
  });
}

}  // namespace holdfast
