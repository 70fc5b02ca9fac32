#include "sim/expectation.h"

#include <algorithm>

namespace holdfast::sim {
namespace {

std::string per_cent(std::uint32_t ppm) {
  const std::uint32_t hundredths = ppm / 100;
  const std::string cents = std::to_string(hundredths % 100);
  return std::to_string(hundredths / 100) + "." + (cents.size() < 2 ? "0" : "") + cents + " %";
}

std::string in_ms(Duration duration) {
  return std::to_string(duration.ms()) + " ms";
}

class Judge {
 public:
  explicit Judge(const Outcome& outcome) : outcome_(outcome) {}

  void expect(bool met, const std::string& what, const std::string& wanted,
              const std::string& found) {
    if (!met)
      unmet_.push_back(
          {"expect", what + ": expected " + wanted + ", found " + found, outcome_.end, {}});
  }
  template <class Number>
  void expect_count(const std::optional<Number>& wanted, Number found, const std::string& what) {
    if (wanted) expect(*wanted == found, what, std::to_string(*wanted), std::to_string(found));
  }
  [[nodiscard]] std::vector<Violation> take() && { return std::move(unmet_); }

 private:
  const Outcome& outcome_;
  std::vector<Violation> unmet_;
};

}  // namespace

std::vector<Violation> unmet_expectations(const Scenario& scenario, const Outcome& outcome) {
  const Expectation& e = scenario.expect;
  Judge judge(outcome);
  if (e.goodput_per_mille_min) {
    const std::uint32_t ppm = goodput_ppm(outcome.totals);
    judge.expect(ppm >= *e.goodput_per_mille_min * 1000, "goodput",
                 "at least " + per_cent(*e.goodput_per_mille_min * 1000), per_cent(ppm));
  }
  judge.expect_count(e.incidents, static_cast<std::uint32_t>(outcome.incidents.size()),
                     "incidents");
  judge.expect_count(e.incidents_unfinished,
                     static_cast<std::uint32_t>(std::ranges::count(
                         outcome.incidents, IncidentState::kOpen, &IncidentTrace::state)),
                     "incidents_unfinished");
  judge.expect_count(e.machines_replaced, outcome.machines_replaced, "machines_replaced");
  judge.expect_count(e.bad_replacements_used, outcome.bad_replacements_used,
                     "bad_replacements_used");
  if (e.breaker_opened)
    judge.expect(*e.breaker_opened == (outcome.breaker_opened > 0), "breaker_opened",
                 *e.breaker_opened ? "yes" : "no",
                 std::to_string(outcome.breaker_opened) + " times");
  if (e.job_state) {
    const bool any = !outcome.jobs.empty();
    judge.expect(
        any && outcome.jobs[0].state == *e.job_state, "job_state",
        std::string(word_of(*e.job_state)),
        any ? std::string(word_of(outcome.jobs[0].state)) + " (" + outcome.jobs[0].reason + ")"
            : "no job");
  }
  if (e.first_verdict) {
    const bool any = !outcome.incidents.empty();
    judge.expect(any && outcome.incidents[0].cause == *e.first_verdict, "first_verdict",
                 std::string(word_of(*e.first_verdict)),
                 any ? std::string(word_of(outcome.incidents[0].cause)) : "no incident");
  }
  if (e.decided_within) {
    const auto decided = outcome.decided();
    judge.expect(decided && *decided <= *e.decided_within, "decided_within",
                 in_ms(*e.decided_within), decided ? in_ms(*decided) : "no decision");
  }
  return std::move(judge).take();
}

}  // namespace holdfast::sim
