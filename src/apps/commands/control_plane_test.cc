#include "apps/commands/control_plane.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "api/rest.h"
#include "io/certificates.h"
#include "io/clock.h"
#include "io/http_server.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

class ControlPlaneTest : public ScratchFolder {
 protected:
  ControlPlaneTest() {
    std::filesystem::create_directory(path("ca"));
    auto ca = ClusterCa::create(path("ca"), "cluster", wall_now());
    for (Role role : {Role::kServer, Role::kOperator}) {
      auto issued = ca->issue("x", role, {}, minutes(10), wall_now());
      std::ofstream(path(std::string(word_of(role)) + ".crt")) << issued->certificate_pem;
      std::ofstream(path(std::string(word_of(role)) + ".key")) << issued->key_pem;
    }
  }

  std::unique_ptr<HttpServer> serve() {
    auto server = HttpServer::start(
        {"127.0.0.1", 0, {path("ca/ca.crt"), path("server.crt"), path("server.key")}},
        [](const HttpRequest& request) -> HttpResponse {
          if (request.path == "/v1/odd") return {200, "7"};
          if (request.path != "/v1/status")
            return render_error({Errc::kNotFound, "job: 'x' is not known"});
          return {200, R"({"cluster":"demo"})"};
        });
    std::ofstream(path("client.json"))
        << R"({"api":"https://127.0.0.1:)" << (*server)->port()
        << R"(","ca":"ca/ca.crt","cert":"operator.crt","key":"operator.key","cluster":"demo"})";
    return std::move(*server);
  }
};

TEST_F(ControlPlaneTest, AnswersAndErrors) {
  const auto server = serve();
  auto plane = ControlPlane::open(folder());
  ASSERT_TRUE(plane.ok()) << plane.error().text();
  const auto status = plane->get("/v1/status");
  ASSERT_TRUE(status.ok()) << status.error().text();
  EXPECT_EQ(text_at(*status, "cluster"), "demo");
  EXPECT_EQ(plane->post("/v1/jobs/x/stop").error().text(), "HF1003: job: 'x' is not known");
  EXPECT_EQ(plane->get("/v1/odd").error().code, Errc::kUnparsable);
}

TEST_F(ControlPlaneTest, TellsHowToStartOne) {
  const auto none = ControlPlane::open(path("none"));
  EXPECT_EQ(none.error().code, Errc::kUnavailable);
  EXPECT_NE(none.error().detail.find("`holdfast up --state " + path("none") + "`"),
            std::string::npos);
  serve();  // and gone
  auto plane = ControlPlane::open(folder());
  ASSERT_TRUE(plane.ok());
  const auto status = plane->get("/v1/status");
  EXPECT_NE(status.error().detail.find("no control plane answers at 127.0.0.1:"),
            std::string::npos);
  EXPECT_NE(status.error().detail.find("`holdfast up --state " + folder() + "`"),
            std::string::npos);
}

TEST_F(ControlPlaneTest, ClientFileMustMakeSense) {
  for (const char* text :
       {"", "[]", "{}", R"({"api":"http://127.0.0.1:1","ca":"a","cert":"b","key":"c"})",
        R"({"api":"https://127.0.0.1:0","ca":"a","cert":"b","key":"c"})",
        R"({"api":"https://:99999","ca":"a","cert":"b","key":"c"})"}) {
    std::ofstream(path("client.json")) << text;
    EXPECT_EQ(ControlPlane::open(folder()).error().code, Errc::kUnparsable) << text;
  }
}

TEST_F(ControlPlaneTest, PatienceOutlastsARestartOnAnotherPort) {
  auto server = serve();
  auto plane = ControlPlane::open(folder());
  plane->be_patient();
  server.reset();
  std::thread restart([&] { server = serve(); });
  const auto status = plane->get("/v1/status");
  restart.join();
  EXPECT_TRUE(status.ok()) << status.error().text();
}

TEST(Segments, AreEncoded) {
  EXPECT_EQ(encode_segment("gpt-2_x.y"), "gpt-2_x.y");
  EXPECT_EQ(encode_segment("a b/é?"), "a%20b%2F%C3%A9%3F");
}

}  // namespace
}  // namespace holdfast
