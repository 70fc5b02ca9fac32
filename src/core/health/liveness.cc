#include "core/health/liveness.h"

namespace holdfast {

void LivenessMonitor::seen(NodeId node, Instant now) {
  forget(node);
  entries_[node] = by_silence_.insert(by_silence_.end(), Entry{node, now});
}

void LivenessMonitor::forget(NodeId node) {
  const auto found = entries_.find(node);
  if (found == entries_.end()) return;
  by_silence_.erase(found->second);
  entries_.erase(found);
}

std::vector<NodeId> LivenessMonitor::take_silent(Instant now) {
  std::vector<NodeId> silent;
  while (!by_silence_.empty() && now - by_silence_.front().seen >= silence_max_) {
    silent.push_back(by_silence_.front().node);
    entries_.erase(by_silence_.front().node);
    by_silence_.pop_front();
  }
  return silent;
}

std::optional<Instant> LivenessMonitor::next_deadline() const {
  if (by_silence_.empty()) return std::nullopt;
  return by_silence_.front().seen + silence_max_;
}

}  // namespace holdfast
