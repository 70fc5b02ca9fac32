#include "apps/rank_environment.h"

#include <gtest/gtest.h>

namespace holdfast {
namespace {

TEST(RankEnvironment, IsWhatTorchrunGives) {
  server_message::StartRanks start{.job = JobId{1},
                                   .attempt = Attempt{3},
                                   .group_rank = 2,
                                   .nodes = 4,
                                   .master_address = "10.0.0.1",
                                   .master_port = 2345};
  start.spec.ranks_per_node = 8;
  start.spec.environment = {{"PYTHONPATH", "/mine"}, {"A", "b"}};
  const auto env =
      rank_environment(start, 5, "llama", NodeId{7}, {"l", "p", "e", "s"}, "/hf", {{"A", "x"}});
  EXPECT_EQ(env.at("RANK"), "21");
  EXPECT_EQ(env.at("LOCAL_RANK"), "5");
  EXPECT_EQ(env.at("GROUP_RANK"), "2");
  EXPECT_EQ(env.at("WORLD_SIZE"), "32");
  EXPECT_EQ(env.at("LOCAL_WORLD_SIZE"), "8");
  EXPECT_EQ(env.at("TORCHELASTIC_RESTART_COUNT"), "2");
  EXPECT_EQ(env.at("MASTER_ADDR") + ":" + env.at("MASTER_PORT"), "10.0.0.1:2345");
  EXPECT_EQ(env.at("PYTHONPATH"), "/hf:/mine");
  EXPECT_EQ(env.at("A"), "b");
  EXPECT_EQ(env.at("HOLDFAST_NODE"), "n7");
  EXPECT_EQ(env.count("HOLDFAST_CHECKPOINT_DIR"), 0u);
}

TEST(PythonCommand, ForksOnlyWhatItCanRunExactly) {
  const auto script = python_command({"/usr/bin/python3.11", "-u", "train.py", "--lr", "1"});
  ASSERT_TRUE(script.has_value());
  EXPECT_EQ(script->target, "train.py");
  EXPECT_EQ(script->arguments, (std::vector<std::string>{"--lr", "1"}));
  const auto module = python_command({"python3", "-m", "pkg.train"});
  ASSERT_TRUE(module.has_value());
  EXPECT_TRUE(module->is_module);
  for (const std::vector<std::string>& cold :
       std::vector<std::vector<std::string>>{{"python3"},
                                             {"python3", "-c", "pass"},
                                             {"python3", "-m"},
                                             {"python3", "-O", "t.py"},
                                             {"pythonic", "t.py"},
                                             {"bash", "run.sh"},
                                             {"python3-config", "x"}})
    EXPECT_FALSE(python_command(cold).has_value()) << cold.back();
}

}  // namespace
}  // namespace holdfast
