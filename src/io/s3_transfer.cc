#include "io/s3_transfer.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>

#include "base/check.h"
#include "io/clock.h"

namespace holdfast {
namespace {

constexpr std::size_t kBodyMax = std::size_t{16} << 20;  // a page of a listing is below 2 MiB
constexpr long kSocketBuffer = 512L << 10;
constexpr Duration kRetryAfterMax = minutes(1);

struct HandleClosed {
  void operator()(CURL* handle) const { ::curl_easy_cleanup(handle); }
};
using Handle = std::unique_ptr<CURL, HandleClosed>;

struct ListFreed {
  void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, ListFreed>;

// One try of a call, as libcurl's callbacks see it.
struct Try {
  const S3Call& call;
  std::uint64_t received;  // of call.into, with what earlier tries brought
  S3Answer answer;
  std::size_t sent = 0;
  bool checked = false;  // that the range is the one that was asked for
  std::string problem;   // why we broke off
};

bool is_success(int status) {
  return status >= 200 && status < 300;
}

// Whether the bytes that are about to come are the ones that were asked for; else why not.
std::string range_problem(const Try& now) {
  if (now.answer.status != 206) return "the answer is not the range that was asked for";
  const auto range = read_content_range(now.answer.header("content-range"));
  if (!range) return range.error().detail;
  if (range->total != now.call.total)
    return "the object has " + std::to_string(range->total) + " bytes instead of " +
           std::to_string(now.call.total);
  if (range->first != now.call.offset + now.received ||
      range->last != now.call.offset + now.call.into.size() - 1)
    return "the answer is another range than was asked for";
  if (now.answer.etag() != now.call.etag) return "the answer is of another version of the object";
  return "";
}

std::size_t on_header(char* bytes, std::size_t, std::size_t count, void* state) {
  S3Answer& answer = static_cast<Try*>(state)->answer;
  std::string_view line(bytes, count);
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {  // a new answer: what came before was 100 Continue
    answer = {};
    const std::size_t space = line.find(' ');
    if (space != line.npos) answer.status = std::atoi(line.data() + space + 1);
    return count;
  }
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return count;
  std::string name(line.substr(0, colon));
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  line.remove_prefix(std::min(line.size(), line.find_first_not_of(" \t", colon + 1)));
  answer.headers[name] = line;
  return count;
}

std::size_t on_bytes(char* bytes, std::size_t, std::size_t count, void* state) {
  Try& now = *static_cast<Try*>(state);
  if (now.call.into.empty() || !is_success(now.answer.status)) {
    if (now.answer.body.size() + count > kBodyMax) {
      now.problem = "the answer is too long";
      return 0;
    }
    now.answer.body.append(bytes, count);
    return count;
  }
  if (!now.checked) now.problem = range_problem(now);
  if (!now.problem.empty()) return 0;
  now.checked = true;
  if (count > now.call.into.size() - now.received) {
    now.problem = "the answer is longer than the range that was asked for";
    return 0;
  }
  std::memcpy(now.call.into.data() + now.received, bytes, count);
  now.received += count;
  return count;
}

std::size_t on_send(char* to, std::size_t, std::size_t room, void* state) {
  Try& now = *static_cast<Try*>(state);
  const std::size_t count = std::min(room, now.call.body.size() - now.sent);
  std::memcpy(to, now.call.body.data() + now.sent, count);
  now.sent += count;
  return count;
}

int on_rewind(void* state, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Try*>(state)->sent = static_cast<std::size_t>(offset);
  return CURL_SEEKFUNC_OK;
}

bool is_worth_a_retry(const S3Answer& answer) {
  const std::string& code = answer.error.code;
  return (answer.status >= 500 && answer.status != 501) || answer.status == 429 ||
         answer.status == 408 || code == "RequestTimeout" || code == "SlowDown" ||
         code == "BadDigest" || code == "OperationAborted";
}

bool says_expired(const S3Answer& answer) {
  const std::string& code = answer.error.code;
  return code == "ExpiredToken" || code == "ExpiredTokenException" || code == "InvalidToken" ||
         code == "TokenRefreshRequired" || code == "InvalidAccessKeyId";
}

bool is_of_tls(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
         code == CURLE_SSL_CIPHER || code == CURLE_SSL_ISSUER_ERROR;
}

std::string said(const S3Answer& answer) {
  std::string text = std::to_string(answer.status);
  if (!answer.error.code.empty()) text += " " + answer.error.code;
  if (!answer.error.message.empty()) text += " (" + answer.error.message + ")";
  return text;
}

}  // namespace

S3Deadline::S3Deadline(Duration patience) : end_ns_(monotonic_ns() + patience.ns) {}

Duration S3Deadline::left() const {
  return {std::max<std::int64_t>(end_ns_ - monotonic_ns(), 0)};
}

std::string S3Answer::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::string S3Answer::etag() const {
  const std::string text = header("etag");
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return text;
  return text.substr(1, text.size() - 2);
}

struct S3Transfer::Impl {
  std::string bucket;
  AwsSources sources;
  S3Options options;
  std::mutex mutex;  // of all below
  S3Config config;
  std::vector<Handle> idle;
  Prng prng{(std::uint64_t{std::random_device()()} << 32) | std::random_device()()};

