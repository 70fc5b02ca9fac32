#include "io/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace holdfast {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(UniqueFd, ClosesOnceAndFollowsMoves) {
  UniqueFd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = first.get();
  UniqueFd second(std::move(first));
  EXPECT_FALSE(first);
  EXPECT_TRUE(is_open(number));
  {
    UniqueFd third;
    third = std::move(second);
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, AssignmentClosesWhatWasOwned) {
  UniqueFd kept(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = kept.get();
  kept = UniqueFd();
  EXPECT_FALSE(is_open(number));
}

}  // namespace
}  // namespace holdfast
