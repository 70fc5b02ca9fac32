#include "api/rest.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace holdfast {
namespace {

HttpRequest get(const std::string& path, std::map<std::string, std::string> query = {}) {
  return {"GET", path, std::move(query), ""};
}
HttpRequest post(const std::string& path, const std::string& body = "") {
  return {"POST", path, {}, body};
}

template <class T>
T expect(const HttpRequest& request) {
  const auto ask = parse_request(request);
  EXPECT_TRUE(ask.ok()) << request.path << ": " << (ask.ok() ? "" : ask.error().text());
  if (!ask.ok() || !std::holds_alternative<T>(*ask)) {
    ADD_FAILURE() << request.method << " " << request.path << ": another request than expected";
    return {};
  }
  return std::get<T>(*ask);
}

TEST(Rest, Routes) {
  expect<ask::Status>(get("/v1/status"));
  expect<ask::ListNodes>(get("/v1/nodes"));
  expect<ask::AddNode>(post("/v1/nodes"));
  EXPECT_EQ(expect<ask::DescribeNode>(get("/v1/nodes/n3")).node, NodeId{3});
  EXPECT_EQ(expect<ask::ReplaceNode>(post("/v1/nodes/n3/replace")).node, NodeId{3});
  EXPECT_EQ(expect<ask::ThawNode>(post("/v1/nodes/n3/thaw")).node, NodeId{3});
  expect<ask::ListJobs>(get("/v1/jobs"));
  EXPECT_EQ(expect<ask::DescribeJob>(get("/v1/jobs/j7")).job, (JobRef{JobId{7}, ""}));
  EXPECT_EQ(expect<ask::DescribeJob>(get("/v1/jobs/jay")).job, (JobRef{JobId{}, "jay"}));
  EXPECT_EQ(expect<ask::StopJob>(post("/v1/jobs/a/stop")).job.name, "a");
  expect<ask::ListIncidents>(get("/v1/incidents"));
  EXPECT_EQ(expect<ask::DescribeIncident>(get("/v1/incidents/i2")).incident, IncidentId{2});
  expect<ask::CloseBreaker>(post("/v1/breaker/close"));
  expect<ask::OpenApi>(get("/v1/openapi"));
  expect<ask::ListKeys>(get("/v1/keys"));
  EXPECT_EQ(expect<ask::CreateKey>(post("/v1/keys", R"({"role":"operator"})")).role,
            AccessRole::kOperator);
  EXPECT_EQ(expect<ask::DisableKey>(post("/v1/keys/AKIA1/disable")).id, "AKIA1");
  EXPECT_EQ(expect<ask::DeleteKey>(post("/v1/keys/AKIA1/delete")).id, "AKIA1");
  expect<ask::Down>(post("/v1/down"));
}

TEST(Rest, Submit) {
  const auto submit = expect<ask::Submit>(
      post("/v1/jobs", R"({"name":"a","command":["x"],"working_folder":"/","nodes":2})"));
  EXPECT_EQ(submit.spec.nodes_max, 2u);
}

TEST(Rest, Inject) {
  const auto kill =
      expect<ask::InjectJob>(post("/v1/jobs/a/inject", R"({"what":"rank-kill","rank":3})"));
  EXPECT_EQ(kill.what, Injection::kRankKill);
  EXPECT_EQ(kill.rank, 3u);
  EXPECT_EQ(kill.signal, 9);
  const auto line =
      expect<ask::InjectNode>(post("/v1/nodes/n1/inject", R"({"what":"kmsg","line":"Xid 79"})"));
  EXPECT_EQ(line.what, Injection::kKernelLog);
  EXPECT_EQ(line.line, "Xid 79");
}

TEST(Rest, ABodyThatNestsWithoutEndIsRefused) {
  const std::string deep = std::string(500'000, '[') + std::string(500'000, ']');
  for (const char* target : {"/v1/jobs/a/inject", "/v1/nodes/n1/inject", "/v1/keys"}) {
    const std::string body = R"({"what":)" + deep + R"(,"role":)" + deep + "}";
    const auto asked = parse_request(post(target, body));
    ASSERT_FALSE(asked.ok()) << target;
    EXPECT_EQ(asked.error().code, Errc::kUnparsable);
  }
}

TEST(Rest, Queries) {
  const auto logs = expect<ask::JobLogs>(get("/v1/jobs/a/logs"));
  EXPECT_FALSE(logs.attempt);
  EXPECT_EQ(logs.max_bytes, 64u << 10);
  const auto more = expect<ask::JobLogs>(
      get("/v1/jobs/a/logs",
          {{"attempt", "2"}, {"rank", "3"}, {"offset", "9999999999"}, {"max_bytes", "1"}}));
  EXPECT_EQ(more.attempt, Attempt{2});
  EXPECT_EQ(more.offset, 9999999999u);
  const auto newest = expect<ask::Events>(get("/v1/events"));
  EXPECT_FALSE(newest.after.has_value());
  EXPECT_EQ(newest.limit, 100u);
  const auto events = expect<ask::Events>(get("/v1/events", {{"after", "0"}, {"wait_ms", "500"}}));
  EXPECT_EQ(events.after, 0u);
  EXPECT_EQ(events.wait, milliseconds(500));
}

TEST(Rest, BadRequests) {
  const struct {
    HttpRequest request;
    const char* error;
  } kBad[] = {
      {get("/"), "HF1003: GET /: no such address; the API is described in docs/api.md"},
      {get("/v1"), "HF1003: GET /v1: no such address; the API is described in docs/api.md"},
      {get("/v2/status"),
       "HF1003: GET /v2/status: no such address; the API is described in docs/api.md"},
      {get("/v1/nodes/"),
       "HF1003: GET /v1/nodes/: no such address; the API is described in docs/api.md"},
      {get("/v1//nodes"),
       "HF1003: GET /v1//nodes: no such address; the API is described in docs/api.md"},
      {post("/v1/status"),
       "HF1003: POST /v1/status: no such address; the API is described in docs/api.md"},
      {get("/v1/nodes/n1/replace"),
       "HF1003: GET /v1/nodes/n1/replace: no such address; the API is described in docs/api.md"},
      {{"DELETE", "/v1/nodes/n1", {}, ""},
       "HF1003: DELETE /v1/nodes/n1: no such address; the API is described in docs/api.md"},
      {get("/v1/nodes/3"), "HF1001: node: '3' is not allowed; give an id like n1"},
      {get("/v1/nodes/n0"), "HF1001: node: 'n0' is not allowed; give an id like n1"},
      {get("/v1/nodes/n4294967296"),
       "HF1001: node: 'n4294967296' is not allowed; give an id like n1"},
      {get("/v1/nodes/n-1"), "HF1001: node: 'n-1' is not allowed; give an id like n1"},
      {get("/v1/incidents/n1"), "HF1001: incident: 'n1' is not allowed; give an id like i1"},
      {get("/v1/events", {{"limit", "0"}}),
       "HF1001: limit: '0' is not allowed; give a whole number from 1 to 1000"},
      {get("/v1/events", {{"wait_ms", "99999999"}}),
       "HF1001: wait_ms: '99999999' is not allowed; give a whole number from 0 to 30000"},
      {get("/v1/events", {{"aftr", "1"}}),
       "HF1002: aftr: no such query parameter; did you mean after?"},
      {get("/v1/status", {{"x", "1"}}), "HF1002: x: no such query parameter; remove it"},
      {get("/v1/jobs/a/logs", {{"rank", "-1"}}),
       "HF1001: rank: '-1' is not allowed; give a whole number from 0 to 4294967295"},
      {get("/v1/jobs/a/logs", {{"offset", "1e3"}}),
       "HF1001: offset: '1e3' is not allowed; give a whole number from 0"},
      {post("/v1/nodes/n1/inject", ""),
       "HF1007: the body is not a JSON object; send {\"what\": ...}"},
      {post("/v1/nodes/n1/inject", "{}"), "HF1001: what: missing; say what to inject"},
      {post("/v1/nodes/n1/inject", R"({"what":"rank-kill"})"),
       "HF1001: what: '\"rank-kill\"' is not allowed; give one of node-kill, node-freeze, kmsg, "
       "gpu"},
      {post("/v1/nodes/n1/inject", R"({"what":"kmsg"})"),
       "HF1001: line: missing; give the kernel log line"},
      {post("/v1/nodes/n1/inject", R"({"what":"kmsg","line":"a\nb"})"),
       "HF1001: line: '\"a\\nb\"' is not allowed; give one line of text, at most 4 KiB"},
      {post("/v1/jobs/a/inject", R"({"what":"rank-kill","signal":0})"),
       "HF1001: signal: '0' is not allowed; give a whole number from 1 to 64"},
      {post("/v1/jobs/a/inject", R"({"what":"hang","rank":4294967296})"),
       "HF1001: rank: '4294967296' is not allowed; give a whole number from 0"},
      {post("/v1/jobs/a/inject", R"({"what":"hang","who":1})"),
       "HF1002: who: no such field; there are what, rank, signal, line"},
      {post("/v1/jobs", "{"), "HF1007: job: the body is not JSON; send a JSON object"},
  };
  for (const auto& bad : kBad) {
    const auto ask = parse_request(bad.request);
    ASSERT_FALSE(ask.ok()) << bad.error;
    EXPECT_EQ(ask.error().text(), bad.error);
  }
}

TEST(Rest, BadKeyRequests) {
  const struct {
    HttpRequest request;
    const char* error;
  } kBad[] = {
      {post("/v1/keys", "{}"),
       "HF1001: role: '' is not allowed; give one of viewer, operator, admin"},
      {post("/v1/keys", R"({"role":"root"})"),
       "HF1001: role: '\"root\"' is not allowed; give one of viewer, operator, admin"},
      {post("/v1/keys", R"({"role":"admin","id":"x"})"),
       "HF1002: id: no such field; there is role"},
      {post("/v1/keys/a-b/delete"),
       "HF1001: key: 'a-b' is not allowed; give the id of an access key, like "
       "AKIA0123456789ABCDEF"},
      {get("/v1/keys/AKIA1"),
       "HF1003: GET /v1/keys/AKIA1: no such address; the API is described in docs/api.md"},
  };
  for (const auto& bad : kBad) {
    const auto ask = parse_request(bad.request);
    ASSERT_FALSE(ask.ok()) << bad.error;
    EXPECT_EQ(ask.error().text(), bad.error);
  }
}

TEST(Rest, ErrorsTravel) {
  const Error error{Errc::kNameExists, "name: 'a' is taken; choose another \xff"};
  const HttpResponse response = render_error(error);
  EXPECT_EQ(response.status, 409);
  const auto body = nlohmann::json::parse(response.body);
  EXPECT_EQ(body["error"]["code"], "HF1004");
  EXPECT_EQ(body["error"]["explain"], "holdfast explain HF1004");
  const Error back = read_error(response);
  EXPECT_EQ(back.code, Errc::kNameExists);
  EXPECT_EQ(back.detail, "name: 'a' is taken; choose another \xEF\xBF\xBD");
}

TEST(Rest, StatusPerCode) {
  EXPECT_EQ(render_error({Errc::kInvalidField, ""}).status, 400);
  EXPECT_EQ(render_error({Errc::kNotFound, ""}).status, 404);
  EXPECT_EQ(render_error({Errc::kUnauthenticated, ""}).status, 401);
  EXPECT_EQ(render_error({Errc::kUnavailable, ""}).status, 503);
  EXPECT_EQ(render_error({Errc::kIo, ""}).status, 500);
}

TEST(Rest, AnErrorThatIsNoneOfOursIsStillAnError) {
  for (const char* body : {"", "{}", "[1]", R"({"error":7})", R"({"error":{"code":1}})"})
    EXPECT_EQ(read_error({502, body}).code, Errc::kUnavailable) << body;
}

}  // namespace
}  // namespace holdfast
