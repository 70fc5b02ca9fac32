#include "io/progress_page.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "io/files.h"
#include "io/utf8.h"

namespace holdfast {

namespace {

static_assert(std::endian::native == std::endian::little, "the page is little-endian");

using Page = std::array<char, 4096>;

constexpr std::string_view kMagic = "HFPROG01";
constexpr std::size_t kTextLength = 504, kText = 508, kTextEnd = 1024;
constexpr std::uint64_t kUserSteps = 1, kEnded = 2;

template <class T>
T field(const Page& page, std::size_t offset) {
  T value;
  std::memcpy(&value, page.data() + offset, sizeof value);
  return value;
}

// The page stores value + 1, and 0 for none.
std::optional<std::uint64_t> optional_step(const Page& page, std::size_t offset) {
  const auto raw = field<std::uint64_t>(page, offset);
  return raw == 0 ? std::nullopt : std::optional(raw - 1);
}

}  // namespace

Result<ProgressPage> ProgressPage::create(const std::string& path, std::uint32_t rank) {
  // A writer of a former attempt keeps its own file.
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return os_error("cannot replace", path, errno);
  HF_TRY(UniqueFd fd, open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  HF_TRY_VOID(write_all(fd, path, std::string(Page().size(), '\0')));
  return ProgressPage(std::move(fd), rank);
}

ProgressPage::Reading ProgressPage::read() const {
  Page page{};  // zeros where the file does not reach
  [[maybe_unused]] const ssize_t ignored = ::pread(fd_.get(), page.data(), page.size(), 0);
  Reading reading;
  reading.progress.rank = rank_;
  if (std::string_view(page.data(), kMagic.size()) != kMagic) return reading;
  reading.claimed = true;
  RankProgress& progress = reading.progress;
  progress.step = field<std::uint64_t>(page, 8);
  progress.steps_this_attempt = field<std::uint64_t>(page, 16);
  reading.last_step_ns = field<std::int64_t>(page, 24);
  progress.loss = field<double>(page, 32);
  progress.tokens = field<std::uint64_t>(page, 40);
  progress.restored_step = optional_step(page, 48);
  reading.restored_ns = field<std::int64_t>(page, 56);
  progress.committed_step = optional_step(page, 64);
  reading.committed_ns = field<std::int64_t>(page, 72);
  progress.checkpoint_failures = field<std::uint64_t>(page, 80);
  reading.checkpoint_errno = field<std::int64_t>(page, 88);
  progress.median_step_ns = std::max<std::int64_t>(0, field<std::int64_t>(page, 96));
  reading.first_step_ns = field<std::int64_t>(page, 104);
  const auto pid = field<std::uint64_t>(page, 112);
  reading.pid = pid <= INT32_MAX ? static_cast<std::int32_t>(pid) : 0;
  reading.checkpoint_stall_ns = field<std::int64_t>(page, 120);
  const auto flags = field<std::uint64_t>(page, 128);
  reading.user_steps = (flags & kUserSteps) != 0;
  reading.ended_cleanly = (flags & kEnded) != 0;
  reading.checkpoint_free_bytes = field<std::uint64_t>(page, 136);
  const std::size_t length =
      std::min<std::size_t>(field<std::uint32_t>(page, kTextLength), kTextEnd - kText);
  progress.checkpoint_error = valid_utf8({page.data() + kText, length});
  return reading;
}

}  // namespace holdfast
