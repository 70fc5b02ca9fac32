#include "apps/commands/timed_run.h"

#include <algorithm>

#include <fmt/format.h>

#include "apps/commands/sim_views.h"
#include "apps/sim_report.h"
#include "io/clock.h"
#include "sim/run.h"

namespace holdfast {

Progress::Progress(std::string what, bool watched)
    : what_(std::move(what)), began_(monotonic_ns()), screen_(standard_output()) {
  if (watched && screen_.is_terminal) area_.emplace(screen_);
}

Progress::~Progress() {
  if (area_ && drawn_ > Duration{}) area_->draw({});
}

void Progress::show(double share, const std::string& more) {
  const Duration now = since();
  if (!area_ || now - drawn_ < milliseconds(100)) return;
  drawn_ = now;
  std::string line = fmt::format("{}  {}  {}", what_, progress_bar(share, 30), more);
  if (share > 0.02)
    line += fmt::format(", about {} to go", duration_text(Duration{static_cast<std::int64_t>(
                                                static_cast<double>(now.ns) * (1 / share - 1))}));
  area_->draw({line});
}

Duration Progress::since() const {
  return {monotonic_ns() - began_};
}

sim::Outcome timed_run(const sim::Scenario& scenario, std::uint64_t seed, const std::string& what,
                       bool watched, sim::RunOptions options) {
  Progress progress(what, watched);
  options.on_progress = [&](Duration simulated) {
    const double speed = simulated.s() / std::max(progress.since().s(), 1e-3);
    progress.show(
        simulated.s() / scenario.duration.s(),
        fmt::format("{} simulated, {} x real time", duration_text(simulated), number_text(speed)));
  };
  const Duration cpu = process_cpu_time();
  sim::Outcome outcome = sim::run(scenario, seed, options);
  outcome.wall = progress.since();
  outcome.cpu = process_cpu_time() - cpu;
  return outcome;
}

}  // namespace holdfast
