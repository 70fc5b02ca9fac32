#include "api/rest.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <limits>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "api/job_file.h"
#include "api/strict_fields.h"
#include "model/json_text.h"

namespace holdfast {
namespace {

constexpr std::uint32_t kLogBytesMax = 1 << 20;
constexpr std::uint32_t kEventsMax = 1000;
constexpr std::uint32_t kWaitMsMax = 30'000;
constexpr std::uint64_t kMax64 = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint32_t kMax32 = std::numeric_limits<std::uint32_t>::max();

Error invalid(std::string_view field, std::string_view value, std::string_view remedy) {
  return {Errc::kInvalidField, std::string(field) + ": '" + std::string(value.substr(0, 80)) +
                                   "' is not allowed; " + std::string(remedy)};
}

template <class Integer>
bool parse_whole(std::string_view text, Integer& out) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), out);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

template <class Id>
Result<Id> parse_id(std::string_view text, std::string_view field) {
  Id id;
  const std::string prefix(1, to_string(id)[0]);
  if (!text.starts_with(prefix) || !parse_whole(text.substr(1), id.value) || !id)
    return invalid(field, text, "give an id like " + prefix + "1");
  return id;
}

// The query of a request. Every value that is present is checked, every name must be known.
class Query {
 public:
  explicit Query(const std::map<std::string, std::string>& values) : values_(values) {}

  Result<std::uint64_t> number(const std::string& name, std::uint64_t otherwise,
                               std::uint64_t least, std::uint64_t most) const {
    const auto found = values_.find(name);
    if (found == values_.end() || found->second.empty()) return otherwise;
    std::uint64_t value = 0;
    if (!parse_whole(found->second, value) || value < least || value > most)
      return invalid(name, found->second,
                     "give a whole number from " + std::to_string(least) +
                         (most == kMax64 ? "" : " to " + std::to_string(most)));
    return value;
  }

  Result<void> only(const std::vector<std::string_view>& known) const {
    for (const auto& [name, value] : values_) {
      if (std::ranges::find(known, name) != known.end()) continue;
      const std::string_view close = closest_word(name, known);
      return Error{Errc::kUnknownField,
                   name.substr(0, 80) + ": no such query parameter; " +
                       (close.empty() ? "remove it" : "did you mean " + std::string(close) + "?")};
    }
    return {};
  }

 private:
  const std::map<std::string, std::string>& values_;
};

// The body of an inject request.
struct Injected {
  Injection what = Injection::kRankKill;
  std::uint32_t rank = 0;
  std::int32_t signal = 9;
  std::string line;
};

Result<Injected> parse_injected(const std::string& text, const std::vector<Injection>& allowed) {
  const auto body = parse_json_text(text);
  if (!body.is_object())
    return Error{Errc::kUnparsable, "the body is not a JSON object; send {\"what\": ...}"};
  Injected injected;
  bool has_what = false;
  for (const auto& [key, value] : body.items()) {
    const std::string shown = value.dump();
    if (key == "what") {
      const auto what = parse_word<Injection>(value.is_string() ? value.get<std::string>() : "");
      if (!what || std::ranges::find(allowed, *what) == allowed.end()) {
        std::string words;
        for (Injection one : allowed)
          words += (words.empty() ? "" : ", ") + std::string(word_of(one));
        return invalid("what", shown, "give one of " + words);
      }
      injected.what = *what;
      has_what = true;
    } else if (key == "rank") {
      if (!value.is_number_unsigned() || value > kMax32)
        return invalid("rank", shown, "give a whole number from 0");
      injected.rank = value.get<std::uint32_t>();
    } else if (key == "signal") {
      if (!value.is_number_unsigned() || value < 1 || value > 64)
        return invalid("signal", shown, "give a whole number from 1 to 64");
      injected.signal = value.get<std::int32_t>();
    } else if (key == "line") {
      if (!value.is_string() || value.get<std::string>().find('\n') != std::string::npos ||
          shown.size() > 4096)
        return invalid("line", shown, "give one line of text, at most 4 KiB");
      injected.line = value.get<std::string>();
    } else {
      return Error{Errc::kUnknownField,
                   key.substr(0, 80) + ": no such field; there are what, rank, signal, line"};
    }
  }
  if (!has_what) return Error{Errc::kInvalidField, "what: missing; say what to inject"};
  if (injected.what == Injection::kKernelLog && injected.line.empty())
    return Error{Errc::kInvalidField, "line: missing; give the kernel log line"};
  if (injected.what == Injection::kGpu && injected.line.empty())
    return Error{Errc::kInvalidField, "line: missing; give what changes, as JSON"};
  return injected;
}

Error no_route(const HttpRequest& request) {
  return {Errc::kNotFound, request.method + " " + request.path.substr(0, 200) +
                               ": no such address; the API is described in docs/api.md"};
}

