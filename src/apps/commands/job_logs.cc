#include "apps/commands/job_logs.h"

#include <cstdlib>

#include <fmt/format.h>

namespace holdfast {

Result<void> RankLog::read(ControlPlane& plane, bool lines, const Sink& sink) {
  while (true) {
    std::string target =
        fmt::format("/v1/jobs/{}/logs?rank={}&offset={}", encode_segment(job_), rank_, offset_);
    if (attempt_ != 0) target += fmt::format("&attempt={}", attempt_);
    HF_TRY(const nlohmann::json chunk, plane.get(target));
    if (attempt_ == 0) attempt_ = attempt_number(at(chunk, "attempt"));
    const std::int64_t next = whole_at(chunk, "next_offset");
    if (next <= offset_) return {};
    offset_ = next;
    partial_ += text_at(chunk, "bytes");
    const std::size_t cut = lines ? partial_.rfind('\n') + 1 : partial_.size();  // npos + 1 is 0
    if (cut > 0) sink(attempt_, partial_.substr(0, cut));
    partial_.erase(0, cut);
  }
}

Result<void> RankLog::advance(ControlPlane& plane, std::int64_t attempt, bool lines,
                              const Sink& sink) {
  while (attempt_ != 0 && attempt_ < attempt) {
    HF_TRY_VOID(read(plane, lines, sink));
    flush(sink);
    ++attempt_;
    offset_ = 0;
  }
  return {};
}

void RankLog::flush(const Sink& sink) {
  if (!partial_.empty()) sink(attempt_, partial_ + "\n");
  partial_.clear();
}

std::int64_t attempt_number(const nlohmann::json& attempt) {
  if (attempt.is_number()) return attempt.get<std::int64_t>();
  const std::string text = attempt.is_string() ? attempt.get<std::string>() : "";
  return text.starts_with('a') ? std::strtoll(text.c_str() + 1, nullptr, 10) : 0;
}

}  // namespace holdfast
