#include "apps/lifecycle_runner.h"

#include <signal.h>

#include <chrono>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/file_pack.h"
#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A node whose control plane has these files, and real scripts.
class LifecycleRunnerTest : public ScratchFolder, public LifecycleRunner::Listener {
 protected:
  LifecycleRunnerTest() { make_runner(); }

  void make_runner() {
    runner_ = std::make_unique<LifecycleRunner>(
        context_,
        LifecycleRunner::Options{.node = NodeId{3},
                                 .cluster = "uuid",
                                 .folder = folder(),
                                 .config = path("opt/ml/config"),
                                 .environment = {{"PATH", "/usr/bin:/bin"}}},
        *this);
  }
  bool send_to_server(const agent_message::LifecycleFilesWanted& wanted) override {
    wanted_.push_back(wanted);
    return true;
  }
  void lifecycle_tried(agent_event::LifecycleTried tried) override { tried_ = std::move(tried); }
  void program_started(pid_t pid) override { pid_ = pid; }

  // One try with this script, until it has ended.
  void run(const std::string& script, Duration try_max = seconds(20)) {
    begin(script, try_max);
    ASSERT_TRUE(until([&] { return tried_.has_value(); }));
  }
  void begin(const std::string& script, Duration try_max = seconds(20)) {
    tried_.reset();
    wanted_.clear();
    runner_->start({.run = 1, .on_create = "on_create.sh", .try_max = try_max, .tries_max = 3});
    give({{"on_create.sh", 0644, "#!/bin/sh\n" + script + "\n"},
          {"provisioning_parameters.json", 0644, "{\"version\": \"1.0.0\"}"}});
  }
  // In two pieces.
  void give(const std::vector<PackedFile>& files) {
    ASSERT_TRUE(until([&] { return !wanted_.empty(); }));
    const std::string pack = *pack_files(files);
    const std::size_t half = pack.size() / 2;
    ASSERT_EQ(wanted_.back().offset, 0u);
    runner_->take({.run = 1,
                   .offset = 0,
                   .bytes_in_all = pack.size(),
                   .bytes = pack.substr(0, half),
                   .config = {{"resource_config.json", "{\"ClusterConfig\": {}}"}}});
    ASSERT_EQ(wanted_.back().offset, half);
    runner_->take(
        {.run = 1, .offset = half, .bytes_in_all = pack.size(), .bytes = pack.substr(half)});
  }
  template <class Condition>
  testing::AssertionResult until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return testing::AssertionFailure() << "too late";
      for (const Reaped& one : reap()) runner_->program_ended(one.pid, one.status);
      context_.restart();
      context_.run_for(std::chrono::milliseconds(5));
    }
    return testing::AssertionSuccess();
  }
  [[nodiscard]] std::string text_of(const std::string& name) const {
    const auto text = read_file(path(name), 1 << 20);
    return text.ok() ? *text : text.error().text();
  }

  asio::io_context context_;
  std::unique_ptr<LifecycleRunner> runner_;
  std::vector<agent_message::LifecycleFilesWanted> wanted_;
  std::optional<agent_event::LifecycleTried> tried_;
  pid_t pid_ = 0;
};

TEST_F(LifecycleRunnerTest, AScriptFindsWhatItMayCountOn) {
  run("pwd; echo node $HOLDFAST_NODE; cat $SAGEMAKER_RESOURCE_CONFIG_PATH\n"
      "cat $HOLDFAST_ML_CONFIG/provisioning_parameters.json");
  EXPECT_TRUE(tried_->ok) << tried_->reason;
  EXPECT_THAT(tried_->log_tail, AllOf(HasSubstr("/lifecycle/scripts"), HasSubstr("node n3"),
                                      HasSubstr("ClusterConfig"), HasSubstr("1.0.0")));
  EXPECT_THAT(text_of("lifecycle.log"), HasSubstr("node n3"));
}

