#include "core/jobs/recovery.h"

#include <algorithm>

namespace holdfast {
namespace {

// 0, 0, 1, 2, 4, ... 60 s. The first retry is immediate: most faults do not come back.
Duration back_off(std::uint32_t without_progress) {
  if (without_progress <= 2) return {};
  return std::min(seconds(60), seconds(1ll << std::min<std::uint32_t>(without_progress - 3, 6)));
}

}  // namespace

bool counts_against_job(const Verdict& verdict) {
  switch (verdict.cause) {
    case CauseClass::kApplication:
    case CauseClass::kOutOfMemory:
    case CauseClass::kUnknown:
    case CauseClass::kInterconnect:  // echoes without a cause: nobody's proven
      return true;
    case CauseClass::kThermal:
    case CauseClass::kAccelerator:
    case CauseClass::kHost:
    case CauseClass::kStorage:
    case CauseClass::kScheduling:
      return false;
  }
  return true;
}

RecoveryDecision decide_recovery(const JobSpec& spec, const Verdict& verdict,
                                 const RetryCount& count) {
  const std::uint32_t limit = spec.retry.attempts_without_progress_max;
  const std::string tries =
      count.without_progress == 1
          ? std::string("an attempt without new progress")
          : std::to_string(count.without_progress) + " attempts without new progress";

  if (verdict.cause == CauseClass::kOutOfMemory && count.out_of_memory >= 2)
    return {.reason = "out of memory again without new progress; " + verdict.summary};
  if (verdict.cause == CauseClass::kApplication && count.without_progress >= limit)
    return {.reason = tries + ", ended by the application: " + verdict.summary};
  // Without proof of whose fault it is the job gets twice the tries, half of them on other nodes.
  if (counts_against_job(verdict) && count.without_progress >= 2 * limit)
    return {.reason = tries + " and no proven cause; last seen: " + verdict.summary};

  RecoveryDecision decision{.start_again = true, .wait = back_off(count.without_progress)};
  const bool unproven = verdict.confidence != Confidence::kHigh && counts_against_job(verdict);
  if (count.same_suspect >= 2 || (unproven && count.without_progress >= limit)) {
    decision.other_nodes = true;
    decision.reason = count.same_suspect >= 2
                          ? "the evidence names the same node again; moving away from it"
                          : tries + "; moving away from the nodes that the evidence names";
  }
  return decision;
}

}  // namespace holdfast
