#include "core/jobs/progress_monitor.h"

#include <algorithm>

namespace holdfast {
namespace {

constexpr Duration kRateWindow = seconds(2);

// A program's page and a job's file may say anything: what would overflow is a year.
Duration times(Duration duration, std::int64_t n) {
  constexpr Duration kYear = seconds(365 * 86'400);
  return n > 0 && duration > kYear / n ? kYear : duration * n;
}

Duration stall_after(const HangPolicy& policy, const RankProgress& progress) {
  const Duration median = nanoseconds(std::max<std::int64_t>(0, progress.median_step_ns));
  return std::max(policy.stall_min, times(median, policy.stall_factor));
}

// How long an attempt may take to its first step. Doubled with each attempt in vain, so that a
// start that has become slower, with more to restore, is let through.
std::optional<Duration> first_step_limit(const JobRecord& job, Duration start_took) {
  const HangPolicy& policy = job.spec.hang;
  if (policy.first_step_max != Duration{}) return policy.first_step_max;
  if (start_took == Duration{} && job.step_reached == 0) return std::nullopt;
  const Duration known = start_took == Duration{} ? policy.stall_min : start_took;
  const Duration limit = std::max(policy.stall_min, times(known, policy.stall_factor));
  return std::min(
      std::max(kFirstStepMost, policy.stall_min),
      times(limit, std::int64_t{1} << std::min<std::uint32_t>(job.attempts_without_progress, 10)));
}

void measure_rate(ProgressMonitor::RankSample& sample, const RankProgress& progress, Instant now) {
  if (progress.steps_this_attempt < sample.window_first_step || sample.window_start == Instant{}) {
    sample.window_start = now;
    sample.window_first_step = progress.steps_this_attempt;
    return;
  }
  if (now - sample.window_start < kRateWindow) return;
  sample.window = now - sample.window_start;
  sample.window_steps = progress.steps_this_attempt - sample.window_first_step;
  sample.window_start = now;
  sample.window_first_step = progress.steps_this_attempt;
}

}  // namespace

std::optional<event::Progressed> ProgressMonitor::seen(const JobRecord& job, NodeId node,
                                                       const RankProgress& progress, Instant now) {
  Watch& watch = watches_[job.id];
  if (watch.attempt != job.attempt.number) {
    Watch next{.attempt = job.attempt.number, .policy = job.spec.hang};
    next.began = now;
    next.start_took = watch.start_took;
    next.first_step_limit = first_step_limit(job, next.start_took);
    watch = std::move(next);
    if (watch.first_step_limit) watch.check_at = now + *watch.first_step_limit;
  }
  const bool first_sight = !watch.ranks.contains(progress.rank);
  RankSample& sample = watch.ranks[progress.rank];
  if (first_sight || progress.steps_this_attempt != sample.progress.steps_this_attempt)
    sample.changed_at = now;
  measure_rate(sample, progress, now);
  constexpr std::uint64_t kSettled = 20;  // steps
  const std::int64_t median = progress.median_step_ns;
  if (progress.steps_this_attempt >= kSettled && median > 0)
    sample.best_step_ns = sample.best_step_ns == 0 ? median : std::min(sample.best_step_ns, median);
  sample.progress = progress;

  bool news = false;
  if (progress.steps_this_attempt > 0 && !watch.made_step) {
    watch.made_step = news = true;
    watch.start_took = std::max(watch.start_took, now - watch.began);
    watch.check_at.reset();
    for (auto& [rank, other] : watch.ranks) other.changed_at = now;
  }
  if (watch.made_step && !watch.reported && !watch.check_at)
    watch.check_at = now + watch.policy.stall_min;
  if (progress.restored_step && !watch.restored) watch.restored = news = true;
  if (progress.committed_step &&
      (!watch.committed || *progress.committed_step > *watch.committed)) {
    watch.committed = progress.committed_step;
    news = true;
  }
  if (progress.checkpoint_failures > watch.failures) {
    watch.failures = progress.checkpoint_failures;
    news = true;
  }
  if (!news) return std::nullopt;
  return event::Progressed{job.id, watch.attempt, node, progress};
}

void ProgressMonitor::ended(JobId job, Attempt attempt, std::uint32_t rank) {
  const auto found = watches_.find(job);
  if (found != watches_.end() && found->second.attempt == attempt)
    found->second.ranks[rank].ended = true;
}

void ProgressMonitor::forget(JobId job) {
  watches_.erase(job);
}

void ProgressMonitor::start_afresh(Instant now) {
  for (auto& [job, watch] : watches_) watch.afresh_at = now;
}

std::vector<event::RanksStalled> ProgressMonitor::take_stalled(Instant now) {
  std::vector<event::RanksStalled> found;
  for (auto& [job, watch] : watches_) {
    if (!watch.check_at || now < *watch.check_at) continue;
    event::RanksStalled stalled{job, watch.attempt, {}, {}};
    std::optional<Instant> next;
    for (const auto& [rank, sample] : watch.ranks) {
      if (sample.ended) continue;
      const Duration limit = watch.made_step || !watch.first_step_limit
                                 ? stall_after(watch.policy, sample.progress)
                                 : *watch.first_step_limit;
      const Instant changed_at = std::max(sample.changed_at, watch.afresh_at);
      if (now - changed_at >= limit) {
        stalled.ranks.push_back(rank);
        stalled.for_at_least = std::max(stalled.for_at_least, limit);
      } else if (!next || changed_at + limit < *next) {
        next = changed_at + limit;
      }
    }
    watch.check_at = next;
    if (stalled.ranks.empty()) continue;
    watch.check_at.reset();
    watch.reported = true;
    found.push_back(std::move(stalled));
  }
  return found;
}

std::optional<Instant> ProgressMonitor::next_deadline() const {
  std::optional<Instant> next;
  for (const auto& [job, watch] : watches_)
    if (watch.check_at && (!next || *watch.check_at < *next)) next = watch.check_at;
  return next;
}

const std::map<std::uint32_t, ProgressMonitor::RankSample>& ProgressMonitor::samples(
    JobId job) const {
  static const std::map<std::uint32_t, RankSample> kNone;
  const auto found = watches_.find(job);
  return found == watches_.end() ? kNone : found->second.ranks;
}

}  // namespace holdfast