TEST_F(LifecycleRunnerTest, AFailureSaysHowItEndedAndLeavesNothing) {
  run("sleep 1000 & echo $! > $HOLDFAST_ML_CONFIG/sleeper\necho no such mount >&2\nexit 7");
  EXPECT_FALSE(tried_->ok);
  EXPECT_THAT(tried_->reason, HasSubstr("exit status 7"));
  EXPECT_THAT(tried_->log_tail, HasSubstr("no such mount"));
  EXPECT_THAT(process_state(std::stoi(text_of("opt/ml/config/sleeper"))),
              testing::AnyOf("", HasSubstr("Z")));
  run("echo better");
  EXPECT_TRUE(tried_->ok);
  EXPECT_THAT(tried_->log_tail, Not(HasSubstr("no such mount"))) << "of this try";
}

TEST_F(LifecycleRunnerTest, AScriptThatHangsIsKilled) {
  run("echo begins; sleep 1000", milliseconds(500));
  EXPECT_FALSE(tried_->ok);
  EXPECT_THAT(tried_->reason, HasSubstr("did not end within"));
}

TEST_F(LifecycleRunnerTest, FilesThatCannotBeHadAreAFailure) {
  runner_->start({.run = 1, .on_create = "on_create.sh", .try_max = seconds(20)});
  runner_->take({.run = 1, .error = "lifecycle scripts: /srv/scripts: no such folder"});
  ASSERT_TRUE(until([&] { return tried_.has_value(); }));
  EXPECT_THAT(tried_->reason, HasSubstr("no such folder"));
  runner_->start({.run = 1, .on_create = "missing.sh", .try_max = seconds(20)});
  tried_.reset();
  give({{"on_create.sh", 0755, "#!/bin/sh\n"}});
  ASSERT_TRUE(until([&] { return tried_.has_value(); }));
  EXPECT_THAT(tried_->reason, HasSubstr("missing.sh: no such file"));
  runner_->start({.run = 1, .on_create = "on_create.sh", .try_max = seconds(20)});
  tried_.reset();
  runner_->take({.run = 1, .bytes_in_all = 1ull << 40, .bytes = "x"});
  ASSERT_TRUE(until([&] { return tried_.has_value(); }));
  EXPECT_THAT(tried_->reason, HasSubstr("larger"));
}

TEST_F(LifecycleRunnerTest, AnAgentThatComesBackKnowsWhatWasCutOff) {
  EXPECT_EQ(runner_->found().cut_off, 0u);
  begin(
      "echo $$ > $HOLDFAST_ML_CONFIG/script; setsid sleep 1000 &\n"
      "echo $! > $HOLDFAST_ML_CONFIG/sleeper; sleep 1000");
  ASSERT_TRUE(until([&] { return text_of("opt/ml/config/sleeper").ends_with("\n"); }));
  // As after a kill -9 of the agent, whose child dies with it and whose child's child does not.
  const pid_t sleeper = std::stoi(text_of("opt/ml/config/sleeper"));
  make_runner();
  EXPECT_EQ(runner_->found().cut_off, 1u);
  EXPECT_FALSE(runner_->found().done.has_value());
  EXPECT_THAT(process_state(sleeper), Not(testing::AnyOf("", HasSubstr("Z"))));
  run("true");
  EXPECT_TRUE(tried_->ok);
  EXPECT_THAT(process_state(sleeper), testing::AnyOf("", HasSubstr("Z"))) << "swept before";
  runner_->keep({.run = 1, .ok = true, .tries = 2, .log_tail = "words \xff"});
  make_runner();
  const auto found = runner_->found();
  EXPECT_EQ(found.cut_off, 0u);
  ASSERT_TRUE(found.done.has_value());
  EXPECT_TRUE(found.done->ok);
  EXPECT_EQ(found.done->tries, 2u);
}

TEST_F(LifecycleRunnerTest, StopEndsIt) {
  begin("sleep 1000");
  ASSERT_TRUE(until([&] { return pid_ != 0; }));
  runner_->stop();
  ASSERT_TRUE(until([&] { return process_state(pid_).empty(); }));
  EXPECT_FALSE(tried_.has_value());
}

TEST_F(LifecycleRunnerTest, ADamagedReportIsNone) {
  ASSERT_TRUE(make_folder(path("lifecycle"), 0700).ok());
  ASSERT_TRUE(write_file_atomic(path("lifecycle/report"), "\xff\xff garbage", 0600).ok());
  EXPECT_FALSE(runner_->found().done.has_value());
}

}  // namespace
}  // namespace holdfast
