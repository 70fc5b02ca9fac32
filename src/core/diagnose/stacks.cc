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

}  // namespace

std::string_view innermost_frame(std::string_view dump) {
  constexpr std::string_view kMain = "Current thread ";
  const auto at = dump.rfind(kMain);  // of the last dump in the text
  if (at == std::string_view::npos) return {};
  dump.remove_prefix(at);
  dump = dump.substr(0, dump.find("\n\n"));  // the next thread's frames are not ours
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
