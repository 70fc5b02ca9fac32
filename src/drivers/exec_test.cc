#include "drivers/exec.h"

#include <sys/stat.h>

#include <chrono>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

// Real programs of /bin/sh; what they are asked is in the file `calls`.
class ExecDriverTest : public ScratchFolder {
 protected:
  ExecDriverTest() {
    EXPECT_TRUE(make_folder(path("programs"), 0700).ok());
    for (const char* name : {"provision", "terminate", "reboot"}) program(name, "");
    program("describe", R"(echo '{"nodes": {"n1": "running"}}')");
    make_driver();
  }

  void program(const std::string& name, const std::string& body) {
    const std::string file = path("programs/") + name;
    std::ofstream(file) << "#!/bin/sh\ncat > ../" << name << ".json\necho " << name
                        << " >> ../calls\n"
                        << body << "\n";
    ::chmod(file.c_str(), 0755);
  }

  void make_driver() {
    driver_ = std::make_unique<ExecDriver>(
        *context_,
        ExecDriver::Options{.cluster = "uuid-1",
                            .programs = path("programs"),
                            .nodes_folder = path("nodes"),
                            .server = "10.0.0.1:14000",
                            .ca_pem = "PEM",
                            .agent = {"agent", "--server", "10.0.0.1:14000"},
                            .environment = {{"PATH", "/usr/bin:/bin"}},
                            .provision_max = provision_max_,
                            .poll = milliseconds(20),
                            .pause_min = milliseconds(5),
                            .pause_max = milliseconds(20)},
        [](NodeId node) { return "token-of-" + to_string(node); },
        [this](NodeId node, const std::string& reason) { gone_.emplace_back(node, reason); },
        [this](NodeId node, const std::string& reason) { without_.emplace_back(node, reason); });
  }

  template <class Condition>
  testing::AssertionResult until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return testing::AssertionFailure() << "too late";
      context_->restart();
      context_->run_for(std::chrono::milliseconds(5));
    }
    return testing::AssertionSuccess();
  }
  [[nodiscard]] std::vector<std::string> calls() const {
    std::vector<std::string> lines;
    std::ifstream file(path("calls"));
    for (std::string line; std::getline(file, line);)
      if (line != "describe") lines.push_back(line);
    return lines;
  }
  [[nodiscard]] bool is_described() const {
    const auto text = read_file(path("calls"), 1 << 16);
    return text.ok() && text->find("describe") != std::string::npos;
  }

  Duration provision_max_ = seconds(20);
  std::unique_ptr<asio::io_context> context_ = std::make_unique<asio::io_context>();
  std::vector<std::pair<NodeId, std::string>> gone_, without_;
  std::unique_ptr<ExecDriver> driver_;
};

constexpr NodeId kNode{1};

TEST_F(ExecDriverTest, GetsAMachineAndGivesItBack) {
  driver_->provision({kNode, "workers", {"p5", "p4"}});
  driver_->provision({kNode, "workers", {"p5", "p4"}});  // it comes already
  ASSERT_TRUE(until([&] { return is_described(); })) << "a machine that is there is watched";
  const auto text = read_file(path("provision.json"), 1 << 16);
  ASSERT_TRUE(text.ok());
  const auto asked = nlohmann::json::parse(*text);
  EXPECT_EQ(asked["cluster"], "uuid-1");
  EXPECT_EQ(asked["node"], "n1");
  EXPECT_EQ(asked["group"], "workers");
  EXPECT_EQ(asked["instance_types"][0], "p5");
  EXPECT_EQ(asked["server"], "10.0.0.1:14000");
  EXPECT_EQ(asked["ca"], "PEM");
  EXPECT_EQ(asked["token"], "token-of-n1");
  EXPECT_EQ(asked["agent"][0], "agent");
  driver_->reboot(kNode);
  ASSERT_TRUE(until([&] { return calls().size() == 2; }));
  driver_->terminate(kNode);
  ASSERT_TRUE(until([&] { return !gone_.empty(); }));
  EXPECT_THAT(calls(), ElementsAre("provision", "reboot", "terminate"));
  EXPECT_THAT(gone_, ElementsAre(Pair(kNode, "it was given back")));
  driver_->terminate(kNode);
  ASSERT_TRUE(until([&] { return gone_.size() == 2; })) << "told again when asked again";
  EXPECT_EQ(calls().size(), 3u) << "and nobody is bothered";
}

