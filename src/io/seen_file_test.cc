#include "io/seen_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Key;

constexpr WallTime at(std::int64_t s) {
  return WallTime{s * 1'000'000'000};
}

class SeenFileTest : public ScratchFolder {
 protected:
  std::unique_ptr<SeenFile> open(WallTime now, std::size_t lines_max = 100) {
    auto file = SeenFile::open(path("seen"), now, lines_max);
    EXPECT_TRUE(file.ok()) << file.error().text();
    return std::move(file).value();
  }
};

TEST_F(SeenFileTest, TellsTheNextProcessWhatHasNotExpired) {
  auto file = open(at(10));
  EXPECT_THAT(file->read(), IsEmpty());
  ASSERT_TRUE(file->append("old", at(20), at(10)).ok());
  ASSERT_TRUE(file->append("new", WallTime{at(29).ns + 1}, at(10)).ok());
  EXPECT_THAT(open(at(20))->read(), ElementsAre(Key("new"), Key("old")));
  const auto next = open(at(30));
  EXPECT_THAT(next->read(), ElementsAre(std::pair("new", at(30))));
  EXPECT_EQ(read_file(path("seen"), 1000).value(), "30 new\n");
}

TEST_F(SeenFileTest, ALineThatCannotBeReadIsPassedOver) {
  std::ofstream(path("seen"))
      << "\nx y\n50\n99999999999999999999 a\n9223372036854775807 b\n50 c\n50 tor";
  EXPECT_THAT(open(at(10))->read(), ElementsAre(Key("c")));
}

TEST_F(SeenFileTest, ALineThatAFullDiskCutOffSpoilsNoOther) {
  auto file = open(at(10));
  std::ofstream(path("seen"), std::ios::app) << "50 tor";
  ASSERT_TRUE(file->append("next", at(50), at(10)).ok());
  EXPECT_THAT(open(at(20))->read(), testing::Contains(Key("next")));
}

TEST_F(SeenFileTest, DoesNotGrowWithoutEnd) {
  auto file = open(at(10), 4);
  for (std::int64_t s = 0; s < 100; ++s)
    ASSERT_TRUE(file->append("s" + std::to_string(s), at(s + 2), at(s)).ok());
  EXPECT_LT(read_file(path("seen"), 1000).value().size(), 100u);
  EXPECT_THAT(open(at(101))->read(), ElementsAre(Key("s99")));
}

TEST_F(SeenFileTest, SaysWhenItCannotWrite) {
  EXPECT_FALSE(SeenFile::open(path("no/folder"), at(10)).ok());
}

}  // namespace
}  // namespace holdfast
