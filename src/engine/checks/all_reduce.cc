#include "engine/checks/all_reduce.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/prng.h"
#include "engine/checks/channel.h"

namespace holdfast {
namespace {

using Clock = std::chrono::steady_clock;
using Vector = std::vector<std::uint64_t>;

constexpr Duration kSilenceMax = seconds(5);
constexpr auto kAliveEvery = std::chrono::milliseconds(500);
constexpr std::size_t kWords = 1 << 18;  // 2 MiB
constexpr std::uint32_t kRoundsMax = 10'000;
constexpr std::uint64_t kMagic = 0x31304752494C4648;

enum class Kind : std::uint32_t { kHello = 1, kData, kAlive, kPlan, kBreakOff };

struct Header {
  std::uint64_t magic = kMagic;
  Kind kind = Kind::kHello;
  std::uint32_t check = 0;
  std::uint32_t step = 0;
  std::uint32_t node = 0;   // hello: who sends; break off: who is at fault
  std::uint32_t hop = 0;    // data: counted from the first one; plan: how many rounds are to come
  std::uint32_t bytes = 0;  // data: that follow
};

// What node `rank` contributes to the sum at a place.
std::uint64_t term(std::uint32_t rank, std::uint64_t index) {
  return Prng(kMagic, (std::uint64_t{rank} << 32) | index).next();
}

class Ring {
 public:
  explicit Ring(const RingSession& session)
      : session_(session),
        nodes_(static_cast<std::uint32_t>(session.ring.size())),
        deadline_(Clock::now() + std::chrono::nanoseconds(session.budget.ns)) {}

  RingReport run() {
    if (meet() && reduce_all()) {
      flush();  // the plan or an alive may wait still
      return report_;
    }
    if (right_.is_open()) break_off();
    return report_;
  }

 private:
  [[nodiscard]] const RingMember& self() const { return session_.ring[session_.position]; }
  [[nodiscard]] const RingMember& left() const {
    return session_.ring[(session_.position + nodes_ - 1) % nodes_];
  }
  [[nodiscard]] const RingMember& right() const {
    return session_.ring[(session_.position + 1) % nodes_];
  }
  [[nodiscard]] std::size_t begin_of(std::uint32_t chunk) const { return kWords * chunk / nodes_; }

  bool stop(std::string problem, std::optional<NodeId> culprit = std::nullopt,
            bool is_echo = false) {
    report_ = {.problem = std::move(problem), .culprit = culprit, .is_echo = is_echo};
    return false;
  }
  [[nodiscard]] Header header(Kind kind) const {
    return {.kind = kind,
            .check = session_.check.value,
            .step = session_.step,
            .node = self().node.value};
  }
  [[nodiscard]] Duration left_to_meet() const {
    const auto left = deadline_ - Clock::now();
    return {std::max<std::int64_t>(
        0, std::chrono::duration_cast<std::chrono::nanoseconds>(left).count() / 2)};
  }

  bool meet() {
    Result<Listener> listener = Listener::open(self().address, self().port);
    if (!listener.ok()) return stop(listener.error().detail);
    Result<Channel> to =
        Channel::connect(right().address, right().port, left_to_meet(), kSilenceMax);
    if (!to.ok()) return stop(to_string(right().node) + ": " + to.error().detail, {}, true);
    right_ = std::move(to).value();
    const Header hello = header(Kind::kHello);
    if (!right_.send(&hello, sizeof hello).ok())
      return stop(to_string(right().node) + " went away", {}, true);
    const auto meet_by = Clock::now() + std::chrono::nanoseconds(left_to_meet().ns);
    do {
      Result<Channel> from = listener->accept(left_to_meet(), kSilenceMax);
      if (!from.ok()) break;
      Header theirs;
      if (from->receive(&theirs, sizeof theirs).ok() && theirs.magic == kMagic &&
          theirs.kind == Kind::kHello && theirs.check == hello.check && theirs.step == hello.step &&
          theirs.node == left().node.value) {
        left_ = std::move(from).value();
        return true;
      }
    } while (Clock::now() < meet_by);
    return stop(to_string(left().node) + " did not connect", left().node);
  }

