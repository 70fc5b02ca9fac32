#include "api/job_file.h"

#include <gtest/gtest.h>

#include <string>

namespace holdfast {
namespace {

Result<JobSpec> parse(const std::string& text) {
  return parse_job_file(text, "job.yaml", "/srv/ada");
}

constexpr const char* kWhole = R"(name: gpt-small
owner: ada
team: research
nodes: {min: 2, max: 4}
ranks_per_node: 8
instance_group: workers
allow_drifted: true
command: [python3, train.py, --lr, 0.1]
environment: {OMP_NUM_THREADS: 1, GREETING: "a b"}
working_folder: runs/../gpt/
checkpoint:
  folder: /scratch/ckpt
  interval_steps: 50
  keep: 5
  keep_every: 1000
  budget: 2GiB
retry: {attempts_without_progress_max: 2}
hang: {stall_s: 2.5, stall_factor: 4, first_step_s: 90}
memory_limit: 2GiB
request_token: 5f1c
)";

TEST(JobFile, EveryKeyArrives) {
  const auto spec = parse(kWhole);
  ASSERT_TRUE(spec.ok()) << spec.error().text();
  JobSpec expected;
  expected.name = "gpt-small";
  expected.owner = "ada";
  expected.team = "research";
  expected.nodes_min = 2;
  expected.nodes_max = 4;
  expected.ranks_per_node = 8;
  expected.instance_group = "workers";
  expected.allow_drifted = true;
  expected.command = {"python3", "train.py", "--lr", "0.1"};
  expected.environment = {{"OMP_NUM_THREADS", "1"}, {"GREETING", "a b"}};
  expected.working_folder = "/srv/ada/gpt";
  expected.checkpoint = {"/scratch/ckpt", 50, 5, 1000, 2ull << 30};
  expected.retry.attempts_without_progress_max = 2;
  expected.hang = {milliseconds(2500), 4, seconds(90)};
  expected.memory_limit_bytes = 2ull << 30;
  expected.request_token = "5f1c";
  EXPECT_EQ(*spec, expected);
}

TEST(JobFile, LittleIsEnough) {
  const auto spec = parse("{name: a, command: 'echo $HOME'}");
  ASSERT_TRUE(spec.ok()) << spec.error().text();
  EXPECT_EQ(spec->command, (std::vector<std::string>{"/bin/sh", "-c", "echo $HOME"}));
  EXPECT_EQ(spec->working_folder, "/srv/ada");
  EXPECT_EQ(spec->nodes_min, 1u);
  EXPECT_EQ(spec->nodes_max, 1u);
}

TEST(JobFile, JsonIsYaml) {
  const auto spec =
      parse("{\n\t\"name\": \"a\",\n\t\"nodes\": 3,\n\t\"command\": [\"x\\u00e9\"]\n}");
  ASSERT_TRUE(spec.ok()) << spec.error().text();
  EXPECT_EQ(spec->nodes_min, 3u);
  EXPECT_EQ(spec->command[0], "xé");
}

TEST(JobFile, BodyKeepsTheSpec) {
  const auto spec = parse(kWhole);
  ASSERT_TRUE(spec.ok());
  const auto again = parse_job_body(render_job_body(*spec));
  ASSERT_TRUE(again.ok()) << again.error().text();
  EXPECT_EQ(*again, *spec);
}

struct Bad {
  const char* text;
  const char* error;
};

constexpr const char* kRest = "\nname: a\ncommand: [x]";

TEST(JobFile, ErrorsNamePlaceFieldValueAndRemedy) {
  const Bad kBad[] = {
      {"nodes: 0", "HF1001: job.yaml:1: nodes: 0 is not allowed; give at least 1"},
      {"nodes: four", "HF1001: job.yaml:1: nodes: 'four' is not allowed; give a whole number"},
      {"nodes: '4'", "HF1001: job.yaml:1: nodes: '4' is not allowed; give a whole number"},
      {"nodes: -1", "HF1001: job.yaml:1: nodes: '-1' is not allowed; give a whole number"},
      {"nodes: 99999999999",
       "HF1001: job.yaml:1: nodes: '99999999999' is not allowed; give a whole number"},
      {"nodes: [1]", "HF1001: job.yaml:1: nodes: a list is not allowed; give a whole number"},
      {"nodes: {min: 5, max: 4}", "HF1001: job.yaml:1: nodes: min 5 is more than max 4; swap them"},
      {"nodes: {min: 5}", "HF1001: job.yaml:1: nodes: a map is not allowed; give both min and max"},
      {"nodes: {min: 1, mox: 4}",
       "HF1002: job.yaml:1: nodes.mox: no such field; did you mean max?"},
      {"nodes:", "HF1001: job.yaml:1: nodes: nothing is not allowed; give a whole number"},
      {"ranks_per_node: 0",
       "HF1001: job.yaml:1: ranks_per_node: 0 is not allowed; give at least 1"},
      {"comand: x", "HF1002: job.yaml:1: comand: no such field; did you mean command?"},
      {"zzz: 1",
       "HF1002: job.yaml:1: zzz: no such field; there are name, owner, team, nodes, "
       "ranks_per_node, instance_group, allow_drifted, command, environment, working_folder, "
       "checkpoint, retry, hang, "
       "memory_limit, request_token"},
      {"team: [a]", "HF1001: job.yaml:1: team: a list is not allowed; give a text"},
      {"team: a\nteam: b", "HF1001: job.yaml:2: team: given twice; remove one"},
      {"environment: [A]",
       "HF1001: job.yaml:1: environment: a list is not allowed; give NAME: value pairs"},
      {"environment: {A: [1]}",
       "HF1001: job.yaml:1: environment.A: a list is not allowed; give a text"},
      {"environment: {A=B: 1}",
       "HF1001: job.yaml:1: environment: the name 'A=B' is not allowed; use letters, digits and _"},
      {"working_folder: ~/x",
       "HF1001: job.yaml:1: working_folder: '~/x' is not allowed; ~ is not expanded here; write "
       "the whole path"},
      {"checkpoint: 5",
       "HF1001: job.yaml:1: checkpoint: '5' is not allowed; give `key: value` pairs, with the "
       "keys folder, interval_steps, keep, keep_every, budget"},
      {"checkpoint: {interval_steps: 5}",
       "HF1001: job.yaml:1: checkpoint.interval_steps: given without checkpoint.folder; give that "
       "too"},
      {"checkpoint: {folder: c,\n keep: 0}",
       "HF1001: job.yaml:2: checkpoint.keep: 0 is not allowed; give at least 1"},
      {"retry: {attempts_without_progress_max: 0}",
       "HF1001: job.yaml:1: retry.attempts_without_progress_max: 0 is not allowed; give at least "
       "1"},
      {"hang: {stall_s: soon}",
       "HF1001: job.yaml:1: hang.stall_s: 'soon' is not allowed; give a number of seconds"},
      {"hang: {stall_s: nan}",
       "HF1001: job.yaml:1: hang.stall_s: 'nan' is not allowed; give a number of seconds"},
      {"hang: {first_step_s: 0.5}",
       "HF1001: job.yaml:1: hang.first_step_s: not allowed; give 1 to 604800 seconds, or 0 for "
       "none"},
      {"hang: {stall_s: 0}",
       "HF1001: job.yaml:1: hang.stall_s: not allowed; give 0.1 to 604800 seconds"},
      {"memory_limit: 2GB",
       "HF1001: job.yaml:1: memory_limit: '2GB' is not allowed; write it like 2GiB, 512MiB or "
       "1073741824"},
      {"memory_limit: 99999999999TiB",
       "HF1001: job.yaml:1: memory_limit: '99999999999TiB' is not allowed; write it like 2GiB, "
       "512MiB or 1073741824"},
      {"memory_limit: 2",
       "HF1001: job.yaml:1: memory_limit: 2 bytes are not allowed; give at least 16MiB"},
  };
  for (const Bad& bad : kBad) {
    const auto spec = parse(std::string(bad.text) + kRest);
    ASSERT_FALSE(spec.ok()) << bad.text;
    EXPECT_EQ(spec.error().text(), bad.error) << bad.text;
  }
}

TEST(JobFile, ErrorsOfTheWhole) {
  const Bad kBad[] = {
      {"command: [x]", "HF1001: job.yaml:1: name: missing; give the job a name"},
      {"name: a", "HF1001: job.yaml:1: command: empty; give the program to run"},
      {"name: a\ncommand: []", "HF1001: job.yaml:2: command: empty; give the program to run"},
      {"name: a\ncommand: ''",
       "HF1001: job.yaml:2: command: '' is not allowed; give the program to run"},
      {"name: a\ncommand: [['x']]",
       "HF1001: job.yaml:2: command: a list is not allowed; give a text"},
      {"name: A b\ncommand: [x]",
       "HF1001: job.yaml:1: name: 'A b' is not allowed; use 1 to 63 of a-z, 0-9 and -, and do not "
       "begin with -"},
      {"name: j12\ncommand: [x]",
       "HF1001: job.yaml:1: name: 'j12' looks like a job id; choose another"},
      {"",
       "HF1001: job.yaml:1: job: nothing is not allowed; give `key: value` pairs, with the "
       "keys name, owner, team, nodes, ranks_per_node, instance_group, allow_drifted, command, "
       "environment, working_folder, "
       "checkpoint, retry, hang, memory_limit, request_token"},
      {"a: [b", "HF1007: job.yaml:1:1: end of sequence flow not found"},
      {"? [a, b]\n: c", "HF1007: job.yaml:1: a key is not a word; write `key: value` pairs"},
      {"a: [[[[[[[[1]]]]]]]]", "HF1007: job.yaml:1: nested too deep; a job has at most two levels"},
      {"a: &x [*x]", "HF1007: job.yaml:1: nested too deep; a job has at most two levels"},
  };
  for (const Bad& bad : kBad) {
    const auto spec = parse(bad.text);
    ASSERT_FALSE(spec.ok()) << bad.text;
    EXPECT_EQ(spec.error().text(), bad.error) << bad.text;
  }
}

TEST(JobFile, AliasesDoNotExplode) {
  std::string text = "a: &a [";
  for (int i = 0; i < 100; ++i) text += "1, ";
  text += "1]\n";
  for (char c = 'b'; c < 'f'; ++c) {
    text += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 20; ++i) text += std::string("*") + static_cast<char>(c - 1) + ", ";
    text += std::string("*") + static_cast<char>(c - 1) + "]\n";
  }
  const auto spec = parse(text);
  ASSERT_FALSE(spec.ok());
  EXPECT_EQ(spec.error().code, Errc::kUnparsable);
}

