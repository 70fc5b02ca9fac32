#include "apps/embedded_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "apps/python_files.h"

namespace holdfast {
namespace {

TEST(EmbeddedFile, ThePythonSideIsComplete) {
  std::vector<std::string> paths;
  for (const EmbeddedFile& file : python_files()) paths.emplace_back(file.path);
  EXPECT_THAT(paths, ::testing::IsSupersetOf({"sitecustomize.py", "holdfast/__init__.py"}));
  EXPECT_THAT(paths, ::testing::Each(::testing::EndsWith(".py")));
  EXPECT_THAT(paths, ::testing::Each(::testing::Not(::testing::HasSubstr("test"))));
}

TEST(EmbeddedFile, ContentIsTakenAsItIs) {
  for (const EmbeddedFile& file : python_files()) {
    if (file.path != "holdfast/__init__.py") continue;
    EXPECT_TRUE(file.content.starts_with("\"\"\"")) << file.content.substr(0, 20);
    EXPECT_TRUE(file.content.ends_with("\n"));
    EXPECT_NE(file.content.find("    "), std::string_view::npos);
  }
}

}  // namespace
}  // namespace holdfast
