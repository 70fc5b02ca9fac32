#pragma once

#include <optional>
#include <string>

#include "apps/terminal.h"
#include "sim/outcome.h"
#include "sim/run.h"
#include "sim/scenario.h"

namespace holdfast {

// What is done of something long, drawn in place on a terminal; nothing where nobody watches.
class Progress {
 public:
  Progress(std::string what, bool watched);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `share` of 0..1 is done; `more` is said beside the bar.
  void show(double share, const std::string& more);
  [[nodiscard]] Duration since() const;

 private:
  std::string what_;
  std::int64_t began_;
  Duration drawn_;
  Screen screen_;
  std::optional<LiveArea> area_;
};

// sim::run() with its time and a progress bar.
[[nodiscard]] sim::Outcome timed_run(const sim::Scenario& scenario, std::uint64_t seed,
                                     const std::string& what, bool watched,
                                     sim::RunOptions options = {});

}  // namespace holdfast