TEST(JobFile, HostileTextIsAnErrorNotACrash) {
  for (const std::string& text :
       {std::string(100'000, '['), std::string(100'000, '{'), std::string("\0\0\0", 3),
        std::string("\xff\xfe\xff"), std::string("name: \"\\ud800\""),
        std::string("--- !!binary x"), std::string("- a\n- b"), std::string(2 << 20, 'a'),
        std::string("%YAML 9.9\n---\na"), std::string("name: a\ncommand: [\"\xff\"]")}) {
    EXPECT_FALSE(parse(text).ok()) << text.substr(0, 20);
    EXPECT_FALSE(parse_job_body(text).ok()) << text.substr(0, 20);
  }
}

TEST(JobFile, BodyIsStrict) {
  const Bad kBad[] = {
      {"", "HF1007: job: the body is not JSON; send a JSON object"},
      {"[]",
       "HF1001: job: a list is not allowed; give `key: value` pairs, with the keys name, "
       "owner, team, nodes, ranks_per_node, instance_group, allow_drifted, command, environment, "
       "working_folder, "
       "checkpoint, retry, hang, memory_limit, request_token"},
      {R"({"name":"a","command":["x"]})",
       "HF1001: working_folder: '' is not allowed; give an absolute path"},
      {R"({"name":"a","command":["x"],"working_folder":"runs"})",
       "HF1001: working_folder: 'runs' is not allowed; give an absolute path"},
      {R"({"name":"a","command":["x"],"working_folder":"/","nodes":1.5})",
       "HF1001: nodes: '1.5' is not allowed; give a whole number"},
      {R"({"name":"a","command":["x\u0000y"],"working_folder":"/"})",
       "HF1001: command: has a NUL byte; remove it"},
  };
  for (const Bad& bad : kBad) {
    const auto spec = parse_job_body(bad.text);
    ASSERT_FALSE(spec.ok()) << bad.text;
    EXPECT_EQ(spec.error().text(), bad.error) << bad.text;
  }
}

TEST(JobFile, Bytes) {
  EXPECT_EQ(*parse_bytes("1024", "x"), 1024u);
  EXPECT_EQ(*parse_bytes("3 MiB", "x"), 3u << 20);
  EXPECT_FALSE(parse_bytes("", "x").ok());
  EXPECT_FALSE(parse_bytes("1.5GiB", "x").ok());
}

}  // namespace
}  // namespace holdfast
