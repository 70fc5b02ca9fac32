// Whatever a training program writes into its page, or cuts off it, is a reading.

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "io/progress_page.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace holdfast;
  static const std::string path = "/tmp/holdfast-page-fuzz-" + std::to_string(::getpid());
  static const auto page = ProgressPage::create(path, 3);
  static const int writer = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  static const int unlinked = ::unlink(path.c_str());
  CHECK(page.ok() && writer >= 0 && unlinked == 0);
  CHECK(::ftruncate(writer, 0) == 0);
  CHECK(::pwrite(writer, bytes, size, 0) == static_cast<ssize_t>(size));
  const ProgressPage::Reading reading = page->read();
  CHECK(reading.progress.rank == 3 && reading.pid >= 0);
  CHECK(reading.progress.median_step_ns >= 0);
  CHECK(reading.progress.checkpoint_error.size() <= 3 * 516);
  return 0;
}