  // What is half sent is finished first, or the word would be read as a part of it.
  void break_off() {
    if (!flush()) return;
    Header word = header(Kind::kBreakOff);
    word.node = report_.culprit.value_or(NodeId{}).value;
    static_cast<void>(right_.send(&word, sizeof word));
  }
  bool flush() {
    const bool sent = right_.send(out_.data() + out_done_, out_.size() - out_done_).ok();
    out_done_ = out_.size();
    return sent;
  }

  bool reduce_all() {
    expected_.assign(kWords, 0);
    for (std::uint32_t rank = 0; rank < nodes_; ++rank)
      for (std::size_t i = 0; i < kWords; ++i) expected_[i] += term(rank, i);
    const auto began = Clock::now();
    if (!all_reduce(true) || !sums_right()) return false;
    std::uint32_t rounds = 0;
    if (!agree(Clock::now() - began, rounds)) return false;
    const auto timed = Clock::now();
    for (std::uint32_t round = 0; round < rounds; ++round)
      if (!all_reduce(false) || !sums_right()) return false;
    const double seconds = std::chrono::duration<double>(Clock::now() - timed).count();
    const double bytes = 2.0 * (nodes_ - 1) / nodes_ * kWords * 8 * rounds;
    report_.bandwidth = seconds > 0 ? bytes / seconds / 1e9 : 0;
    return true;
  }

  // The first node plans how many rounds fill the time, and its word goes once around.
  bool agree(Clock::duration of_one, std::uint32_t& rounds) {
    const auto load = std::chrono::nanoseconds(session_.load.ns);
    Header plan = header(Kind::kPlan);
    plan.hop = static_cast<std::uint32_t>(std::clamp<std::int64_t>(
        load / std::max<Clock::duration>(of_one, Clock::duration(1)), 1, kRoundsMax));
    const bool is_first = session_.position == 0;
    if (is_first) queue(plan, nullptr);
    if (!exchange(Kind::kPlan, nullptr, 0)) return false;
    rounds = is_first ? plan.hop : std::clamp(planned_, 1u, kRoundsMax);
    plan.hop = rounds;
    if (!is_first) queue(plan, nullptr);
    return true;
  }

  bool sums_right() {
    if (sum_ == expected_) return true;
    return stop("a sum is wrong on this node, although each part came right", self().node);
  }

  // `verify`: what comes is looked at after each hop.
  bool all_reduce(bool verify) {
    const std::uint32_t p = session_.position;
    sum_.resize(kWords);
    if (own_.empty())
      for (std::size_t i = 0; i < kWords; ++i) own_.push_back(term(p, i));
    sum_ = own_;
    Vector part;
    for (std::uint32_t hop = 0; hop < 2 * (nodes_ - 1); ++hop) {
      const bool gathers = hop >= nodes_ - 1;
      const std::uint32_t s = gathers ? hop - (nodes_ - 1) : hop;
      const std::uint32_t to_send = (p + 2 * nodes_ - s + (gathers ? 1 : 0)) % nodes_;
      const std::uint32_t to_come = (to_send + nodes_ - 1) % nodes_;
      send_chunk(to_send);
      const std::size_t begin = begin_of(to_come), size = begin_of(to_come + 1) - begin;
      part.resize(size);
      if (!exchange(Kind::kData, part.data(), size * 8)) return false;
      if (verify && !part_right(part, begin, to_come, gathers))
        return stop("its part of the sum is wrong", left().node);
      for (std::size_t i = 0; i < size; ++i)
        sum_[begin + i] = part[i] + (gathers ? 0 : sum_[begin + i]);
      ++hops_;
    }
    return true;
  }

  // A part that travels has the terms of the nodes it came by: from the one where it began on.
  [[nodiscard]] bool part_right(const Vector& part, std::size_t begin, std::uint32_t chunk,
                                bool is_whole) const {
    for (std::size_t i = 0; i < part.size(); ++i) {
      std::uint64_t wanted = is_whole ? expected_[begin + i] : 0;
      for (std::uint32_t rank = chunk; !is_whole && rank != session_.position;
           rank = (rank + 1) % nodes_)
        wanted += term(rank, begin + i);
      if (part[i] != wanted) return false;
    }
    return true;
  }

