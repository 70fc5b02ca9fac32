#include "drivers/ssh_scripts.h"

#include <sys/stat.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/clock.h"
#include "io/files.h"
#include "io/process.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::HasSubstr;

// The scripts, run by this machine's `sh`. The program that they install prints its arguments.
class SshScripts : public ScratchFolder {
 protected:
  SshScripts() {
    std::ofstream(path("program")) << "#!/bin/sh\n[ \"$1\" = version ] && exit 0\n"
                                      "printf '%s\\n' \"$@\"\nsetsid sleep 1000 &\n"
                                      "exec sleep 1000\n";
    run("sh -c " + shell_word(receive_command(home_)) + " <" + path("program"));
  }
  ~SshScripts() override {
    for (const char* name : {"n1", "n2"}) script(end_script(node(name)));
  }

  std::string run(const std::string& command) {
    const std::unique_ptr<FILE, decltype(&::pclose)> pipe(::popen(command.c_str(), "r"), ::pclose);
    std::array<char, 4096> buffer;
    std::string output;
    while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe.get()))
      output.append(buffer.data(), n);
    return output;
  }
  std::string script(const std::string& text) {
    std::ofstream(path("script")) << text;
    return run("sh -s <" + path("script") + " 2>&1");
  }
  [[nodiscard]] RemoteNode node(const std::string& name) const { return {home_, cluster_, name}; }
  std::string start(const std::string& name) {
    return script(start_script({.node = node(name),
                                .sha256 = answer_of(script(prepare_script(node(name))), "sha256"),
                                .ca_pem = "PEM it's\n",
                                .token = "tok$en",
                                .arguments = {"agent", "a b'c\"d$e%f"}}));
  }
  [[nodiscard]] std::size_t left(const std::string& name) const {
    return kill_marked({"HOLDFAST_CLUSTER=" + cluster_, "HOLDFAST_NODE=" + name}, 0);
  }

  const std::string home_ = path("host");
  const std::string cluster_ = "uuid-of-" + folder().substr(folder().size() - 6);
};

TEST_F(SshScripts, StartAndEndAnAgent) {
  EXPECT_THAT(start("n1"), HasSubstr("started"));
  EXPECT_THAT(script(look_script(node("n1"))),
              testing::AllOf(HasSubstr("boot "), HasSubstr("\nalive\n")));
  EXPECT_EQ(*read_file(home_ + "/n1/ca.crt", 100), "PEM it's\n");
  EXPECT_EQ(*read_file(home_ + "/n1/join.token", 100), "tok$en");
  struct stat status {};
  ASSERT_EQ(::stat((home_ + "/n1/join.token").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 077, 0u) << "a password";
  EXPECT_THAT(script(end_script(node("n1"))), HasSubstr("ended"));
  EXPECT_EQ(left("n1"), 0u) << "also what has left its session";
  EXPECT_THAT(script(end_script(node("n1"))), HasSubstr("ended")) << "again";
}

TEST_F(SshScripts, ADeadAgentIsSeenWithItsLastWords) {
  start("n1");
  const auto log = [&] { return *read_file(home_ + "/n1/agent.log", 1000); };
  while (log().find("--folder") == std::string::npos) {
  }
  EXPECT_THAT(log(), HasSubstr("a b'c\"d$e%f\n"));
  kill_marked({"HOLDFAST_CLUSTER=" + cluster_}, 9);
  std::ofstream(home_ + "/n1/agent.log", std::ios::app) << "out of luck\n";
  EXPECT_THAT(script(look_script(node("n1"))), HasSubstr("dead out of luck"));
}

TEST_F(SshScripts, WhatANodeBeforeHasLeftGoes) {
  start("n1");
  EXPECT_THAT(start("n2"), HasSubstr("started"));
  EXPECT_EQ(left("n1"), 0u);
  // Started is not yet under its own name: that comes with its exec.
  const std::int64_t deadline = monotonic_ns() + seconds(10).ns;
  while (left("n2") == 0 && monotonic_ns() < deadline) {
  }
  EXPECT_GT(left("n2"), 0u);
}

TEST_F(SshScripts, AProgramThatIsAnotherIsNotStarted) {
  const std::string output =
      script(start_script({.node = node("n1"), .sha256 = std::string(64, '0')}));
  EXPECT_THAT(output, HasSubstr("is not what was sent"));
  EXPECT_EQ(answer_of(output, "started"), "");
}

TEST(SshAnswers, AreFoundByTheirWord) {
  EXPECT_EQ(answer_of("sha256 abc\nalive\n", "sha256"), "abc");
  EXPECT_EQ(answer_of("sha256 abc\nalive\n", "alive"), "alive");
  EXPECT_EQ(answer_of("sha256sum abc", "sha256"), "");
  EXPECT_EQ(answer_of("", "x"), "");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
}

}  // namespace
}  // namespace holdfast
