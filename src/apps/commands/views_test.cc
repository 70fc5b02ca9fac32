#include "apps/commands/views.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include "model/codec.h"
#include "model/incident.h"
#include "model/job.h"
#include "model/node.h"

namespace holdfast {
namespace {

using nlohmann::json;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kWall = 1'764'000'000 * kSecond;  // 2025-11-24 16:00:00 UTC

class ViewsTest : public testing::Test {
 protected:
  ViewsTest() {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }
};

Instant at_ms(std::int64_t ms) {
  return {100 * kSecond + ms * 1'000'000};
}

NodeRecord node(std::uint32_t id, std::uint32_t place, NodeState state, JobId job = {}) {
  NodeRecord record;
  record.id = {id};
  record.place = place;
  record.state = state;
  record.since = at_ms(0);
  record.job = job;
  return record;
}

IncidentRecord incident() {
  IncidentRecord record;
  record.id = {1};
  record.job = {1};
  record.state = IncidentState::kRecovered;
  record.phases = {at_ms(0), at_ms(120), at_ms(122), at_ms(1022), at_ms(3122), at_ms(3422)};
  Verdict verdict;
  verdict.cause = CauseClass::kHost;
  verdict.action = Action::kReplaceNode;
  verdict.confidence = Confidence::kHigh;
  verdict.summary = "Node n2 went silent.";
  verdict.nodes = {NodeId{2}};
  verdict.evidence = {{"no heartbeat for 3.0 s", NodeId{2}, std::nullopt, at_ms(0)},
                      {"connection reset by peer", NodeId{1}, 0, at_ms(40)}};
  record.verdicts = {verdict};
  record.first_attempt = {1};
  record.last_attempt = {2};
  record.step_reached = 1234;
  record.restored_step = 1200;
  record.steps_lost = 34;
  record.story = {{at_ms(0), "n2 is lost"}, {at_ms(122), "n5 takes place 2"}};
  return record;
}

Clocks clocks() {
  return {at_ms(60'000).ns, kWall};
}

json event(std::int64_t seq, const char* severity, const char* kind, const char* text) {
  return {{"seq", seq},         {"wall_unix_ns", kWall - 12 * kSecond},
          {"at_ns", 0},         {"severity", severity},
          {"kind", kind},       {"text", text},
          {"node", "n2"},       {"job", "j1"},
          {"incident", nullptr}};
}

json status_of(NodeState second) {
  ClusterSpec spec;
  spec.name = "demo";
  spec.groups = one_group(2, 1);
  return {{"cluster", "demo"},
          {"spec", to_json_value(spec)},
          {"breaker", {{"open", false}}},
          {"nodes",
           {to_json_value(node(1, 1, NodeState::kHealthy, {1})), to_json_value(node(2, 2, second)),
            to_json_value(node(3, 0, NodeState::kHealthy))}},
          {"jobs", json::array({{{"id", "j1"},
                                 {"name", "gpt"},
                                 {"state", "running"},
                                 {"reason", ""},
                                 {"attempt", "a2"},
                                 {"step", 1500},
                                 {"nodes", {"n1"}}}})},
          {"incidents_open", json::array()},
          {"now_ns", at_ms(60'000).ns},
          {"wall_unix_ns", kWall},
          {"server_pid", 1}};
}

TEST_F(ViewsTest, Event) {
  EXPECT_EQ(event_line(event(1, "alert", "node.lost", "node n2 is\n\x1b[2Jsilent"), Paint{}),
            "2025-11-24 15:59:48  alert    node.lost           node n2 is ?[2Jsilent  (n2 j1)");
  EXPECT_EQ(event_line(event(1, "info", "job.a_very_long_kind", "x"), Paint{}),
            "2025-11-24 15:59:48  info     job.a_very_long_kind  x  (n2 j1)");
}

TEST_F(ViewsTest, HealthyStatus) {
  EXPECT_EQ(status_page(status_of(NodeState::kHealthy), Paint{}),
            "cluster demo  2 nodes, 1 spare  everything is healthy\n"
            "\n"
            "PLACE  NODE  STATE    FOR        JOB  REASON\n"
            "    1  n1    healthy  1 min 0 s  j1\n"
            "    2  n2    healthy  1 min 0 s  -\n"
            "spare  n3    healthy  1 min 0 s  -\n"
            "\n"
            "JOB  NAME  STATE    ATTEMPT  STEP  NODES  REASON\n"
            "j1   gpt   running  a2       1500  n1\n");
}

TEST_F(ViewsTest, StatusThatIsNotHealthy) {
  EXPECT_NE(status_page(status_of(NodeState::kSuspect), Paint{}).find("needs attention"),
            std::string::npos);
  json missing = status_of(NodeState::kHealthy);
  missing["nodes"].erase(2);  // no spare
  EXPECT_NE(status_page(missing, Paint{}).find("needs attention"), std::string::npos);
  json ended = status_of(NodeState::kHealthy);
  ended["jobs"][0]["state"] = "failed";
  EXPECT_NE(status_page(ended, Paint{}).find("1 job has ended"), std::string::npos);
  json open = status_of(NodeState::kHealthy);
  open["breaker"]["open"] = true;
  EXPECT_NE(status_page(open, Paint{}).find("the circuit breaker is open"), std::string::npos);
}

TEST_F(ViewsTest, IncidentReport) {
  EXPECT_EQ(incident_report(to_json_value(incident()), clocks(), Paint{}),
            "incident i1  job j1  recovered  3.4 s from the first sign to the next step\n"
            "\n"
            "  what happened     Node n2 went silent.\n"
            "  cause             host (confidence high)\n"
            "  action            replace_node\n"
            "  nodes             n2\n"
            "  began             2025-11-24 15:59:00\n"
            "  lost              34 steps (step 1234 was reached, 1200 restored)\n"
            "  attempts          a1 was hit, a2 went on\n"
            "\n"
            "Evidence\n"
            "    +0.000 s  n2            no heartbeat for 3.0 s\n"
            "    +0.040 s  n1 rank 0     connection reset by peer\n"
            "\n"
            "Timeline\n"
            "  drained         120 ms  █\n"
            "  decided           2 ms   █\n"
            "  started         900 ms   █████████████\n"
            "  restored       2100 ms                █████████████████████████████\n"
            "  first_step      300 ms                                             █████\n"
            "  total          3422 ms\n"
            "\n"
            "Story\n"
            "    +0.000 s  n2 is lost\n"
            "    +0.122 s  n5 takes place 2\n");
}

TEST_F(ViewsTest, IncidentWhoseSecondRoundFailed) {
  IncidentRecord record = incident();
  record.state = IncidentState::kFailed;
  record.phases = {at_ms(0), at_ms(500), at_ms(510), at_ms(100), at_ms(200), std::nullopt};
  record.verdicts[0].evidence = {{"Traceback:\n  line 1\n", NodeId{1}, 0, at_ms(40)}};
  record.story.clear();
  const std::string report = incident_report(to_json_value(record), clocks(), Paint{});
  EXPECT_NE(report.find("a1 was hit, a2 was the last"), std::string::npos) << report;
  EXPECT_NE(
      report.find("    +0.040 s  n1 rank 0     Traceback:\n"
                  "                              line 1\n"
                  "\n"
                  "Timeline\n"
                  "  drained         500 ms  ███████████████████████████████████████████████\n"
                  "  decided          10 ms                                                 █\n"
                  "  total           510 ms\n"),
      std::string::npos)
      << report;
}

TEST_F(ViewsTest, IncidentThatHasJustBegun) {
  IncidentRecord record;
  record.id = {2};
  record.job = {1};
  record.phases[0] = at_ms(59'000);
  EXPECT_EQ(incident_report(to_json_value(record), clocks(), Paint{}),
            "incident i2  job j1  open  1.0 s since the first sign\n"
            "\n"
            "  what happened     not known yet\n"
            "  began             2025-11-24 15:59:59\n"
            "  lost              not known (step 0 was reached)\n");
}

TEST_F(ViewsTest, LiveView) {
  JobRecord record;
  record.id = {1};
  record.spec.name = "gpt";
  record.state = JobState::kRunning;
  record.attempt.number = {2};
  record.committed_step = 1400;
  LiveJob live;
  live.job = to_json_value(record);
  live.job["step"] = 1500;
  live.job["steps_per_s"] = 12.34;
  live.job["ranks"] = json::array();
  for (int rank = 0; rank < 2; ++rank)
    live.job["ranks"].push_back({{"rank", rank},
                                 {"node", rank == 0 ? "n1" : "n5"},
                                 {"place", rank + 1},
                                 {"pid", nullptr},
                                 {"state", "running"},
                                 {"step", 1500 - rank},
                                 {"steps_per_s", 12.34},
                                 {"slow", rank == 0 ? json() : json("2 s a step; its peers 1 s")},
                                 {"loss", rank == 0 ? json(2.5) : json(nullptr)}});
  live.status = status_of(NodeState::kHealthy);
  live.incident = to_json_value(incident());
  live.speeds[0] = {0, 5, 10};
  live.events.push_back(event(1, "warning", "node.lost", "node n2 is silent"));
  std::string text;
  for (const std::string& line : live_lines(live, kWall, Screen{})) text += line + "\n";
  EXPECT_EQ(text,
            "gpt j1  running  attempt a2  step 1500  12.3 steps/s  loss 2.5000  commit 1400\n"
            "\n"
            "PLACE  NODE  RANK  STATE          STEP  STEPS/S    LOSS  SPEED\n"
            "    1  n1       0  running        1500     12.3  2.5000  ▁▅█\n"
            "    2  n5       1  running, slow  1499     12.3       -\n"
            "spares  n3 healthy\n"
            "\n"
            "i1 recovered in 3.4 s, 34 steps lost\n"
            "   drained 120 ms  decided 2 ms  started 900 ms  restored 2.1 s  first_step 300 ms\n"
            "   host, replace_node (confidence high): Node n2 went silent.\n"
            "\n"
            "      12.0 s ago  node n2 is silent\n");
}

TEST_F(ViewsTest, ManyRanksAreCutToTheScreen) {
  LiveJob live;
  for (int rank = 0; rank < 500; ++rank) live.job["ranks"].push_back({{"rank", rank}});
  Screen screen;
  screen.height = 30;
  EXPECT_LT(live_lines(live, kWall, screen).size(), 30u);
}

// What an older or newer server may answer.
TEST_F(ViewsTest, OddAnswersDoNotThrow) {
  for (const json& odd : {json(), json::object(), json{{"nodes", 5}, {"jobs", "x"}},
                          json{{"ranks", 7}, {"verdicts", 1}, {"phases", {{"noticed_ns", "x"}}}}}) {
    EXPECT_NE(status_page(odd, Paint{}), "");
    EXPECT_NE(event_line(odd, Paint{}), "");
    EXPECT_NE(job_page(odd, {}, Paint{}), "");
    EXPECT_NE(node_page(odd, {}, Paint{}), "");
    EXPECT_NE(incident_report(odd, {}, Paint{}), "");
    EXPECT_FALSE(live_lines(LiveJob{odd, odd, odd, {odd}, {}}, 0, Screen{}).empty());
  }
}

}  // namespace
}  // namespace holdfast