TEST_F(ExecDriverTest, TriesAgainWhenItIsAskedTo) {
  program("provision",
          "n=$(grep -c provision ../calls)\n"
          "[ $n = 1 ] && exit 75\n"
          "[ $n = 2 ] && echo '{\"retry\": true, \"reason\": \"no capacity\"}'\nexit 0");
  driver_->provision({kNode, "", {}});
  ASSERT_TRUE(until([&] { return is_described(); }));
  EXPECT_THAT(calls(), ElementsAre("provision", "provision", "provision"));
  EXPECT_THAT(gone_, IsEmpty());
}

TEST_F(ExecDriverTest, AFailureGivesBackWhatMayBeThereAndSaysWhy) {
  program("provision", "echo 'quota of p5 is used up' >&2; exit 3");
  driver_->provision({kNode, "", {}});
  ASSERT_TRUE(until([&] { return !gone_.empty(); }));
  EXPECT_THAT(calls(), ElementsAre("provision", "terminate"));
  EXPECT_THAT(gone_[0].second,
              AllOf(HasSubstr("provision: exit status 3"), HasSubstr("quota of p5 is used up")));
}

TEST_F(ExecDriverTest, NoCapacityIsNoFailureAndMayBeAskedForAgain) {
  program("provision",
          "[ -e ../free ] || echo '{\"no_capacity\": true, \"reason\": \"no p5 in zone b\"}'");
  driver_->provision({kNode, "", {}});
  ASSERT_TRUE(until([&] { return !without_.empty(); }));
  EXPECT_THAT(without_, ElementsAre(Pair(kNode, "provision: no p5 in zone b")));
  EXPECT_THAT(calls(), ElementsAre("provision", "terminate")) << "half of it may be there";
  std::ofstream(path("free")) << "";
  driver_->provision({kNode, "", {}});
  ASSERT_TRUE(until([&] { return is_described(); }));
  EXPECT_THAT(gone_, IsEmpty());
}

TEST_F(ExecDriverTest, AnAnswerThatIsNotUnderstoodIsAFailure) {
  program("provision", "echo '{\"retyr\": true}'");
  driver_->provision({kNode, "", {}});
  ASSERT_TRUE(until([&] { return !gone_.empty(); }));
  EXPECT_THAT(gone_[0].second, HasSubstr("retyr: true is not allowed"));
}

TEST_F(ExecDriverTest, AProgramThatHangsIsKilledWithAllThatItStarted) {
  provision_max_ = milliseconds(300);
  make_driver();
  program("provision", "sleep 1000 & echo $! > ../sleeper; wait");
  driver_->provision({kNode, "", {}});
  ASSERT_TRUE(until([&] { return !gone_.empty(); }));
  EXPECT_THAT(gone_[0].second, HasSubstr("did not end in time"));
  const auto pid = read_file(path("sleeper"), 64);
  ASSERT_TRUE(pid.ok());
  EXPECT_THAT(process_state(std::stoi(*pid)), testing::AnyOf("", HasSubstr("Z")));
}

