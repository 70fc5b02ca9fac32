#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "base/time.h"

namespace holdfast::sim {

// All that is still to happen, in the order of (time, when it was put here). What comes round by
// itself and may be left out (heartbeats) is kept apart from everything else; and of that, what is
// put here in the order of its time stands in a line of its own, for which no heap is needed: that
// is nearly all when each beat plans the one an interval later.
class Queue {
 public:
  using Action = std::function<void()>;

  explicit Queue(Instant start) : now_(start) {}

  [[nodiscard]] Instant now() const { return now_; }
  // A time that has passed is now.
  void at(Instant when, Action action) { put(others_, when, std::move(action)); }
  void after(Duration wait, Action action) { at(now_ + wait, std::move(action)); }
  // `touches` is what the action will look at: nearly all of a beat's time would be waiting for it.
  void beat_at(Instant when, Action action, const void* touches = nullptr) {
    if (line_.empty() || when >= line_.back().entry.at)
      line_.push_back({keep(when, std::move(action)), touches});
    else
      put(beats_, when, std::move(action));
  }

  // The earliest, and the earliest that is no beat.
  [[nodiscard]] std::optional<Instant> next() const {
    const Entry* first = this->first();
    if (first == nullptr) return std::nullopt;
    return first->at;
  }
  [[nodiscard]] std::optional<Instant> next_but_beats() const {
    if (others_.empty()) return std::nullopt;
    return others_.front().at;
  }
  // REQUIRES: next().
  void run_next() {
    const Entry entry = *first();
    if (!line_.empty() && line_.front().entry.seq == entry.seq) {
      line_.pop_front();
      if (line_.size() > kAhead) fetch(line_[kAhead].touches);
    } else {
      std::vector<Entry>& lane =
          !beats_.empty() && beats_.front().seq == entry.seq ? beats_ : others_;
      std::pop_heap(lane.begin(), lane.end(), Later{});
      lane.pop_back();
    }
    now_ = entry.at;
    const Action action = std::move(actions_[entry.slot]);
    actions_[entry.slot] = nullptr;
    free_.push_back(entry.slot);
    action();
  }
  void forget_beats() {
    const auto forget = [this](const Entry& entry) {
      actions_[entry.slot] = nullptr;
      free_.push_back(entry.slot);
    };
    for (const Beat& beat : line_) forget(beat.entry);
    std::for_each(beats_.begin(), beats_.end(), forget);
    line_.clear();
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
  struct Beat {
    Entry entry;
    const void* touches;
  };
  static constexpr std::size_t kAhead = 6;  // beats: about as long as memory takes
  // Its first cache lines.
  static void fetch(const void* from) {
    for (int line = 0; line < 3; ++line)
      __builtin_prefetch(static_cast<const char*>(from) + line * 64);
  }
  struct Later {
    bool operator()(const Entry& a, const Entry& b) const {
      return a.at != b.at ? a.at > b.at : a.seq > b.seq;
    }
  };
  // nullptr: nothing is here.
  [[nodiscard]] const Entry* first() const {
    const Entry* first = line_.empty() ? nullptr : &line_.front().entry;
    for (const std::vector<Entry>* lane : {&beats_, &others_})
      if (!lane->empty() && (first == nullptr || Later{}(*first, lane->front())))
        first = &lane->front();
    return first;
  }
  Entry keep(Instant when, Action action) {
    std::uint32_t slot = static_cast<std::uint32_t>(actions_.size());
    if (free_.empty()) {
      actions_.push_back(std::move(action));
    } else {
      slot = free_.back();
      free_.pop_back();
      actions_[slot] = std::move(action);
    }
    return {std::max(when, now_), ++count_, slot};
  }
  void put(std::vector<Entry>& lane, Instant when, Action action) {
    lane.push_back(keep(when, std::move(action)));
    std::push_heap(lane.begin(), lane.end(), Later{});
  }

  Instant now_;
  std::uint64_t count_ = 0;
  std::deque<Beat> line_;              // beats, by time
  std::vector<Entry> beats_, others_;  // heaps
  std::vector<Action> actions_;
  std::vector<std::uint32_t> free_;
};

}  // namespace holdfast::sim
