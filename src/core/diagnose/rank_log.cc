#include "core/diagnose/rank_log.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "core/diagnose/verdict.h"

namespace holdfast {
namespace {

constexpr std::size_t kTailMax = 4096;
constexpr std::size_t kMessageMax = 2000;
constexpr std::size_t kTracebackMax = 16 << 10;

template <std::size_t N>
bool mentions(std::string_view text, const std::array<std::string_view, N>& words) {
  return std::ranges::any_of(
      words, [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// "[rank3]: ", "[default3]:", "[1,3]<stderr>:"
std::string_view without_prefix(std::string_view line) {
  constexpr std::size_t kPrefixMax = 24;
  if (!line.starts_with("[")) return line;
  const auto close = line.substr(0, kPrefixMax).find(']');
  if (close == std::string_view::npos || close < 2 || !is_digit(line[close - 1])) return line;
  const std::string_view inside = line.substr(1, close - 1);
  std::string_view rest = line.substr(close + 1);
  const bool launcher = inside.starts_with("rank") || inside.starts_with("default");
  const bool mpi = inside.find(',') != std::string_view::npos && rest.starts_with("<std");
  if (mpi) rest.remove_prefix(std::min(rest.find('>') + 1, rest.size()));
  if ((!launcher && !mpi) || !rest.starts_with(":")) return line;
  rest.remove_prefix(1);
  if (rest.starts_with(" ") && launcher && inside.starts_with("rank")) rest.remove_prefix(1);
  return rest;
}

// "torch.cuda.OutOfMemoryError: text" -> "OutOfMemoryError", "text". Empty type: no exception line.
struct ExceptionLine {
  std::string_view type, message;
};
ExceptionLine exception_in(std::string_view line) {
  const auto colon = line.find(": ");
  std::string_view type = line.substr(0, colon);
  while (type.ends_with(":") || type.ends_with("\r")) type.remove_suffix(1);
  constexpr std::size_t kTypeMax = 120;
  if (type.empty() || type.size() > kTypeMax || is_digit(type.front()) ||
      !std::ranges::all_of(type, [](char c) { return is_word(c) || c == '.'; }))
    return {};
  const auto dot = type.rfind('.');
  if (dot != std::string_view::npos) type.remove_prefix(dot + 1);
  return {type, colon == std::string_view::npos ? std::string_view{} : line.substr(colon + 2)};
}

struct Traceback {
  std::string type, message, text;
};

// Collects tracebacks from a log line by line: frames are indented, the exception's line is not.
class TracebackReader {
 public:
  void line(std::string_view line) {
    if (line == "Traceback (most recent call last):") {
      if (!chained_) chain_.clear();
      chain_.push_back({});
      inside_ = true;
      chained_ = in_message_ = false;
    } else if (line.starts_with("The above exception was the direct cause") ||
               line.starts_with("During handling of the above exception")) {
      chained_ = !chain_.empty();
      in_message_ = false;
      return;
    } else if (!inside_) {
      if (in_message_ && !line.empty() && chain_.back().message.size() < kMessageMax)
        chain_.back().message += "\n" + std::string(line.substr(0, kMessageMax));
      in_message_ = in_message_ && !line.empty();
      return;
    }
    Traceback& now = chain_.back();
    if (now.text.size() < kTracebackMax) now.text += std::string(line) + "\n";
    if (line.empty() || line.front() == ' ' || line.starts_with("Traceback (")) return;
    const ExceptionLine found = exception_in(line);
    inside_ = false;
    if (found.type.empty()) {
      chain_.pop_back();
      return;
    }
    now.type = found.type;
    now.message = found.message.substr(0, kMessageMax);
    in_message_ = true;
  }

  // The first of the last chain that is not an echo, else its first.
  [[nodiscard]] const Traceback* result() const {
    const Traceback* best = nullptr;
    for (const Traceback& one : chain_) {
      if (one.type.empty()) continue;
      if (best == nullptr) best = &one;
      if (!says_peer_gone(one.message)) return &one;
    }
    return best;
  }

 private:
  std::vector<Traceback> chain_;
  bool inside_ = false, chained_ = false, in_message_ = false;
};

// "812.5", "8.125e+02": times 1000, at most 10^15.
std::int64_t thousandths(std::string_view text) {
  constexpr std::int64_t kMost = 1'000'000'000'000'000;
  std::int64_t value = 0;
  int exponent = 3;
  bool fraction = false;
  while (!text.empty() && (is_digit(text.front()) || (text.front() == '.' && !fraction))) {
    if (text.front() == '.') {
      fraction = true;
    } else if (value < kMost / 10) {
      value = value * 10 + (text.front() - '0');
      exponent -= fraction ? 1 : 0;
    } else {
      exponent += fraction ? 0 : 1;
    }
    text.remove_prefix(1);
  }
  if (text.starts_with("e") || text.starts_with("E")) {
    text.remove_prefix(1);
    if (text.starts_with("+")) text.remove_prefix(1);
    std::int32_t power = 0;
    std::from_chars(text.data(), text.data() + text.size(), power);
    exponent += std::clamp(power, -40, 40);
  }
  for (; exponent > 0 && value < kMost; --exponent) value *= 10;
  for (; exponent < 0 && value > 0; ++exponent) value /= 10;
  return std::min(value, kMost);
}

enum class LossKind { kNone, kNumber, kBad };
struct Loss {
  LossKind kind = LossKind::kNone;
  std::int64_t thousandths = 0;  // of a number: the line's last
};

// "loss": nan, "loss=nan", "train_loss nan", "Loss: -inf"
Loss loss_in(std::string_view line) {
  Loss found;
  constexpr std::size_t kBetween = 16;
  for (std::size_t at = 0; at + 4 <= line.size(); ++at) {
    if (lower(line[at]) != 'l' || lower(line[at + 1]) != 'o' || lower(line[at + 2]) != 's' ||
        lower(line[at + 3]) != 's')
      continue;
    std::string_view rest = line.substr(at + 4);
    std::size_t i = 0;
    // Only what stands between a name and its value: "loss (avg): tensor(nan"
    while (i < rest.size() && i < kBetween && !is_word(rest[i])) ++i;
    if (rest.substr(i).starts_with("tensor(")) i += 7;
    std::string value;
    const std::string_view number = rest.substr(i);
    constexpr std::size_t kValueMax = 9;  // longer than any word that is looked for
    for (; i < rest.size() && is_word(rest[i]) && value.size() < kValueMax; ++i)
      value += lower(rest[i]);
    if (value == "nan" || value == "inf" || value == "infinity") return {LossKind::kBad};
    if (!value.empty() && is_digit(value.front())) {
      found.kind = LossKind::kNumber;
      found.thousandths = thousandths(number);
    }
  }
  return found;
}

// Watches a loss for a jump from which it does not come back.
class SpikeWatch {
 public:
  void loss(std::int64_t value, std::string_view line) {
    constexpr std::size_t kLeast = 8, kMost = 64;
    constexpr std::int64_t kFactor = 10;
    if (before_.size() >= kLeast && median() > 0 && value / kFactor > median()) {
      if (line_.empty()) line_ = line.substr(0, kMessageMax);
      return;
    }
    line_.clear();
    if (before_.size() < kMost) before_.push_back(0);
    before_[next_++ % kMost] = value;
  }
  [[nodiscard]] const std::string& line() const { return line_; }

 private:
  [[nodiscard]] std::int64_t median() const {
    std::vector<std::int64_t> sorted = before_;
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
    std::ranges::nth_element(sorted, middle);
    return *middle;
  }

  std::vector<std::int64_t> before_;  // the last ones, as a ring
  std::size_t next_ = 0;
  std::string line_;
};

// The number behind `word` and what separates them: "step 12", "step=12", "'step': 12".
std::optional<std::uint64_t> number_after(std::string_view line, std::string_view word) {
  const auto at = line.find(word);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = line.substr(at + word.size());
  constexpr std::size_t kBetween = 4;
  std::size_t skip = 0;
  while (skip < rest.size() && skip < kBetween && !is_word(rest[skip])) ++skip;
  rest.remove_prefix(skip);
  std::uint64_t value = 0;
  if (std::from_chars(rest.data(), rest.data() + rest.size(), value).ec != std::errc())
    return std::nullopt;
  return value;
}

void read_watchdog(std::string_view line, RankLog& log) {
  constexpr auto kGaveUp = std::to_array<std::string_view>(
      {"Watchdog caught collective operation timeout", "detected by watchdog at work",
       "Timeout at NCCL work", "before timing out"});
  if (!mentions(line, kGaveUp)) return;
  log.timed_out = true;
  for (const std::string_view word :
       {"last enqueued NCCL work", "last enqueued work", "WorkNCCL(SeqNum"})
    if (!log.last_enqueued) log.last_enqueued = number_after(line, word);
}

// What a C++ program prints before it aborts (libstdc++, vterminate.cc).
void read_terminate(std::string_view line, RankLog& log) {
  constexpr std::string_view kThrown = "terminate called after throwing an instance of '";
  if (line.starts_with(kThrown)) {
    line.remove_prefix(kThrown.size());
    log.error_type = line.substr(0, line.find('\''));
    if (const auto colon = log.error_type.rfind("::"); colon != std::string::npos)
      log.error_type.erase(0, colon + 2);
  } else if (line.starts_with("  what():  ")) {
    log.error_message = line.substr(11, kMessageMax);
  }
}

}  // namespace

RankLog read_rank_log(std::string_view text) {
  RankLog log;
  log.first_failure = read_launcher_summary(text);
  log.tail = text.substr(text.size() - std::min(text.size(), kTailMax));
  TracebackReader tracebacks;
  SpikeWatch spikes;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    line = without_prefix(line);
    tracebacks.line(line);
    read_watchdog(line, log);
    read_terminate(line, log);
    const Loss loss = loss_in(line);
    log.writes_loss = log.writes_loss || loss.kind != LossKind::kNone;
    if (loss.kind == LossKind::kNumber) spikes.loss(loss.thousandths, line);
    if (!log.nan_line.empty() || loss.kind != LossKind::kBad) continue;
    log.nan_line = line.substr(0, kMessageMax);
    for (const std::string_view word : {"step", "iter", "iteration", "Step", "Iter"})
      if (!log.nan_step) log.nan_step = number_after(line, word);
  }
  log.spike_line = spikes.line();
  if (const Traceback* error = tracebacks.result()) {
    log.error_type = error->type;
    log.error_message = error->message;
    log.traceback = error->text;
  }
  return log;
}

DeviceTrouble device_trouble(std::string_view message) {
  constexpr auto kHardware = std::to_array<std::string_view>(
      {"uncorrectable ECC error encountered", "uncorrectable NVLink error detected", "GPU is lost",
       "hardware stack error",
       "Invalid access of peer GPU memory over nvlink or a "
       "hardware error",
       "has fallen off the bus", "GPU requires reset"});
  constexpr auto kUnavailable = std::to_array<std::string_view>(
      {"no CUDA-capable device is detected", "CUDA-capable device(s) is/are busy or unavailable",
       "system not yet initialized", "CUDA driver initialization failed",
       "No CUDA GPUs are available", "CUDA error: initialization error"});
  constexpr auto kProgram = std::to_array<std::string_view>(
      {"an illegal memory access was encountered", "device-side assert triggered",
       "unspecified launch failure", "misaligned address", "an illegal instruction was encountered",
       "CUDA error: ", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cuDNN error"});
  if (mentions(message, kHardware)) return DeviceTrouble::kHardware;
  if (mentions(message, kUnavailable)) return DeviceTrouble::kUnavailable;
  return mentions(message, kProgram) ? DeviceTrouble::kProgram : DeviceTrouble::kNone;
}

bool says_out_of_memory(std::string_view message) {
  constexpr auto kWords = std::to_array<std::string_view>(
      {"CUDA out of memory", "CUDA error: out of memory", "can't allocate memory",
       "not enough memory: you tried to allocate", "Cannot allocate memory", "std::bad_alloc",
       "CUBLAS_STATUS_ALLOC_FAILED", "HIP out of memory", "OOM when allocating tensor",
       "RESOURCE_EXHAUSTED: Out of memory", "RESOURCE_EXHAUSTED: Attempting to allocate",
       "RESOURCE_EXHAUSTED: Failed to allocate", "Cuda failure 'out of memory'",
       "Cuda failure 2 'out of memory'", "Failed to CUDA calloc", "Failed to CUDA malloc"});
  return mentions(message, kWords);
}

bool says_storage_failed(std::string_view message) {
  constexpr auto kWords = std::to_array<std::string_view>(
      {"No space left on device", "Disk quota exceeded", "Read-only file system",
       "Input/output error", "Stale file handle", "Transport endpoint is not connected"});
  return mentions(message, kWords);
}

bool says_peer_gone(std::string_view message) {
  return is_echo({.code = 1, .error_type = "Error", .error_message = std::string(message)});
}

std::string as_fault_dump(std::string_view text) {
  constexpr std::string_view kThread = "Thread ";
  if (text.find("\", line ") != std::string_view::npos ||
      text.find("Thread ") == std::string_view::npos)
    return std::string(text);
  std::string dump;
  bool main_thread = false, any = false;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with(kThread)) {
      // The first thread stands in where none is called the main one.
      main_thread = line.find("MainThread") != std::string_view::npos;
      if (!any || main_thread) dump = "Current thread 0x0 (most recent call first):\n";
      main_thread = main_thread || !any;
      any = true;
    } else if (main_thread && line.starts_with("    ")) {
      // "    all_reduce (torch/distributed/distributed_c10d.py:1448)"
      const auto open = line.rfind(" ("), colon = line.rfind(':'), close = line.rfind(')');
      if (open == std::string_view::npos || colon == std::string_view::npos || colon < open ||
          close == std::string_view::npos || close < colon)
        continue;
      std::string_view file = line.substr(open + 2, colon - open - 2);
      dump += "  File \"" + std::string(file.starts_with('/') ? "" : "/") + std::string(file) +
              "\", line " + std::string(line.substr(colon + 1, close - colon - 1)) + " in " +
              std::string(line.substr(4, open - 4)) + "\n";
    }
  }
  return dump;
}

}  // namespace holdfast
