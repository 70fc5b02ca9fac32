#include "engine/checks/host_load.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/os_error.h"
#include "base/prng.h"

namespace holdfast {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kBlockSeed = 20251125;
constexpr int kBlockDraws = 1 << 16;
constexpr std::uint64_t kBlockDigest = 0xD8C2D3158F57A8A9ull;  // of the draws, computed elsewhere
constexpr int kSquares = 1 << 16;
constexpr unsigned kMatrix = 256;
constexpr int kVectors = 20;

// The compiler may not know what is in this memory.
void forget(void* memory) {
  asm volatile("" : : "r"(memory) : "memory");
}

// Runs work(thread, until) on all threads.
void on_threads(unsigned threads, Duration load,
                const std::function<void(unsigned, Clock::time_point)>& work) {
  const auto until = Clock::now() + std::chrono::nanoseconds(load.ns);
  std::vector<std::jthread> running;
  for (unsigned thread = 0; thread < std::max(1u, threads); ++thread)
    running.emplace_back([&work, thread, until] { work(thread, until); });
}

// The first finding of all threads.
class Finding {
 public:
  void found(const std::string& what) {
    const std::lock_guard lock(mutex_);
    if (text_.empty()) text_ = what;
  }
  std::string take() { return std::move(text_); }

 private:
  std::mutex mutex_;
  std::string text_;
};

bool integers_right() {
  Prng prng(kBlockSeed);
  forget(&prng);
  std::uint64_t digest = 0;
  for (int i = 0; i < kBlockDraws; ++i) digest ^= prng.next();
  return digest == kBlockDigest;
}

// 1 + 4 + 9 + ... n^2 = n (n + 1) (2n + 1) / 6, every sum below 2^53 and so exact.
bool doubles_right() {
  double n = kSquares;
  forget(&n);
  double sum = 0;
  for (double i = 1; i <= n; i += 1) sum += i * i;
  return sum == n * (n + 1) * (2 * n + 1) / 6;
}

std::uint64_t pattern_word(int pattern, std::uint64_t index, std::uint64_t seed) {
  switch (pattern) {
    case 0:
      return 0x5555555555555555ull;
    case 1:
      return 0xAAAAAAAAAAAAAAAAull;
    case 2:
      return index * 8;
    default:
      return Prng(seed, index).next();
  }
}

// Words [from, to) of the pattern; false: `at` is the first that is not what was written.
bool pattern_holds(std::uint64_t* words, std::uint64_t from, std::uint64_t to, int pattern,
                   std::uint64_t& at) {
  for (std::uint64_t i = from; i < to; ++i) words[i] = pattern_word(pattern, i, kBlockSeed);
  forget(words);
  for (std::uint64_t i = from; i < to; ++i)
    if (words[i] != pattern_word(pattern, i, kBlockSeed)) {
      at = i;
      return false;
    }
  return true;
}

}  // namespace

