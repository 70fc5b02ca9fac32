#include "core/health/liveness.h"

#include <algorithm>

namespace holdfast {

void LivenessMonitor::reset(Duration silence_max) {
  silence_max_ = silence_max;
  by_silence_.clear();
  entries_.clear();
}

void LivenessMonitor::seen(NodeId node, Instant now) {
  if (node.value >= entries_.size()) entries_.resize(node.value + 1, by_silence_.end());
  auto& entry = entries_[node.value];
  if (entry == by_silence_.end()) {
    entry = by_silence_.insert(by_silence_.end(), Entry{node, now});
    return;
  }
  entry->seen = now;
  by_silence_.splice(by_silence_.end(), by_silence_, entry);
}

void LivenessMonitor::forget(NodeId node) {
  if (node.value >= entries_.size() || entries_[node.value] == by_silence_.end()) return;
  by_silence_.erase(entries_[node.value]);
  entries_[node.value] = by_silence_.end();
}

std::vector<NodeId> LivenessMonitor::take_silent(Instant now) {
  std::vector<NodeId> silent;
  while (!by_silence_.empty() &&
         now - std::max(by_silence_.front().seen, afresh_at_) >= silence_max_) {
    silent.push_back(by_silence_.front().node);
    forget(silent.back());
  }
  return silent;
}

std::optional<Instant> LivenessMonitor::next_deadline() const {
  if (by_silence_.empty()) return std::nullopt;
  return std::max(by_silence_.front().seen, afresh_at_) + silence_max_;
}

}  // namespace holdfast
