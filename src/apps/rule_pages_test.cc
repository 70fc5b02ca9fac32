#include "apps/rule_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace holdfast {
namespace {

using ::testing::HasSubstr;

TEST(RulePages, OfACodeSaysMeaningActionReasonAndSource) {
  const std::string page = code_page("xid", 79, {}).value();
  for (const char* part : {"Xid 79", "fallen off the bus", "reboot_node", "RESTART_BM",
                           "docs.nvidia.com/deploy/xid-errors"})
    EXPECT_THAT(page, HasSubstr(part));
  EXPECT_THAT(code_page("sxid", 20034, {}).value(), HasSubstr("reset_device"));
  EXPECT_THAT(code_page("xid", 9999, {}).value(), HasSubstr("ask_operator"));
  EXPECT_FALSE(code_page("oom", 1, {}));
}

TEST(RulePages, EachKindHasATable) {
  std::istringstream kinds(kinds_text());
  int count = 0;
  for (std::string kind; kinds >> kind; ++count) EXPECT_TRUE(kind_page(kind, {})) << kind;
  EXPECT_GT(count, 15);
  EXPECT_FALSE(kind_page("nonsense", {}));
}

}  // namespace
}  // namespace holdfast