TEST_F(ExecDriverTest, AMachineThatEndsByItselfIsNoticed) {
  driver_->provision({kNode, "", {}});
  ASSERT_TRUE(until([&] { return is_described(); }));
  program("describe", R"(echo 'the API is down' >&2; exit 1)");
  const auto described = [&] {
    const auto text = read_file(path("calls"), 1 << 16);
    std::size_t times = 0;
    for (std::size_t at = 0; (at = text->find("describe", at)) != std::string::npos; ++at) ++times;
    return times;
  };
  const std::size_t before = described();
  ASSERT_TRUE(until([&] { return described() > before + 3; }));
  EXPECT_THAT(gone_, IsEmpty()) << "no answer is no news";
  program("describe", R"(echo '{"nodes": {"n1": "gone"}}')");
  ASSERT_TRUE(until([&] { return !gone_.empty(); }));
  EXPECT_THAT(gone_, ElementsAre(Pair(kNode, "its machine is gone")));
}

TEST_F(ExecDriverTest, TerminateWaitsForAProvisionUnderWay) {
  program("provision", "while [ ! -e ../go ]; do :; done");
  driver_->provision({kNode, "", {}});
  ASSERT_TRUE(until([&] { return !calls().empty(); }));
  driver_->terminate(kNode);
  std::ofstream(path("go")) << "";
  ASSERT_TRUE(until([&] { return !gone_.empty(); }));
  EXPECT_THAT(calls(), ElementsAre("provision", "terminate"));
}

TEST_F(ExecDriverTest, AfterARestartEverythingIsFoundAndGivenBack) {
  driver_->provision({kNode, "", {}});
  driver_->provision({NodeId{2}, "", {}});
  ASSERT_TRUE(until([&] { return calls().size() == 2; }));
  driver_.reset();
  context_ = std::make_unique<asio::io_context>();
  gone_.clear();
  make_driver();
  EXPECT_FALSE(driver_->end_everything());
  ASSERT_TRUE(until([&] { return driver_->end_everything(); }));
  EXPECT_EQ(gone_.size(), 2u);
  EXPECT_EQ(calls().size(), 4u);
}

TEST_F(ExecDriverTest, AFolderWithoutItsProgramsIsRefused) {
  EXPECT_TRUE(ExecDriver::check(path("programs")).ok());
  ::chmod(path("programs/reboot").c_str(), 0644);
  EXPECT_THAT(ExecDriver::check(path("programs")).error().text(), HasSubstr("chmod +x"));
  EXPECT_THAT(ExecDriver::check(path("nothing")).error().text(), HasSubstr("provision does not"));
}

TEST(ExecAnswers, AreReadStrictly) {
  const std::string deep = std::string(500'000, '[') + std::string(500'000, ']');
  EXPECT_TRUE(parse_exec_answer(" \n").ok());
  EXPECT_EQ(parse_exec_answer(R"({"retry": true, "after_s": 30})")->after, seconds(30));
  EXPECT_TRUE(parse_exec_answer(R"({"no_capacity": true})")->no_capacity);
  for (const char* bad :
       {"{", "[]", R"({"retry": 1})", R"({"no_capacity": "p5"})", R"({"after_s": -1})",
        R"({"other": 1})", R"({"after_s": 99999999999999999999})", "\xff"})
    EXPECT_FALSE(parse_exec_answer(bad).ok()) << bad;
  EXPECT_FALSE(parse_exec_answer(R"({"retry": )" + deep + "}").ok());
  EXPECT_FALSE(parse_exec_description(R"({"nodes": {"n1": )" + deep + "}}", {NodeId{1}}).ok());
  EXPECT_THAT(*parse_exec_description(R"({"nodes": {"n1": "gone", "n2": "starting"}})",
                                      {NodeId{1}, NodeId{2}}),
              ElementsAre(NodeId{1}));
  for (const char* bad : {R"({"nodes": {}})", R"({"nodes": {"n1": "dead"}})", R"({})", "null",
                          R"({"nodes": {"n1": 1}})", R"({"nodes": {"n1": "gone"}, "x": 1})"})
    EXPECT_FALSE(parse_exec_description(bad, {NodeId{1}}).ok()) << bad;
}

}  // namespace
}  // namespace holdfast