  // What a try ended with: an answer, or a problem that another try may not have.
  struct Outcome {
    std::optional<S3Answer> answer;
    std::string problem;
  };

  Handle take_handle() {
    const std::lock_guard lock(mutex);
    if (idle.empty()) return Handle(::curl_easy_init());
    Handle handle = std::move(idle.back());
    idle.pop_back();
    return handle;
  }

  void give_back(Handle handle) {
    const std::lock_guard lock(mutex);
    if (idle.size() < 2 * options.parallel) idle.push_back(std::move(handle));
  }

  S3Config current_config() {
    const std::lock_guard lock(mutex);
    return config;
  }

  // True when there are other credentials now than those that `used` has.
  bool has_new_credentials(const S3Config& used) {
    const auto same = [&used](const S3Config& other) {
      return other.credentials.access_key_id == used.credentials.access_key_id &&
             other.credentials.secret_access_key == used.credentials.secret_access_key &&
             other.credentials.session_token == used.credentials.session_token;
    };
    const std::lock_guard lock(mutex);
    if (!same(config)) return true;
    auto read = s3_config(sources);
    if (!read || same(*read)) return false;
    config.credentials = read->credentials;
    config.credentials_source = read->credentials_source;
    return true;
  }

  Duration delay(int failed, Duration asked) {
    const std::lock_guard lock(mutex);
    return retry_delay(options.retry, failed, asked, prng);
  }

  // Where the call goes, and the headers that let it in.
  struct Address {
    std::string url;
    HeaderList headers;
  };

  [[nodiscard]] Address address(const S3Config& with, const Try& now) const {
    const std::size_t at = with.endpoint.find("://") + 3;
    std::string host = with.endpoint.substr(at);
    SigV4Request request{now.call.method, "/", now.call.query, now.call.headers,
                         std::string(kUnsignedPayload)};
    if (with.path_style)
      request.path += bucket + (now.call.key.empty() ? "" : "/");
    else
      host = bucket + "." + host;
    request.path += uri_encode(now.call.key, true);
    request.headers["host"] = host;
    if (!now.call.etag.empty()) request.headers["if-match"] = "\"" + now.call.etag + "\"";
    if (!now.call.into.empty())
      request.headers["range"] = "bytes=" + std::to_string(now.call.offset + now.received) + "-" +
                                 std::to_string(now.call.offset + now.call.into.size() - 1);
    Address address{with.endpoint.substr(0, at) + host + request.path, nullptr};
    if (const std::string query = canonical_query(now.call.query); !query.empty())
      address.url += "?" + query;
    curl_slist* list = ::curl_slist_append(nullptr, "Content-Type: application/octet-stream");
    for (const auto& [name, value] :
         sign(std::move(request), with.credentials, {wall_now(), with.region, "s3"}))
      list = ::curl_slist_append(list, (name + ": " + value).c_str());
    address.headers.reset(list);
    return address;
  }

