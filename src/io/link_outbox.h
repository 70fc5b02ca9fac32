#pragma once

// What waits for its turn on a stream: gRPC takes one message at a time. Not thread-safe.

#include <cstddef>
#include <deque>
#include <utility>

namespace holdfast {

// A peer that lets this much pile up does not read: its stream is ended.
inline constexpr std::size_t kOutboxBytesMax = 16 << 20;

template <class Envelope>
class LinkOutbox {
 public:
  [[nodiscard]] bool empty() const { return queue_.empty(); }
  [[nodiscard]] bool overfull() const { return bytes_ > kOutboxBytesMax; }
  // Stays where it is until pop().
  [[nodiscard]] const Envelope& front() const { return queue_.front(); }

  void push(Envelope envelope) {
    bytes_ += envelope.ByteSizeLong();
    queue_.push_back(std::move(envelope));
  }
  void pop() {
    bytes_ -= queue_.front().ByteSizeLong();
    queue_.pop_front();
  }
  // The first may be on its way.
  void drop_all_but(std::size_t first) {
    while (queue_.size() > first) {
      bytes_ -= queue_.back().ByteSizeLong();
      queue_.pop_back();
    }
  }

 private:
  std::deque<Envelope> queue_;
  std::size_t bytes_ = 0;
};

}  // namespace holdfast