Result<Ask> parse_node_request(const HttpRequest& request, const std::vector<std::string>& words) {
  const bool post = request.method == "POST";
  if (words.size() == 2) {
    if (post) return Ask(ask::AddNode{});
    return Ask(ask::ListNodes{});
  }
  HF_TRY(const NodeId node, parse_id<NodeId>(words[2], "node"));
  if (words.size() == 3 && !post) return Ask(ask::DescribeNode{node});
  if (words.size() == 4 && !post && words[3] == "logs") {
    const Query query(request.query);
    HF_TRY(const std::uint64_t offset, query.number("offset", 0, 0, kMax64));
    HF_TRY(const std::uint64_t max_bytes, query.number("max_bytes", 64 << 10, 1, kLogBytesMax));
    return Ask(ask::NodeLogs{node, offset, static_cast<std::uint32_t>(max_bytes)});
  }
  if (words.size() == 4 && post) {
    if (words[3] == "replace") return Ask(ask::ReplaceNode{node});
    if (words[3] == "thaw") return Ask(ask::ThawNode{node});
    if (words[3] == "inject") {
      HF_TRY(const Injected injected,
             parse_injected(request.body, {Injection::kNodeKill, Injection::kNodeFreeze,
                                           Injection::kKernelLog, Injection::kGpu}));
      return Ask(ask::InjectNode{node, injected.what, injected.line});
    }
  }
  return no_route(request);
}

Result<Ask> parse_logs(const HttpRequest& request, const JobRef& job) {
  const Query query(request.query);
  HF_TRY(const std::uint64_t attempt, query.number("attempt", 0, 1, kMax32));
  HF_TRY(const std::uint64_t rank, query.number("rank", 0, 0, kMax32));
  HF_TRY(const std::uint64_t offset, query.number("offset", 0, 0, kMax64));
  HF_TRY(const std::uint64_t max_bytes, query.number("max_bytes", 64 << 10, 1, kLogBytesMax));
  return Ask(ask::JobLogs{job, Attempt{static_cast<std::uint32_t>(attempt)},
                          static_cast<std::uint32_t>(rank), offset,
                          static_cast<std::uint32_t>(max_bytes)});
}

Result<Ask> parse_job_request(const HttpRequest& request, const std::vector<std::string>& words) {
  const bool post = request.method == "POST";
  if (words.size() == 2) {
    if (!post) return Ask(ask::ListJobs{});
    HF_TRY(JobSpec spec, parse_job_body(request.body));
    return Ask(ask::Submit{std::move(spec)});
  }
  const JobRef job = parse_job_ref(words[2]);
  if (words.size() == 3 && !post) return Ask(ask::DescribeJob{job});
  if (words.size() == 4) {
    if (post && words[3] == "stop") return Ask(ask::StopJob{job});
    if (post && words[3] == "inject") {
      HF_TRY(const Injected injected,
             parse_injected(request.body,
                            {Injection::kRankKill, Injection::kHang, Injection::kOutOfMemory}));
      return Ask(ask::InjectJob{job, injected.what, injected.rank, injected.signal});
    }
    if (!post && words[3] == "logs") return parse_logs(request, job);
  }
  return no_route(request);
}

Result<Ask> parse_new_key(const std::string& text) {
  const auto body = parse_json_text(text);
  if (!body.is_object())
    return Error{Errc::kUnparsable, "the body is not a JSON object; send {\"role\": ...}"};
  for (const auto& [key, value] : body.items())
    if (key != "role")
      return Error{Errc::kUnknownField, key.substr(0, 80) + ": no such field; there is role"};
  const auto given = body.find("role");
  const auto role = parse_word<AccessRole>(
      given != body.end() && given->is_string() ? given->get<std::string>() : "");
  if (!role)
    return invalid("role", given != body.end() ? given->dump() : "",
                   "give one of viewer, operator, admin");
  return Ask(ask::CreateKey{*role});
}

Result<Ask> parse_key_request(const HttpRequest& request, const std::vector<std::string>& words) {
  const bool post = request.method == "POST";
  if (words.size() == 2)
    return post ? parse_new_key(request.body) : Result<Ask>(Ask(ask::ListKeys{}));
  if (words.size() != 4 || !post) return no_route(request);
  const auto is_id = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); };
  if (words[2].size() > 128 || !std::ranges::all_of(words[2], is_id))
    return invalid("key", words[2], "give the id of an access key, like AKIA0123456789ABCDEF");
  if (words[3] == "disable") return Ask(ask::DisableKey{words[2]});
  if (words[3] == "delete") return Ask(ask::DeleteKey{words[2]});
  return no_route(request);
}

Result<Ask> parse_events(const HttpRequest& request) {
  const Query query(request.query);
  std::optional<std::uint64_t> after;
  if (request.query.contains("after")) {
    HF_TRY(after, query.number("after", 0, 0, kMax64));
  }
  HF_TRY(const std::uint64_t limit, query.number("limit", 100, 1, kEventsMax));
  HF_TRY(const std::uint64_t wait_ms, query.number("wait_ms", 0, 0, kWaitMsMax));
  return Ask(ask::Events{after, static_cast<std::uint32_t>(limit),
                         milliseconds(static_cast<std::int64_t>(wait_ms))});
}