  void send_chunk(std::uint32_t chunk) {
    const std::size_t begin = begin_of(chunk), size = begin_of(chunk + 1) - begin;
    Header data = header(Kind::kData);
    data.hop = hops_;
    data.bytes = static_cast<std::uint32_t>(size * 8);
    queue(data, &sum_[begin]);
  }
  void queue(const Header& word, const std::uint64_t* body) {
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(out_done_));
    out_done_ = 0;
    const auto* bytes = reinterpret_cast<const char*>(&word);
    out_.insert(out_.end(), bytes, bytes + sizeof word);
    if (body == nullptr) return;
    bytes = reinterpret_cast<const char*>(body);
    out_.insert(out_.end(), bytes, bytes + word.bytes);
  }

  // Sends what is queued while a message of `kind` comes in, with `bytes` of body.
  bool exchange(Kind kind, void* body, std::size_t bytes) {
    Header word;
    std::size_t have = 0;  // of the header, then of the body
    bool in_body = false, is_in = false;
    auto heard = Clock::now(), said = heard;
    while (!is_in || out_done_ < out_.size()) {
      const auto now = Clock::now();
      if (now >= deadline_) return stop("was not done in time", {}, true);
      if (!is_in && now - heard > std::chrono::nanoseconds(kSilenceMax.ns))
        return stop("said nothing for " + std::to_string(kSilenceMax.ms() / 1000) + " s",
                    left().node);
      if (is_in && now - said > std::chrono::nanoseconds(2 * kSilenceMax.ns))
        return stop(to_string(right().node) + " takes nothing any more", {}, true);
      if (out_done_ == out_.size() && now - said > kAliveEvery) {
        queue(header(Kind::kAlive), nullptr);
        said = now;
      }
      pollfd fds[2] = {{left_.fd(), static_cast<short>(is_in ? 0 : POLLIN), 0},
                       {right_.fd(), static_cast<short>(out_done_ < out_.size() ? POLLOUT : 0), 0}};
      ::poll(fds, 2, 100);
      if (out_done_ < out_.size()) {
        const auto sent = right_.send_some(out_.data() + out_done_, out_.size() - out_done_);
        if (!sent.ok()) return stop(to_string(right().node) + " went away", {}, true);
        out_done_ += *sent;
        if (*sent > 0) said = Clock::now();
      }
      if (is_in) continue;
      char* to = in_body ? static_cast<char*>(body) : reinterpret_cast<char*>(&word);
      const std::size_t wanted = in_body ? bytes : sizeof word;
      const auto came = left_.receive_some(to + have, wanted - have);
      if (!came.ok()) return stop(came.error().detail, left().node);
      if (*came == 0) continue;
      heard = Clock::now();
      have += *came;
      if (have < wanted) continue;
      have = 0;
      if (in_body) {
        is_in = true;
      } else if (!take(word, kind, bytes, in_body, is_in)) {
        return false;
      }
    }
    return true;
  }

  // A header is there.
  bool take(const Header& word, Kind kind, std::size_t bytes, bool& in_body, bool& is_in) {
    if (word.magic != kMagic || word.check != session_.check.value)
      return stop("sent what is no message", left().node);
    if (word.kind == Kind::kAlive) return true;
    if (word.kind == Kind::kBreakOff)
      return stop("was broken off, because of " +
                      (word.node == 0 ? "trouble elsewhere" : to_string(NodeId{word.node})),
                  NodeId{word.node}, true);
    if (word.kind != kind || (kind == Kind::kData && (word.bytes != bytes || word.hop != hops_)))
      return stop("sent something else than its turn is", left().node);
    planned_ = word.hop;
    in_body = bytes > 0;
    is_in = bytes == 0;
    return true;
  }

  const RingSession& session_;
  const std::uint32_t nodes_;
  const Clock::time_point deadline_;
  Channel left_, right_;
  std::vector<char> out_;  // to the right; before out_done_ it is sent
  std::size_t out_done_ = 0;
  Vector own_, sum_, expected_;
  std::uint32_t hops_ = 0, planned_ = 0;
  RingReport report_;
};

}  // namespace

RingReport run_all_reduce(const RingSession& session) {
  if (session.ring.size() < 2 || session.position >= session.ring.size())
    return {.problem = "a ring has two nodes at least"};
  return Ring(session).run();
}

}  // namespace holdfast
