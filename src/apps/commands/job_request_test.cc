#include "apps/commands/job_request.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "apps/commands/ballast.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

class JobRequestTest : public ScratchFolder {
 protected:
  JobRequestTest() {
    std::filesystem::create_directory(path("bin"));
    make_program("bin/python3");
    ::setenv("PATH", path("bin").c_str(), 1);
    std::ofstream(path("train.py")) << "pass\n";
  }

  void make_program(const std::string& name) {
    std::ofstream(path(name)) << "#!/bin/sh\n";
    std::filesystem::permissions(path(name), std::filesystem::perms::owner_all);
  }

  JobSpec spec(std::vector<std::string> command) {
    JobSpec spec;
    spec.name = "a";
    spec.command = std::move(command);
    spec.working_folder = folder();
    return spec;
  }
};

TEST_F(JobRequestTest, FillsInWhatTheSubmitterHas) {
  ::setenv("VIRTUAL_ENV", "/venv", 1);
  JobSpec asked = spec({"python3", "-u", "train.py"});
  asked.environment["VIRTUAL_ENV"] = "/mine";
  const auto complete = complete_job(asked);
  ::unsetenv("VIRTUAL_ENV");
  ASSERT_TRUE(complete.ok()) << complete.error().text();
  EXPECT_EQ(complete->command[0], path("bin/python3"));
  EXPECT_EQ(complete->environment.at("PATH"), path("bin"));
  EXPECT_EQ(complete->environment.at("VIRTUAL_ENV"), "/mine");
  EXPECT_FALSE(complete->owner.empty());
  EXPECT_EQ(complete->request_token.size(), 32u);
}

TEST_F(JobRequestTest, ProgramsAreFoundWhereTheSubmitterIs) {
  make_program("run.sh");
  const auto beside = complete_job(spec({"./run.sh"}));
  ASSERT_TRUE(beside.ok()) << beside.error().text();
  EXPECT_EQ(beside->command[0], path("run.sh"));
  const auto missing = complete_job(spec({"pyhton3", "train.py"}));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().text(),
            "HF1001: command: no program 'pyhton3' on the PATH; check its name or give its whole "
            "path");
  EXPECT_FALSE(complete_job(spec({"bin"})).ok());  // a folder
}

TEST_F(JobRequestTest, WhatIsMissingOnDiskIsNamed) {
  const auto script = complete_job(spec({"python3", "trian.py"}));
  ASSERT_FALSE(script.ok());
  EXPECT_EQ(script.error().text(), "HF1001: command: no script '" + path("trian.py") +
                                       "'; check its name and the working folder");
  JobSpec elsewhere = spec({"python3", "train.py"});
  elsewhere.working_folder = path("none");
  EXPECT_EQ(complete_job(elsewhere).error().text(),
            "HF1001: working_folder: '" + path("none") + "' is no folder; make it first");
  JobSpec checkpoint = spec({"python3", "train.py"});
  checkpoint.checkpoint.folder = path("none/ckpt");
  EXPECT_EQ(complete_job(checkpoint).error().text(),
            "HF1001: checkpoint.folder: '" + path("none") + "' is no folder; make it first");
  EXPECT_TRUE(complete_job(spec({"python3", "-m", "x.py"})).ok());
}

TEST_F(JobRequestTest, ReadsAFile) {
  std::ofstream(path("job.yaml")) << "name: a\ncommand: [python3, train.py]\n";
  const auto spec = read_job_file(path("job.yaml"));
  ASSERT_TRUE(spec.ok()) << spec.error().text();
  EXPECT_EQ(spec->working_folder, folder());
  EXPECT_FALSE(read_job_file(path("none.yaml")).ok());
}

TEST(JobName, ComesFromTheScript) {
  EXPECT_EQ(name_after({"python3", "-u", "src/Train_GPT.py", "x.py"}, "5f"), "train-gpt-5f");
  EXPECT_EQ(name_after({"/usr/bin/env"}, "5f"), "env-5f");
  EXPECT_EQ(name_after({"python3", "-m", "torch"}, "5f"), "python3-5f");
  EXPECT_EQ(name_after({"___"}, "5f"), "job-5f");
}

TEST_F(JobRequestTest, BallastLeavesTheRootFileSystemAlone) {
  const auto filled = Ballast{"/", false}.fill();
  ASSERT_FALSE(filled.ok());
  EXPECT_NE(filled.error().detail.find("root file system"), std::string::npos);
  EXPECT_FALSE((Ballast{path("none"), false}).fill().ok());
}

}  // namespace
}  // namespace holdfast