// "/v1/jobs/x" -> {"v1", "jobs", "x"}; empty when a word is empty.
std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> words;
  std::size_t begin = 0;
  while (begin < path.size() && path[begin] == '/') {
    const std::size_t end = std::min(path.find('/', begin + 1), path.size());
    if (end == begin + 1) return {};
    words.push_back(path.substr(begin + 1, end - begin - 1));
    begin = end;
  }
  return begin == path.size() ? words : std::vector<std::string>{};
}

int status_of(Errc code) {
  switch (code) {
    case Errc::kInvalidField:
    case Errc::kUnknownField:
    case Errc::kUnparsable:
      return 400;
    case Errc::kUnauthenticated:
    case Errc::kTokenExpired:
      return 401;
    case Errc::kStoreRefused:
      return 403;
    case Errc::kNotFound:
      return 404;
    case Errc::kNameExists:
    case Errc::kWrongState:
    case Errc::kTooFewNodes:
    case Errc::kJobFailed:
    case Errc::kStaleAttempt:
    case Errc::kBreakerOpen:
      return 409;
    case Errc::kUnavailable:
    case Errc::kStoreUnavailable:
      return 503;
    case Errc::kStateLocked:
    case Errc::kStateCorrupt:
    case Errc::kPortInUse:
    case Errc::kIo:
    case Errc::kDiskFull:
    case Errc::kDamaged:
      return 500;
  }
  return 500;
}

}  // namespace

Result<Ask> parse_request(const HttpRequest& request) {
  const std::vector<std::string> words = split_path(request.path);
  const bool get = request.method == "GET";
  const bool post = request.method == "POST";
  if (words.size() < 2 || words.size() > 4 || words[0] != "v1" || !(get || post))
    return no_route(request);
  const bool is_logs = words.size() == 4 && words[1] == "jobs" && words[3] == "logs";
  const bool is_node_logs = words.size() == 4 && words[1] == "nodes" && words[3] == "logs";
  const bool is_events = words.size() == 2 && words[1] == "events";
  HF_TRY_VOID(
      Query(request.query)
          .only(is_logs ? std::vector<std::string_view>{"attempt", "rank", "offset", "max_bytes"}
                : is_node_logs ? std::vector<std::string_view>{"offset", "max_bytes"}
                : is_events    ? std::vector<std::string_view>{"after", "limit", "wait_ms"}
                               : std::vector<std::string_view>{}));
  if (words[1] == "nodes") return parse_node_request(request, words);
  if (words[1] == "jobs") return parse_job_request(request, words);
  if (words[1] == "keys") return parse_key_request(request, words);
  if (is_events && get) return parse_events(request);
  if (words[1] == "incidents" && get && words.size() <= 3) {
    if (words.size() == 2) return Ask(ask::ListIncidents{});
    HF_TRY(const IncidentId incident, parse_id<IncidentId>(words[2], "incident"));
    return Ask(ask::DescribeIncident{incident});
  }
  if (words[1] == "checks" && words.size() == 2) {
    if (get) return Ask(ask::ListChecks{});
    HF_TRY(CheckRequest asked, parse_check_request(request.body));
    return Ask(ask::StartChecks{std::move(asked)});
  }
  if (words[1] == "checks" && words.size() == 3 && get) {
    HF_TRY(const CheckId check, parse_id<CheckId>(words[2], "check"));
    return Ask(ask::DescribeCheck{check});
  }
  if (request.path == "/v1/status" && get) return Ask(ask::Status{});
  if (request.path == "/v1/openapi" && get) return Ask(ask::OpenApi{});
  if (request.path == "/v1/breaker/close" && post) return Ask(ask::CloseBreaker{});
  if (request.path == "/v1/down" && post) return Ask(ask::Down{});
  return no_route(request);
}

JobRef parse_job_ref(const std::string& text) {
  auto id = parse_id<JobId>(text, "job");
  if (id.ok()) return {*id, ""};
  return {JobId{}, text};
}

HttpResponse render_error(const Error& error) {
  const std::string code(code_of(error.code));
  const nlohmann::json body = {
      {"error",
       {{"code", code}, {"message", error.detail}, {"explain", "holdfast explain " + code}}}};
  // A detail may quote what a caller sent: any bytes.
  return {status_of(error.code),
          body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

Error read_error(const HttpResponse& response) {
  const auto body = parse_json_text(response.body);
  if (body.is_object() && body.contains("error") && body["error"].is_object()) {
    const auto& error = body["error"];
    const std::string code =
        error.contains("code") && error["code"].is_string() ? error["code"].get<std::string>() : "";
    const std::string message = error.contains("message") && error["message"].is_string()
                                    ? error["message"].get<std::string>()
                                    : "";
#define HF_ERRC_READ(name, number, summary) \
  if (code == number) return {Errc::name, message};
    HF_ERRC_TABLE(HF_ERRC_READ)
#undef HF_ERRC_READ
  }
  return {Errc::kUnavailable, "the control plane answered with HTTP status " +
                                  std::to_string(response.status) +
                                  " and no reason; look at its log"};
}

}  // namespace holdfast
