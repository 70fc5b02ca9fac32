#include "apps/key_views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using nlohmann::json;

class KeyViewsTest : public ScratchFolder {
 protected:
  KeyViewsTest() : keys_(AccessKeys::open(folder()).value()) {}
  json ask(const HttpRequest& request, int status) {
    const auto asked = parse_request(request);
    EXPECT_TRUE(asked.ok()) << asked.error().text();
    const auto answer = answer_keys(*asked, *keys_, WallTime{7});
    EXPECT_EQ(answer.value().status, status) << answer->body;
    return json::parse(answer->body);
  }
  std::unique_ptr<AccessKeys> keys_;
};

TEST_F(KeyViewsTest, TheLifeOfAKey) {
  const json made = ask({"POST", "/v1/keys", {}, R"({"role": "operator"})"}, 201);
  const std::string id = made["key"]["id"];
  EXPECT_EQ(made["key"]["role"], "operator");
  EXPECT_EQ(keys_->find(id)->secret, made["secret"]);
  json listed = ask({"GET", "/v1/keys", {}, ""}, 200);
  EXPECT_EQ(listed, json({{"keys", {made["key"]}}}));
  EXPECT_EQ(made["key"]["created_unix_ns"], 7);
  (void)ask({"POST", "/v1/keys/" + id + "/disable", {}, ""}, 200);
  listed = ask({"GET", "/v1/keys", {}, ""}, 200);
  EXPECT_EQ(listed["keys"][0]["state"], "disabled");
  (void)ask({"POST", "/v1/keys/" + id + "/delete", {}, ""}, 200);
  (void)ask({"POST", "/v1/keys/" + id + "/delete", {}, ""}, 404);
  EXPECT_EQ(ask({"GET", "/v1/keys", {}, ""}, 200)["keys"], json::array());
}

TEST_F(KeyViewsTest, IsNotAskedForTheRest) {
  EXPECT_FALSE(answer_keys(ask::Status{}, *keys_, WallTime{}).has_value());
}

TEST_F(KeyViewsTest, TheFirstKeyIsACredentialsFile) {
  std::filesystem::create_directory(path("client"));
  ASSERT_TRUE(make_first_key(folder(), WallTime{7}).ok());
  const auto keys = AccessKeys::open(folder()).value();
  ASSERT_EQ(keys->list().size(), 1u);
  EXPECT_EQ(keys->list()[0].role, AccessRole::kAdmin);
  std::ostringstream text;
  text << std::ifstream(path("client/credentials")).rdbuf();
  const std::string id = keys->list()[0].id;
  EXPECT_EQ(text.str(), "[default]\naws_access_key_id = " + id +
                            "\naws_secret_access_key = " + keys->find(id)->secret + "\n");
  struct stat status {};
  ASSERT_EQ(::stat(path("client/credentials").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

}  // namespace
}  // namespace holdfast
