#include "io/access_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr WallTime kNow{1'764'093'600'000'000'000};

class AccessKeysTest : public ScratchFolder {
 protected:
  std::unique_ptr<AccessKeys> open() {
    auto keys = AccessKeys::open(folder());
    EXPECT_TRUE(keys.ok()) << (keys.ok() ? "" : keys.error().text());
    return keys.ok() ? std::move(*keys) : nullptr;
  }
  std::string error() {
    const auto keys = AccessKeys::open(folder());
    return keys.ok() ? "" : keys.error().text();
  }
  [[nodiscard]] std::string content(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(path(name)).rdbuf();
    return text.str();
  }
  void rewrite(const std::string& from, const std::string& to) {
    std::string text = content("access_keys.json");
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from << "\n" << text;
    text.replace(at, from.size(), to);
    std::ofstream(path("access_keys.json")) << text;
  }
};

TEST_F(AccessKeysTest, AreThereAfterARestart) {
  std::string id, secret;
  {
    const auto keys = open();
    const auto made = keys->create(AccessRole::kOperator, kNow);
    ASSERT_TRUE(made.ok());
    id = made->key.id;
    secret = made->secret;
    EXPECT_THAT(id, MatchesRegex("AKIA[A-Z0-9]+"));
    EXPECT_EQ(id.size(), 20u);
    EXPECT_EQ(secret.size(), 40u);
    EXPECT_NE(secret, open()->create(AccessRole::kViewer, kNow)->secret);
  }
  const auto keys = open();
  const auto found = keys->find(id);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->secret, secret);
  EXPECT_EQ(found->key.role, AccessRole::kOperator);
  EXPECT_EQ(found->key.created, kNow);
  EXPECT_FALSE(keys->find("AKIANOBODY"));
}

TEST_F(AccessKeysTest, FilesAreTheOwnersAndHoldNoSecret) {
  const auto made = open()->create(AccessRole::kAdmin, kNow);
  for (const char* name : {"access_keys.json", "access_keys.key"}) {
    struct stat status {};
    ASSERT_EQ(::stat(path(name).c_str(), &status), 0) << name;
    EXPECT_EQ(status.st_mode & 0777u, 0600u) << name;
    EXPECT_THAT(content(name), Not(HasSubstr(made->secret)));
  }
  EXPECT_THAT(content("access_keys.json"), HasSubstr(made->key.id));
}

TEST_F(AccessKeysTest, DisabledAndDeleted) {
  const auto keys = open();
  const std::string id = keys->create(AccessRole::kAdmin, kNow)->key.id;
  ASSERT_TRUE(keys->disable(id).ok());
  EXPECT_TRUE(open()->find(id)->key.disabled);
  EXPECT_EQ(keys->list().size(), 1u);
  ASSERT_TRUE(keys->remove(id).ok());
  EXPECT_FALSE(open()->find(id));
  EXPECT_TRUE(keys->list().empty());
  EXPECT_EQ(keys->remove(id).error().code, Errc::kNotFound);
  EXPECT_EQ(keys->disable(id).error().code, Errc::kNotFound);
}

TEST_F(AccessKeysTest, LastUseIsKnownToTheHour) {
  const auto keys = open();
  const std::string id = keys->create(AccessRole::kViewer, kNow)->key.id;
  EXPECT_FALSE(keys->list()[0].last_used);
  keys->used(id, WallTime{kNow.ns + minutes(59).ns});
  EXPECT_EQ(open()->list()[0].last_used, kNow);  // an hour began with it
  keys->used(id, WallTime{kNow.ns + minutes(61).ns});
  EXPECT_EQ(open()->list()[0].last_used, WallTime{kNow.ns + minutes(60).ns});
}

TEST_F(AccessKeysTest, AFileThatWasChangedIsRefused) {
  const auto made = open()->create(AccessRole::kViewer, kNow);
  rewrite("viewer", "admin");
  EXPECT_THAT(error(), HasSubstr("HF3002"));
  rewrite("admin", "viewer");
  EXPECT_EQ(error(), "");
  rewrite(made->key.id, "AKIA0000000000000000");
  EXPECT_THAT(error(), HasSubstr("AKIA0000000000000000"));
  rewrite("AKIA0000000000000000", made->key.id);
  rewrite("{", "");
  EXPECT_THAT(error(), HasSubstr("HF3002"));
  std::ofstream(path("access_keys.json")) << "";  // torn
  EXPECT_THAT(error(), HasSubstr("HF3002"));
}

TEST_F(AccessKeysTest, AnotherMasterKeyOrNone) {
  (void)open()->create(AccessRole::kViewer, kNow);
  std::ofstream(path("access_keys.key")) << std::string(64, '0');
  EXPECT_THAT(error(), HasSubstr("cannot be read with access_keys.key"));
  std::ofstream(path("access_keys.key")) << "0";
  EXPECT_THAT(error(), HasSubstr("damaged"));
  std::filesystem::remove(path("access_keys.key"));
  EXPECT_THAT(error(), HasSubstr("missing"));
}

TEST_F(AccessKeysTest, WhatCannotBeWrittenChangesNothing) {
  const auto keys = open();
  const std::string id = keys->create(AccessRole::kAdmin, kNow)->key.id;
  // Nothing can be replaced by a file where a folder is.
  std::filesystem::create_directories(path("access_keys.json.tmp/x"));
  EXPECT_FALSE(keys->create(AccessRole::kAdmin, kNow).ok());
  EXPECT_FALSE(keys->remove(id).ok());
  EXPECT_FALSE(keys->disable(id).ok());
  keys->used(id, kNow);
  EXPECT_EQ(keys->list().size(), 1u);
  EXPECT_FALSE(keys->list()[0].disabled);
}

}  // namespace
}  // namespace holdfast
