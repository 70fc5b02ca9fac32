#pragma once

// The control plane's REST face, without its sockets.
//
//   GET  /v1/status
//   GET  /v1/openapi                      docs/openapi.yaml
//   GET  /v1/nodes
//   GET  /v1/nodes/{n3}
//   POST /v1/nodes                        one machine more
//   POST /v1/nodes/{n3}/replace
//   POST /v1/nodes/{n3}/thaw
//   POST /v1/nodes/{n3}/inject            {"what": "node-kill" | "node-freeze"}
//                                         {"what": "kmsg", "line": L}
//                                         {"what": "gpu", "line": CHANGE}, of the node's recorded
//                                         machine (drivers/recorded_machine.h)
//   GET  /v1/jobs
//   POST /v1/jobs                         body: api/job_file.h; answers 201
//   GET  /v1/jobs/{name or j1}            with a live view of its ranks
//   POST /v1/jobs/{name or j1}/stop
//   POST /v1/jobs/{name or j1}/inject     {"what": "rank-kill", "rank": R, "signal": S}
//                                         {"what": "hang" | "oom", "rank": R}
//   GET  /v1/jobs/{name or j1}/logs       ?rank=0&attempt=&offset=0&max_bytes=65536
//   GET  /v1/incidents
//   GET  /v1/incidents/{i1}
//   GET  /v1/events                       ?after=&limit=100&wait_ms=0: those behind `after`,
//                                         waiting for the first; without it the newest ones
//   GET  /v1/checks                       runs of deep checks, newest last
//   POST /v1/checks                       body: api/check_file.h; answers 202 {"check": "c1"}
//   GET  /v1/checks/{c1}
//   GET  /v1/keys                         access keys of the HyperPod API, without their secrets
//   POST /v1/keys                         {"role": "viewer" | "operator" | "admin"}; answers 201
//                                         {"key": {...}, "secret": S}
//   POST /v1/keys/{ID}/disable
//   POST /v1/keys/{ID}/delete
//   POST /v1/breaker/close
//   POST /v1/down                         ends the cluster
//
// Answers are objects: {"nodes": [...]}, {"jobs": [...]}, {"incidents": [...]} for the lists, each
// with the server's clocks "now_ns" (cluster time) and "wall_unix_ns"; the record itself for one
// thing;
// {"job": record} for a submission; what was asked for and is under way answers 202.
// An error is {"error": {"code": "HF1003", "message": ..., "explain": "holdfast explain HF1003"}}
// with 400 for a malformed request, 401 for an unknown caller, 404 for what does not exist, 409 for
// what the present state does not allow, 503 or 500 for the control plane's own trouble.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "api/check_file.h"
#include "base/id.h"
#include "base/result.h"
#include "base/time.h"
#include "model/access.h"
#include "model/http.h"
#include "model/job_spec.h"
#include "model/link.h"

namespace holdfast {

// A job by its id, or by its name, which means the newest job of that name.
struct JobRef {
  JobId id;          // none: by name
  std::string name;  // empty: by id

  friend bool operator==(const JobRef&, const JobRef&) = default;
};

namespace ask {

struct Status {};
struct OpenApi {};
struct ListNodes {};
struct DescribeNode {
  NodeId node;
};
struct AddNode {};
struct ReplaceNode {
  NodeId node;
};
struct ThawNode {
  NodeId node;
};
struct NodeLogs {  // what its lifecycle scripts print
  NodeId node;
  std::uint64_t offset = 0;
  std::uint32_t max_bytes = 0;  // 1..1 MiB
};
struct InjectNode {
  NodeId node;
  Injection what = Injection::kNodeKill;  // kNodeKill, kNodeFreeze, kKernelLog, kGpu
  std::string line;                       // kKernelLog, kGpu: one line
};
struct ListJobs {};
struct Submit {
  JobSpec spec;
};
struct DescribeJob {
  JobRef job;
};
struct StopJob {
  JobRef job;
};
struct InjectJob {
  JobRef job;
  Injection what = Injection::kRankKill;  // kRankKill, kHang or kOutOfMemory
  std::uint32_t rank = 0;
  std::int32_t signal = 0;  // kRankKill: 1..64
};
struct JobLogs {
  JobRef job;
  Attempt attempt;  // none: the current one
  std::uint32_t rank = 0;
  std::uint64_t offset = 0;
  std::uint32_t max_bytes = 0;  // 1..1 MiB
};
struct ListIncidents {};
struct DescribeIncident {
  IncidentId incident;
};
struct Events {
  std::optional<std::uint64_t> after;  // sequence number; none: the newest `limit` events
  std::uint32_t limit = 0;             // 1..1000
  Duration wait;                       // for the first one behind `after`; at most 30 s
};
struct ListChecks {};
struct StartChecks {
  CheckRequest request;
};
struct DescribeCheck {
  CheckId check;
};
struct ListKeys {};
struct CreateKey {
  AccessRole role = AccessRole::kViewer;
};
struct DisableKey {
  std::string id;
};
struct DeleteKey {
  std::string id;
};
struct CloseBreaker {};
struct Down {};

}  // namespace ask

using Ask =
    std::variant<ask::Status, ask::ListNodes, ask::DescribeNode, ask::AddNode, ask::ReplaceNode,
                 ask::ThawNode, ask::InjectNode, ask::ListJobs, ask::Submit, ask::DescribeJob,
                 ask::StopJob, ask::InjectJob, ask::JobLogs, ask::ListIncidents,
                 ask::DescribeIncident, ask::Events, ask::CloseBreaker, ask::Down, ask::ListChecks,
                 ask::StartChecks, ask::DescribeCheck, ask::ListKeys, ask::CreateKey,
                 ask::DisableKey, ask::DeleteKey, ask::OpenApi, ask::NodeLogs>;

[[nodiscard]] Result<Ask> parse_request(const HttpRequest& request);

// "j3" is an id, everything else a name.
[[nodiscard]] JobRef parse_job_ref(const std::string& text);

[[nodiscard]] HttpResponse render_error(const Error& error);
// The other way round, for the client. REQUIRES: response.status >= 400.
[[nodiscard]] Error read_error(const HttpResponse& response);

}  // namespace holdfast
