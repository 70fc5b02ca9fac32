#include "engine/checks/link_measure.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/prng.h"
#include "engine/checks/channel.h"

namespace holdfast {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Duration kPatience = seconds(5);
constexpr std::uint64_t kMagic = 0x31304B4E494C4648;  // "HFLINK01"
constexpr std::size_t kPing = 64;
constexpr int kPings = 200;
constexpr std::size_t kBlock = 1 << 20;

struct Greeting {
  std::uint64_t magic = kMagic;
  std::uint32_t check = 0;
  std::uint32_t step = 0;
  std::uint32_t node = 0;  // of who sends it
  std::uint32_t unused = 0;
};

enum class Word : std::uint64_t { kBlock = 1, kEnd = 2 };

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

Duration left_until(Clock::time_point deadline) {
  return {std::max<std::int64_t>(
      0, std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - Clock::now()).count())};
}

const std::vector<std::uint64_t>& block() {
  static const std::vector<std::uint64_t> words = [] {
    Prng prng(kMagic);
    std::vector<std::uint64_t> made(kBlock / 8);
    for (std::uint64_t& word : made) word = prng.next();
    return made;
  }();
  return words;
}

Result<void> greet(Channel& channel, const LinkSession& session) {
  const Greeting mine{
      .check = session.check.value, .step = session.step, .node = session.self.value};
  HF_TRY_VOID(channel.send(&mine, sizeof mine));
  Greeting theirs;
  HF_TRY_VOID(channel.receive(&theirs, sizeof theirs));
  if (theirs.magic == kMagic && theirs.check == mine.check && theirs.step == mine.step &&
      theirs.node == session.peer.value)
    return {};
  return Error{Errc::kUnavailable, "somebody else is at the other end"};
}

// Blocks for so long, and the other side's word that all of them came whole. GB/s.
Result<double> push(Channel& channel, Duration load) {
  const auto began = Clock::now();
  std::uint64_t blocks = 0;
  const auto until = began + std::chrono::nanoseconds(load.ns);
  Word word = Word::kBlock;
  do {
    HF_TRY_VOID(channel.send(&word, sizeof word));
    HF_TRY_VOID(channel.send(block().data(), kBlock));
    ++blocks;
  } while (Clock::now() < until);
  word = Word::kEnd;
  HF_TRY_VOID(channel.send(&word, sizeof word));
  std::uint64_t whole = 0;
  HF_TRY_VOID(channel.receive(&whole, sizeof whole));
  if (whole != blocks)
    return Error{Errc::kDamaged, "of " + std::to_string(blocks) + " blocks " +
                                     std::to_string(blocks - std::min(whole, blocks)) +
                                     " arrived with wrong bytes"};
  return static_cast<double>(blocks * kBlock) / seconds_since(began) / 1e9;
}

// The other end of it: takes them, says how many came whole. GB/s, from the first byte to the last.
Result<double> pull(Channel& channel) {
  std::vector<std::uint64_t> words(kBlock / 8);
  std::uint64_t blocks = 0, whole = 0;
  const auto began = Clock::now();
  for (;;) {
    Word word = Word::kEnd;
    HF_TRY_VOID(channel.receive(&word, sizeof word));
    if (word == Word::kEnd) break;
    HF_TRY_VOID(channel.receive(words.data(), kBlock));
    ++blocks;
    if (std::memcmp(words.data(), block().data(), kBlock) == 0) ++whole;
  }
  const double rate = static_cast<double>(blocks * kBlock) / seconds_since(began) / 1e9;
  HF_TRY_VOID(channel.send(&whole, sizeof whole));
  if (whole == blocks) return rate;
  return Error{Errc::kDamaged, std::to_string(blocks - whole) + " of " + std::to_string(blocks) +
                                   " blocks came with wrong bytes"};
}

Result<void> serve(Channel& channel, const LinkSession& session) {
  HF_TRY_VOID(greet(channel, session));
  std::array<char, kPing> ping{};
  for (int i = 0; i < kPings; ++i) {
    HF_TRY_VOID(channel.receive(ping.data(), ping.size()));
    HF_TRY_VOID(channel.send(ping.data(), ping.size()));
  }
  if (const auto pulled = pull(channel); !pulled.ok()) return pulled.error();
  if (const auto pushed = push(channel, session.load / 2); !pushed.ok()) return pushed.error();
  char done = 0;
  return channel.receive(&done, 1);
}

Result<LinkReport> measure(Channel& channel, const LinkSession& session) {
  HF_TRY_VOID(greet(channel, session));
  LinkReport report;
  std::array<char, kPing> ping{};
  std::vector<double> times;
  for (int i = 0; i < kPings; ++i) {
    const auto began = Clock::now();
    HF_TRY_VOID(channel.send(ping.data(), ping.size()));
    HF_TRY_VOID(channel.receive(ping.data(), ping.size()));
    times.push_back(seconds_since(began) * 1e6 / 2);
  }
  std::nth_element(times.begin(), times.begin() + kPings / 2, times.end());
  report.latency_us = times[kPings / 2];
  HF_TRY(const double there, push(channel, session.load / 2));
  HF_TRY(const double back, pull(channel));
  const char done = 1;
  HF_TRY_VOID(channel.send(&done, 1));
  report.bandwidth = std::min(there, back);
  return report;
}

}  // namespace

Result<void> serve_link(const LinkSession& session) {
  const auto deadline = Clock::now() + std::chrono::nanoseconds(session.budget.ns);
  HF_TRY(Listener listener, Listener::open(session.address, session.port));
  Error last{Errc::kUnavailable, to_string(session.peer) + " did not connect"};
  while (Clock::now() < deadline) {
    Result<Channel> caller = listener.accept(left_until(deadline), kPatience);
    if (!caller.ok()) break;
    const Result<void> served = serve(caller.value(), session);
    if (served.ok()) return {};
    last = served.error();
    if (last.code == Errc::kDamaged) break;
  }
  return last;
}

Result<LinkReport> measure_link(const LinkSession& session) {
  const auto deadline = Clock::now() + std::chrono::nanoseconds(session.budget.ns);
  for (;;) {
    HF_TRY(Channel channel,
           Channel::connect(session.address, session.port, left_until(deadline), kPatience));
    Result<LinkReport> report = measure(channel, session);
    if (report.ok() || report.error().code == Errc::kDamaged || Clock::now() >= deadline)
      return report;
    channel = Channel();
    if (left_until(deadline) < kPatience) return report;
  }
}

}  // namespace holdfast