LoadReport load_cpu(unsigned threads, Duration load) {
  std::atomic<std::uint64_t> blocks = 0;
  Finding finding;
  const auto began = Clock::now();
  on_threads(threads, load, [&](unsigned thread, Clock::time_point until) {
    do {
      if (!integers_right())
        finding.found("an integer result of thread " + std::to_string(thread) + " is wrong");
      if (!doubles_right())
        finding.found("a floating-point result of thread " + std::to_string(thread) + " is wrong");
      ++blocks;
    } while (Clock::now() < until);
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  return {finding.take(), static_cast<double>(blocks) / seconds};
}

Result<MemoryReport> load_memory(unsigned threads, std::uint64_t bytes, Duration load) {
  threads = std::max(1u, threads);
  bytes -= bytes % (std::uint64_t{threads} << 13);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return os_error("cannot get", std::to_string(bytes >> 20) + " MiB of memory", errno);
  auto* words = static_cast<std::uint64_t*>(memory);
  const std::uint64_t each = bytes / 8 / threads;
  std::atomic<std::uint64_t> tested = 0, copied = 0;
  Finding finding;
  // Three quarters of the time for the patterns, a block at a time so that it can end.
  on_threads(threads, load * 3 / 4, [&](unsigned thread, Clock::time_point until) {
    constexpr std::uint64_t kBlock = 1 << 17;
    const std::uint64_t begin = each * thread, end = begin + each;
    for (std::uint64_t from = begin; from < end; from += kBlock) {
      const std::uint64_t to = std::min(from + kBlock, end);
      for (int pattern = 0; pattern < 4; ++pattern) {
        std::uint64_t at = 0;
        if (!pattern_holds(words, from, to, pattern, at))
          finding.found("word " + std::to_string(at) + " of the test does not hold pattern " +
                        std::to_string(pattern));
      }
      tested += (to - from) * 8;
      if (Clock::now() >= until) return;
    }
  });
  const auto began = Clock::now();
  on_threads(threads, load / 4, [&](unsigned thread, Clock::time_point until) {
    std::uint64_t* mine = words + each * thread;
    const std::uint64_t half = std::min<std::uint64_t>(each / 2, 1 << 22);
    do {
      std::memcpy(mine, mine + half, half * 8);
      forget(mine);
      copied += half * 16;
    } while (Clock::now() < until);
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  ::munmap(memory, bytes);
  MemoryReport report;
  report.wrong = finding.take();
  report.rate = static_cast<double>(copied) / seconds / 1e9;
  report.bytes_tested = tested;
  return report;
}

bool verify_product(const double* a, const double* b, const double* c, unsigned n,
                    std::uint64_t seed) {
  // A flip of a low bit would be lost in the sums: it shows as what is no integer.
  for (unsigned i = 0; i < n * n; ++i)
    if (c[i] != std::trunc(c[i]) || std::abs(c[i]) > 64.0 * n) return false;
  Prng prng(seed);
  std::vector<double> x(n), bx(n);
  for (int round = 0; round < kVectors; ++round) {
    for (double& entry : x) entry = static_cast<double>(prng.below(2));
    for (unsigned i = 0; i < n; ++i) {
      double sum = 0;
      for (unsigned j = 0; j < n; ++j) sum += b[i * n + j] * x[j];
      bx[i] = sum;
    }
    for (unsigned i = 0; i < n; ++i) {
      double left = 0, right = 0;
      for (unsigned j = 0; j < n; ++j) {
        left += c[i * n + j] * x[j];
        right += a[i * n + j] * bx[j];
      }
      if (left != right) return false;
    }
  }
  return true;
}

LoadReport load_gemm(unsigned threads, Duration load) {
  constexpr unsigned n = kMatrix;
  std::atomic<std::uint64_t> products = 0;
  Finding finding;
  const auto began = Clock::now();
  on_threads(threads, load, [&](unsigned thread, Clock::time_point until) {
    std::vector<double> a(n * n), b(n * n), c(n * n);
    Prng prng(kBlockSeed, thread);
    for (double& entry : a) entry = static_cast<double>(prng.below(17)) - 8;
    for (double& entry : b) entry = static_cast<double>(prng.below(17)) - 8;
    do {
      forget(a.data());
      std::fill(c.begin(), c.end(), 0.0);
      for (unsigned i = 0; i < n; ++i)
        for (unsigned k = 0; k < n; ++k) {
          const double factor = a[i * n + k];
          for (unsigned j = 0; j < n; ++j) c[i * n + j] += factor * b[k * n + j];
        }
      forget(c.data());
      if (!verify_product(a.data(), b.data(), c.data(), n, prng.next()))
        finding.found("a product of matrices on thread " + std::to_string(thread) + " is wrong");
      ++products;
    } while (Clock::now() < until);
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  return {finding.take(), static_cast<double>(products) * 2 * n * n * n / seconds / 1e9};
}

}  // namespace holdfast
