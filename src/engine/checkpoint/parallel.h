#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "base/result.h"

namespace holdfast::engine {

// Calls task(i, thread) for each i < count on up to `threads` threads, numbered from 0; the
// caller's is one of them. The first error ends it: tasks that have not begun are left out.
template <class Task>
Result<void> for_each_parallel(std::size_t count, unsigned threads, const Task& task) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::optional<Error> failure;
  const auto work = [&](unsigned thread) {
    for (std::size_t i = next++; i < count; i = next++) {
      Result<void> done = task(i, thread);
      if (done.ok()) continue;
      next = count;
      const std::lock_guard lock(mutex);
      if (!failure) failure = done.error();
    }
  };
  std::vector<std::thread> others;
  const std::size_t wanted = std::min<std::size_t>(std::max(threads, 1u), count);
  try {
    for (unsigned i = 1; i < wanted; ++i) others.emplace_back(work, i);
  } catch (const std::system_error&) {
    // As many as the machine gives us.
  }
  work(0);
  for (std::thread& other : others) other.join();
  if (failure) return *failure;
  return {};
}

}  // namespace holdfast::engine
