#include "apps/commands/commands.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace holdfast {
namespace {

using Words = std::vector<std::string>;

TEST(RunCommand, IsCutOffWhereTheOptionsEnd) {
  const struct {
    Words line;
    Words rest;
    Words command;
  } kLines[] = {
      {{"run", "python3", "x.py", "--lr", "1"}, {"run"}, {"python3", "x.py", "--lr", "1"}},
      {{"run", "--nodes", "4", "--json", "ls"}, {"run", "--nodes", "4", "--json"}, {"ls"}},
      {{"run", "--nodes=4", "node", "status"}, {"run", "--nodes=4"}, {"node", "status"}},
      {{"run", "--", "-x", "--", "y"}, {"run"}, {"-x", "--", "y"}},
      {{"run", "--env", "A=1", "--env", "B=2", "ls"},
       {"run", "--env", "A=1", "--env", "B=2"},
       {"ls"}},
      {{"run", "-f", "job.yaml"}, {"run", "-f", "job.yaml"}, {}},
      {{"run", "--nodez", "4", "ls"}, {"run", "--nodez", "4", "ls"}, {}},
      {{"run", "--nodes"}, {"run", "--nodes"}, {}},
      {{"run"}, {"run"}, {}},
      {{"status", "x"}, {"status", "x"}, {}},
      {{}, {}, {}},
  };
  CLI::App app;
  const Words no_command;
  add_run(app, no_command);
  for (const auto& line : kLines) {
    Words args = line.line;
    EXPECT_EQ(cut_run_command(app, args), line.command);
    EXPECT_EQ(args, line.rest);
  }
}

int code_of_finish(const std::function<Result<int>()>& command) {
  try {
    finish(command);
  } catch (const CLI::RuntimeError& error) {
    return error.get_exit_code();
  }
  return 0;
}

TEST(Finish, GivesTheExitCode) {
  EXPECT_EQ(code_of_finish([] { return Result<int>(0); }), 0);
  EXPECT_EQ(code_of_finish([] { return Result<int>(42); }), 42);
  const auto failing = [](Errc code) {
    return code_of_finish([code] { return Result<int>(Error{code, "x"}); });
  };
  EXPECT_EQ(failing(Errc::kUnknownField), kExitBadInput);
  EXPECT_EQ(failing(Errc::kUnavailable), kExitUnavailable);
  EXPECT_EQ(failing(Errc::kNotFound), kExitNotFound);
  EXPECT_EQ(failing(Errc::kNameExists), kExitRefused);
  EXPECT_EQ(failing(Errc::kDiskFull), kExitMachine);
  EXPECT_EQ(failing(Errc::kUnauthenticated), kExitDenied);
  EXPECT_EQ(code_of_finish([]() -> Result<int> { return nlohmann::json("x").get<int>(); }),
            kExitBadInput);
}

}  // namespace
}  // namespace holdfast
