#include "apps/commands/swarm.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace holdfast {

sim::SwarmResult swarm_on_threads(std::uint64_t first, std::uint64_t count, unsigned threads,
                                  const std::function<bool(const sim::Outcome&)>& on_seed) {
  // Outcomes are added in the order of their seeds, whichever is ready first.
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::uint64_t, sim::Outcome> ready;
  std::uint64_t next = first, added = first;
  const std::uint64_t end = first + count;
  bool enough = false;
  const std::uint64_t ahead = 16 * std::uint64_t{threads};  // a slow seed must not fill the memory

  const auto work = [&] {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return enough || next >= end || next < added + ahead; });
      if (enough || next >= end) return;
      const std::uint64_t seed = next++;
      lock.unlock();
      sim::Outcome outcome = sim::run_seed(seed);
      lock.lock();
      ready.emplace(seed, std::move(outcome));
      changed.notify_all();
    }
  };
  std::vector<std::jthread> workers;
  for (unsigned i = 0; i < std::max(threads, 1u); ++i) workers.emplace_back(work);

  sim::SwarmResult result;
  std::unique_lock lock(mutex);
  while (added < end && !enough) {
    changed.wait(lock, [&] { return ready.contains(added); });
    sim::Outcome outcome = std::move(ready.extract(added).mapped());
    ++added;
    changed.notify_all();
    lock.unlock();
    const bool goes_on = !on_seed || on_seed(outcome);
    result.add(std::move(outcome));
    lock.lock();
    if (!goes_on) enough = true;
  }
  enough = true;
  changed.notify_all();
  lock.unlock();
  workers.clear();  // before what they refer to
  return result;
}

}  // namespace holdfast
