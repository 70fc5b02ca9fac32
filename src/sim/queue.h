#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/time.h"

namespace holdfast::sim {

// All that is still to happen, in the order of (time, when it was put here). Two lanes: what comes
// round by itself and may be left out (heartbeats), and everything else.
class Queue {
 public:
  using Action = std::function<void()>;

  explicit Queue(Instant start) : now_(start) {}

  [[nodiscard]] Instant now() const { return now_; }
  // A time that has passed is now.
  void at(Instant when, Action action) { put(others_, when, std::move(action)); }
  void after(Duration wait, Action action) { at(now_ + wait, std::move(action)); }
  void beat_at(Instant when, Action action) { put(beats_, when, std::move(action)); }

  // The earliest, and the earliest that is no beat.
  [[nodiscard]] std::optional<Instant> next() const {
    if (beats_.empty() && others_.empty()) return std::nullopt;
    return first().at;
  }
  [[nodiscard]] std::optional<Instant> next_but_beats() const {
    if (others_.empty()) return std::nullopt;
    return others_.front().at;
  }
  // REQUIRES: next().
  void run_next() {
    std::vector<Entry>& lane = is_beat_first() ? beats_ : others_;
    std::pop_heap(lane.begin(), lane.end(), Later{});
    const Entry entry = lane.back();
    lane.pop_back();
    now_ = entry.at;
    const Action action = std::move(actions_[entry.slot]);
    actions_[entry.slot] = nullptr;
    free_.push_back(entry.slot);
    action();
  }
  void forget_beats() {
    for (const Entry& entry : beats_) {
      actions_[entry.slot] = nullptr;
      free_.push_back(entry.slot);
    }
    beats_.clear();
  }
  // How many things have been put here.
  [[nodiscard]] std::uint64_t count() const { return count_; }

 private:
  struct Entry {
    Instant at;
    std::uint64_t seq;
    std::uint32_t slot;  // of actions_, so that the heap moves little
  };
  struct Later {
    bool operator()(const Entry& a, const Entry& b) const {
      return a.at != b.at ? a.at > b.at : a.seq > b.seq;
    }
  };
  [[nodiscard]] bool is_beat_first() const {
    return others_.empty() || (!beats_.empty() && Later{}(others_.front(), beats_.front()));
  }
  [[nodiscard]] const Entry& first() const {
    return is_beat_first() ? beats_.front() : others_.front();
  }
  void put(std::vector<Entry>& lane, Instant when, Action action) {
    std::uint32_t slot = static_cast<std::uint32_t>(actions_.size());
    if (free_.empty()) {
      actions_.push_back(std::move(action));
    } else {
      slot = free_.back();
      free_.pop_back();
      actions_[slot] = std::move(action);
    }
    lane.push_back({std::max(when, now_), ++count_, slot});
    std::push_heap(lane.begin(), lane.end(), Later{});
  }

  Instant now_;
  std::uint64_t count_ = 0;
  std::vector<Entry> beats_, others_;
  std::vector<Action> actions_;
  std::vector<std::uint32_t> free_;
};

}  // namespace holdfast::sim
