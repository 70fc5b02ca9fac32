#include "io/progress_page.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <optional>

#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

class ProgressPages : public ScratchFolder {
 protected:
  void SetUp() override {
    page_.emplace(std::move(ProgressPage::create(path("page"), 3).value()));
    fd_ = std::move(open_file(path("page"), O_RDWR).value());
  }
  template <class T>
  void put(off_t offset, T value) {
    ASSERT_EQ(::pwrite(fd_.get(), &value, sizeof value, offset), ssize_t{sizeof value});
  }
  void put_text(off_t offset, const std::string& text) {
    ASSERT_EQ(::pwrite(fd_.get(), text.data(), text.size(), offset),
              static_cast<ssize_t>(text.size()));
  }
  ProgressPage::Reading read() { return page_->read(); }

  std::optional<ProgressPage> page_;
  UniqueFd fd_;
};

TEST_F(ProgressPages, ANewOneIsZeroAndUnclaimed) {
  EXPECT_EQ(*read_file(path("page"), 4096), std::string(4096, '\0'));
  put<std::uint64_t>(8, 77);
  EXPECT_FALSE(read().claimed);
  EXPECT_EQ(read().progress.step, 0u);
  EXPECT_EQ(read().progress.rank, 3u);
}

TEST_F(ProgressPages, ReadsEveryField) {
  put_text(0, "HFPROG01");
  for (std::uint64_t i = 1; i <= 17; ++i) put<std::uint64_t>(static_cast<off_t>(i * 8), 1000 + i);
  put<double>(32, 2.5);
  put<std::uint64_t>(128, 2);
  put<std::uint32_t>(504, 5);
  put_text(508, "caf\xC3\xA9");
  const ProgressPage::Reading reading = read();
  EXPECT_TRUE(reading.claimed);
  EXPECT_EQ(reading.progress.step, 1001u);
  EXPECT_EQ(reading.progress.steps_this_attempt, 1002u);
  EXPECT_EQ(reading.last_step_ns, 1003);
  EXPECT_EQ(reading.progress.loss, 2.5);
  EXPECT_EQ(reading.progress.tokens, 1005u);
  EXPECT_EQ(reading.progress.restored_step, 1005u);
  EXPECT_EQ(reading.restored_ns, 1007);
  EXPECT_EQ(reading.progress.committed_step, 1007u);
  EXPECT_EQ(reading.committed_ns, 1009);
  EXPECT_EQ(reading.progress.checkpoint_failures, 1010u);
  EXPECT_EQ(reading.checkpoint_errno, 1011);
  EXPECT_EQ(reading.progress.median_step_ns, 1012);
  EXPECT_EQ(reading.first_step_ns, 1013);
  EXPECT_EQ(reading.pid, 1014);
  EXPECT_EQ(reading.checkpoint_stall_ns, 1015);
  EXPECT_FALSE(reading.user_steps);
  EXPECT_TRUE(reading.ended_cleanly);
  EXPECT_EQ(reading.checkpoint_free_bytes, 1017u);
  EXPECT_EQ(reading.progress.checkpoint_error, "caf\xC3\xA9");
}

TEST_F(ProgressPages, StepZeroIsNotNone) {
  put_text(0, "HFPROG01");
  EXPECT_EQ(read().progress.restored_step, std::nullopt);
  put<std::uint64_t>(48, 1);
  put<std::uint64_t>(64, 1);
  EXPECT_EQ(read().progress.restored_step, 0u);
  EXPECT_EQ(read().progress.committed_step, 0u);
}

TEST_F(ProgressPages, SurvivesGarbage) {
  put_text(0, "HFPROG01" + std::string(4088, '\xFF'));
  const ProgressPage::Reading reading = read();
  EXPECT_TRUE(std::isnan(reading.progress.loss));
  EXPECT_EQ(reading.pid, 0);
  EXPECT_EQ(reading.progress.median_step_ns, 0);
  EXPECT_EQ(reading.progress.checkpoint_error.size(), 516u * 3);  // each byte became U+FFFD
}

TEST_F(ProgressPages, TextIsMadeValid) {
  put_text(0, "HFPROG01");
  put<std::uint32_t>(504, 2);
  put_text(508, "a\xC3\xA9");
  EXPECT_EQ(read().progress.checkpoint_error, "a\uFFFD");
}

TEST_F(ProgressPages, AFileCutShortIsHarmless) {
  put_text(0, "HFPROG01");
  put<std::uint64_t>(8, 5);
  ASSERT_EQ(::ftruncate(fd_.get(), 12), 0);
  EXPECT_EQ(read().progress.step, 5u);
  EXPECT_EQ(read().progress.tokens, 0u);
  ASSERT_EQ(::ftruncate(fd_.get(), 0), 0);
  EXPECT_FALSE(read().claimed);
}

TEST_F(ProgressPages, ASecondAttemptGetsAPageOfItsOwn) {
  const auto second = std::move(ProgressPage::create(path("page"), 3).value());
  put_text(0, "HFPROG01");  // a writer of the first attempt that is still there
  EXPECT_TRUE(read().claimed);
  EXPECT_FALSE(second.read().claimed);
}

}  // namespace
}  // namespace holdfast
