#pragma once

#include <list>
#include <optional>
#include <vector>

#include "base/id.h"
#include "base/time.h"

namespace holdfast {

// Who has not been heard of for too long. A pure machine beside the controller: heartbeats come at
// 1 Hz and more from every node and decide nothing, so they stay out of the journal; only the
// silence that this finds becomes an event.
//
// Intuition: a queue at a counter. Whoever speaks goes to the back; the one in front has been
// silent longest, so only the front is ever looked at. O(1) and no allocation per heartbeat,
// O(expired) per check.
class LivenessMonitor {
 public:
  explicit LivenessMonitor(Duration silence_max) : silence_max_(silence_max) {}
  LivenessMonitor(const LivenessMonitor&) = delete;  // its iterators know this list
  LivenessMonitor& operator=(const LivenessMonitor&) = delete;

  // Watches nobody any more, and the next ones with this limit.
  void reset(Duration silence_max);

  // The node spoke at `now`, or gets a fresh start (after a restart of the control plane).
  void seen(NodeId node, Instant now);
  // Nobody was listened to until `now`: no node is held to have been silent before it. O(1).
  void start_afresh(Instant now) { afresh_at_ = now; }
  // The node is not watched any more.
  void forget(NodeId node);
  // Those silent for `silence_max`, which are forgotten with this answer.
  [[nodiscard]] std::vector<NodeId> take_silent(Instant now);
  // When take_silent() may have something next; nullopt: nobody is watched.
  [[nodiscard]] std::optional<Instant> next_deadline() const;

 private:
  struct Entry {
    NodeId node;
    Instant seen;
  };
  Duration silence_max_;
  Instant afresh_at_;
  std::list<Entry> by_silence_;                      // longest silent first
  std::vector<std::list<Entry>::iterator> entries_;  // by node id; end(): not watched
};

}  // namespace holdfast
