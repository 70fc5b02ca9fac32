#include "core/diagnose/stacks.h"

#include <algorithm>
#include <array>

namespace holdfast {
namespace {

// The frames of the main thread in the last dump of the text.
std::string_view main_thread(std::string_view dump) {
  constexpr std::string_view kMain = "Current thread ";
  const auto at = dump.rfind(kMain);
  if (at == std::string_view::npos) return {};
  dump.remove_prefix(at);
  const auto first_frame = dump.find("\n  File ");
  if (first_frame == std::string_view::npos) return {};
  dump.remove_prefix(first_frame + 1);
  const auto end = dump.find("\n\n");
  return dump.substr(0, end);
}

// Where PyTorch waits for peers: its distributed package (collectives, store, DDP's own) and the
// engine's backward, in which DDP's reducer waits for the all-reduce.
constexpr auto kWaits = std::to_array<std::string_view>(
    {"/torch/distributed/", "/torch/nn/parallel/distributed.py", "/torch/autograd/__init__.py",
     "/deepspeed/comm/", "/horovod/", "/mpi4py/"});

}  // namespace

std::string_view innermost_frame(std::string_view dump) {
  const std::string_view frames = main_thread(dump);
  return frames.substr(0, frames.find('\n'));
}

bool waits_for_peers(std::string_view dump) {
  const std::string_view frames = main_thread(dump);
  return std::any_of(kWaits.begin(), kWaits.end(), [&](std::string_view place) {
    return frames.find(place) != std::string_view::npos;
  });
}

}  // namespace holdfast
