#include "core/diagnose/launcher_summary.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace holdfast {
namespace {

// The number behind the first `word` of the line; a sign stays with it.
std::optional<std::int64_t> number_behind(std::string_view line, std::string_view word) {
  const auto at = line.find(word);
  if (at == std::string_view::npos) return std::nullopt;
  line.remove_prefix(at + word.size());
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  std::int64_t value = 0;
  if (std::from_chars(line.data(), line.data() + line.size(), value).ec != std::errc())
    return std::nullopt;
  return value;
}

class SummaryReader {
 public:
  void line(std::string_view line) {
    if (line.find("Root Cause (first observed failure):") != std::string_view::npos)
      state_ = State::kRootCause;
    else if (line.find("The first process to do so was:") != std::string_view::npos)
      state_ = State::kFirstProcess;
    else if (state_ != State::kNone)
      block(line);
    else
      one_line(line);
  }

  [[nodiscard]] const std::optional<FirstFailure>& found() const { return found_; }

 private:
  enum class State { kNone, kRootCause, kFirstProcess, kHydra };

  void name(std::optional<std::int64_t> rank, std::optional<std::int64_t> signal = {}) {
    constexpr std::int64_t kRankMost = 1 << 20, kSignalMost = 64;
    if (found_ || !rank || *rank < 0 || *rank > kRankMost) return;
    found_ = FirstFailure{.rank = static_cast<std::uint32_t>(*rank)};
    if (signal && *signal > 0 && *signal <= kSignalMost)
      found_->signal = static_cast<std::int32_t>(*signal);
  }
  void ended_by(std::optional<std::int64_t> signal) {
    if (found_ && signal && *signal > 0 && *signal <= 64)
      found_->signal = static_cast<std::int32_t>(*signal);
  }

  // Of a summary of several lines.
  void block(std::string_view line) {
    if (state_ == State::kFirstProcess) {  // "  Process name: [[1234,1],3]"
      if (line.find("Process name: [[") == std::string_view::npos) return;
      name(number_behind(line, "],"));
      state_ = State::kNone;
    } else if (state_ == State::kHydra) {
      ended_by(number_behind(line, "KILLED BY SIGNAL: "));
      if (line.find("BY SIGNAL") != std::string_view::npos ||
          line.find("EXIT CODE") != std::string_view::npos)
        state_ = State::kNone;
    } else if (line.find("(local_rank: ") != std::string_view::npos) {
      name(number_behind(line, "rank      : "));
    } else if (const auto code = number_behind(line, "exitcode  : ")) {
      ended_by(-*code);
      state_ = State::kNone;
    }
  }

  void one_line(std::string_view line) {
    constexpr std::string_view kRanAt = " RUNNING AT ";
    if (line.find("MPI_ABORT was invoked on rank ") != std::string_view::npos) {
      name(number_behind(line, "MPI_ABORT was invoked on rank "));
    } else if (line.find("application called MPI_Abort(") != std::string_view::npos) {
      name(number_behind(line, "- process "));
    } else if (line.find(" noticed that process rank ") != std::string_view::npos) {
      name(number_behind(line, "process rank "), number_behind(line, "exited on signal "));
    } else if (line.find(kRanAt) != std::string_view::npos && line.starts_with("=")) {
      name(number_behind(line, " RANK "));
      state_ = State::kHydra;
    } else if (line.find("srun: error: ") != std::string_view::npos) {
      of_srun(line);
    }
  }

  // "srun: error: gpu-1: task 3: Exited with exit code 1", "...: Segmentation fault (core dumped)"
  void of_srun(std::string_view line) {
    constexpr std::array<std::pair<std::string_view, std::int32_t>, 5> kSignals{
        {{": Killed", 9},
         {": Segmentation fault", 11},
         {": Aborted", 6},
         {": Bus error", 7},
         {": Floating point exception", 8}}};
    std::optional<std::int64_t> signal;
    for (const auto& [word, number] : kSignals)
      if (line.find(word) != std::string_view::npos) signal = number;
    if (signal || line.find(": Exited with exit code ") != std::string_view::npos)
      name(number_behind(line, ": task "), signal);
  }

  State state_ = State::kNone;
  std::optional<FirstFailure> found_;
};

}  // namespace

std::optional<FirstFailure> read_launcher_summary(std::string_view log) {
  SummaryReader reader;
  while (!log.empty()) {
    const auto end = std::min(log.find('\n'), log.size());
    constexpr std::size_t kLineMax = 1024;
    reader.line(log.substr(0, std::min(end, kLineMax)));
    log.remove_prefix(std::min(end + 1, log.size()));
  }
  return reader.found();
}

}  // namespace holdfast