  void set_body(CURL* handle, Try& now) const {
    const auto size = static_cast<curl_off_t>(now.call.body.size());
    if (now.call.method == "PUT") {
      ::curl_easy_setopt(handle, CURLOPT_UPLOAD, 1L);
      ::curl_easy_setopt(handle, CURLOPT_INFILESIZE_LARGE, size);
      ::curl_easy_setopt(handle, CURLOPT_READFUNCTION, on_send);
      ::curl_easy_setopt(handle, CURLOPT_READDATA, &now);
      ::curl_easy_setopt(handle, CURLOPT_SEEKFUNCTION, on_rewind);
      ::curl_easy_setopt(handle, CURLOPT_SEEKDATA, &now);
    } else if (now.call.method == "POST") {
      ::curl_easy_setopt(handle, CURLOPT_POST, 1L);
      ::curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, size);
      ::curl_easy_setopt(handle, CURLOPT_POSTFIELDS, now.call.body.data());
    } else if (now.call.method == "HEAD") {
      ::curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
    } else if (now.call.method != "GET") {
      ::curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, now.call.method.c_str());
    }
  }

  void set_limits(CURL* handle, const S3Config& with, Duration left) const {
    ::curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    ::curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    ::curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
    ::curl_easy_setopt(handle, CURLOPT_USERAGENT, "holdfast");
    ::curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, kSocketBuffer);
    ::curl_easy_setopt(handle, CURLOPT_UPLOAD_BUFFERSIZE, kSocketBuffer);
    ::curl_easy_setopt(handle, CURLOPT_TCP_KEEPALIVE, 1L);
    ::curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS,
                       static_cast<long>(std::min(options.connect, left).ms() + 1));
    ::curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(left.ms() + 1));
    ::curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
    ::curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME,
                       static_cast<long>(std::max<std::int64_t>(options.stall.ms() / 1000, 1)));
    if (!with.ca_bundle.empty()) ::curl_easy_setopt(handle, CURLOPT_CAINFO, with.ca_bundle.c_str());
  }

  // An error: no try will ever do better.
  Result<Outcome> attempt(Try& now, const S3Config& with, const S3Deadline& deadline) {
    Handle handle = take_handle();
    if (handle == nullptr) return Error{Errc::kIo, "libcurl gives no handle; free some memory"};
    CURL* const curl = handle.get();
    ::curl_easy_reset(curl);
    const Address to = address(with, now);
    std::array<char, CURL_ERROR_SIZE> detail = {};
    ::curl_easy_setopt(curl, CURLOPT_URL, to.url.c_str());
    ::curl_easy_setopt(curl, CURLOPT_HTTPHEADER, to.headers.get());
    ::curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail.data());
    ::curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    ::curl_easy_setopt(curl, CURLOPT_HEADERDATA, &now);
    ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, &now);
    set_body(curl, now);
    set_limits(curl, with, deadline.left());
    const CURLcode code = ::curl_easy_perform(curl);
    ::curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
    give_back(std::move(handle));
    if (is_of_tls(code))
      return Error{Errc::kStoreRefused,
                   "cannot trust the certificate of " + with.endpoint + ": " + detail.data() +
                       "; name the CA's file in AWS_CA_BUNDLE if it is your own"};
    if (!now.problem.empty()) return Outcome{std::nullopt, now.problem};
    if (code != CURLE_OK)
      return Outcome{std::nullopt, detail[0] != '\0' ? std::string(detail.data())
                                                     : std::string(::curl_easy_strerror(code))};
    if (!is_success(now.answer.status)) now.answer.error = read_s3_error(now.answer.body);
    return Outcome{std::move(now.answer), ""};
  }

  // What is wrong with an answer, if another try may get a better one.
  static std::string answer_problem(const S3Call& call, const S3Answer& answer,
                                    std::uint64_t received) {
    if (!is_success(answer.status)) return is_worth_a_retry(answer) ? said(answer) : "";
    if (!call.into.empty() && received != call.into.size())
      return "the answer is shorter than the range that was asked for";
    return call.problem ? call.problem(answer) : "";
  }

  [[nodiscard]] Error refusal(const S3Call& call, const S3Answer& answer, const S3Config& with,
                              const std::string& where) const {
    const std::string text =
        call.method + " " + where + ": " + with.endpoint + " answers " + said(answer) + "; ";
    if (says_expired(answer))
      return {Errc::kStoreRefused, text + "the credentials (" + with.credentials_source +
                                       ") have expired or are unknown there: renew them"};
    if (answer.error.code == "RequestTimeTooSkewed")
      return {Errc::kStoreRefused, text + "set this machine's clock"};
    if (answer.status == 403 || answer.status == 401)
      return {Errc::kStoreRefused, text + "check that the credentials (" + with.credentials_source +
                                       ") may do this there"};
    if (answer.status == 301 || answer.status == 307 ||
        answer.error.code == "AuthorizationHeaderMalformed") {
      const std::string region = answer.header("x-amz-bucket-region");
      return {Errc::kStoreRefused, text + "the bucket is elsewhere: set AWS_REGION" +
                                       (region.empty() ? " to its region" : "=" + region) +
                                       " (now " + with.region + ")"};
    }
    return {Errc::kStoreRefused, text + "see the store's own log"};
  }
};

