#include "apps/error_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <span>
#include <string>

#include "apps/embedded_file.h"
#include "base/errc.h"

namespace holdfast {

std::span<const EmbeddedFile> error_page_files();

namespace {

const std::map<std::string, std::string> kSummaries = {
#define HF_SUMMARY(name, code, summary) {code, summary},
    HF_ERRC_TABLE(HF_SUMMARY)
#undef HF_SUMMARY
};

TEST(ErrorPages, EachCodeHasAPageUnderItsOwnTitle) {
  for (const auto& [code, summary] : kSummaries) {
    const auto page = error_page(code);
    ASSERT_TRUE(page.has_value()) << "write docs/errors/" << code << ".md";
    EXPECT_EQ(page->substr(0, page->find('\n')), "# " + code + ": " + summary);
    for (const char* part : {"## What it means", "## Usual causes", "## What to do", "## Example"})
      EXPECT_THAT(std::string(*page), ::testing::HasSubstr(part)) << code;
  }
}

TEST(ErrorPages, EachPageBelongsToACode) {
  for (const EmbeddedFile& file : error_page_files())
    EXPECT_TRUE(kSummaries.contains(std::string(file.path.substr(0, 6)))) << file.path;
  EXPECT_EQ(error_page_files().size(), kSummaries.size());
}

TEST(ErrorPages, AnUnknownCodeHasNone) {
  EXPECT_EQ(error_page("HF9999"), std::nullopt);
  EXPECT_EQ(error_page(""), std::nullopt);
}

}  // namespace
}  // namespace holdfast
