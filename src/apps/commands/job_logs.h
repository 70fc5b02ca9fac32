#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "apps/commands/control_plane.h"
#include "base/result.h"

namespace holdfast {

// One rank's output, chunk by chunk, from one attempt on through the later ones.
class RankLog {
 public:
  // `attempt` 0: the current one. `job` is a name or an id.
  RankLog(std::string job, std::uint32_t rank, std::int64_t attempt)
      : job_(std::move(job)), rank_(rank), attempt_(attempt) {}

  // Hands on all that there is now; whole lines when `lines` (the rest comes with the next ones, or
  // when its attempt is over). Each is (attempt, text).
  using Sink = std::function<void(std::int64_t attempt, const std::string& text)>;
  Result<void> read(ControlPlane& plane, bool lines, const Sink& sink);
  // The job has gone on to `attempt`: read what is left of the present one, then go there.
  Result<void> advance(ControlPlane& plane, std::int64_t attempt, bool lines, const Sink& sink);
  // Hands on a last line that has no end.
  void flush(const Sink& sink);

  [[nodiscard]] std::int64_t attempt() const { return attempt_; }
  [[nodiscard]] std::uint32_t rank() const { return rank_; }

 private:
  std::string job_;
  std::uint32_t rank_;
  std::int64_t attempt_;
  std::int64_t offset_ = 0;
  std::string partial_;
};

// "a2" or 2 -> 2; 0 for none.
[[nodiscard]] std::int64_t attempt_number(const nlohmann::json& attempt);

}  // namespace holdfast