S3Transfer::S3Transfer(std::string bucket, S3Config config, AwsSources sources,
                       const S3Options& options)
    : impl_(std::make_unique<Impl>()) {
  static const CURLcode started = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  CHECK(started == CURLE_OK);
  impl_->bucket = std::move(bucket);
  impl_->config = std::move(config);
  impl_->sources = std::move(sources);
  impl_->options = options;
}

S3Transfer::~S3Transfer() = default;

std::string S3Transfer::name(std::string_view key) const {
  return "s3://" + impl_->bucket + "/" + std::string(key);
}

Result<S3Answer> S3Transfer::send(const S3Call& call, const S3Deadline& deadline) {
  std::uint64_t received = 0;
  bool renewed = false;
  for (int tries = 1;; ++tries) {
    const S3Config with = impl_->current_config();
    Try now{.call = call, .received = received};
    auto outcome = impl_->attempt(now, with, deadline);
    if (!outcome)
      return Error{outcome.error().code,
                   call.method + " " + name(call.key) + ": " + outcome.error().detail};
    received = now.received;
    std::string problem = outcome->problem;
    Duration asked;
    if (outcome->answer) {
      S3Answer& answer = *outcome->answer;
      problem = Impl::answer_problem(call, answer, received);
      if (problem.empty()) {
        const bool is_unknown_condition =
            answer.status == 501 && call.headers.contains("if-none-match");
        if (is_success(answer.status) || answer.status == 404 || answer.status == 412 ||
            is_unknown_condition)
          return std::move(answer);
        if (!says_expired(answer) || renewed || !impl_->has_new_credentials(with))
          return impl_->refusal(call, answer, with, name(call.key));
        renewed = true;
        continue;
      }
      asked = std::min(seconds(std::atoi(answer.header("retry-after").c_str())), kRetryAfterMax);
    }
    // Nothing would be left to ask for.
    if (received == call.into.size()) received = 0;
    const Duration delay = impl_->delay(tries, asked);
    if (delay >= deadline.left())
      return Error{Errc::kStoreUnavailable, call.method + " " + name(call.key) + ": " + problem +
                                                ", " + std::to_string(tries) +
                                                (tries == 1 ? " try" : " tries") + "; check that " +
                                                with.endpoint + " is up and reachable from here"};
    std::this_thread::sleep_for(std::chrono::nanoseconds(delay.ns));
  }
}

}  // namespace holdfast
