#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/time.h"
#include "io/sigv4.h"
#include "io/unique_fd.h"

namespace holdfast {

enum class Misbehaviour {
  k500,
  k503,
  k429,
  k403,
  k501,
  kCutOff,          // the connection ends before an answer
  kDoneThenCutOff,  // what was asked is done, and then the same
  kHalf,            // half of the body, and then the same
  kWrongLength,     // a Content-Length that is not the body's (none, for HEAD)
  kSlow,            // the headers, and then nothing
  kFlipsABit,       // of what it receives, or else of what it sends
};

// An S3 store in this process, as far as S3Bucket needs one, that can be told to misbehave. One
// bucket, path style; signatures are not checked (tests/e2e has a real store for that).
class S3StoreForTest {
 public:
  static constexpr WallTime kInitiated{1'795'599'000'000'000'000};  // 2026-11-25T09:30:00Z

  S3StoreForTest() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    CHECK(::bind(listener_.get(), any, length) == 0 && ::listen(listener_.get(), 64) == 0);
    CHECK(::getsockname(listener_.get(), any, &length) == 0);
    port_ = ::ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept(); });
  }
  ~S3StoreForTest() { stop(); }
  S3StoreForTest(const S3StoreForTest&) = delete;
  S3StoreForTest& operator=(const S3StoreForTest&) = delete;

  void stop() {
    if (!acceptor_.joinable()) return;
    stopping_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    listener_.reset();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : connections_) thread.join();
  }

  [[nodiscard]] std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }

  // The next `times` requests of the method whose target or range contains `part`.
  void misbehave(std::string method, std::string part, Misbehaviour how, int times) {
    const std::lock_guard lock(mutex_);
    rules_.push_back({std::move(method), std::move(part), how, times});
  }
  void behave() {
    const std::lock_guard lock(mutex_);
    rules_.clear();
    misbehaved_ = 0;
  }
  void expire_token(std::string token) {
    const std::lock_guard lock(mutex_);
    expired_ = std::move(token);
  }
  // From here on a listing shows what there is now, whatever is put and removed later.
  void freeze_listings() {
    const std::lock_guard lock(mutex_);
    listed_ = objects_;
  }
  void set_page_size(std::size_t size) { page_size_ = size; }

  [[nodiscard]] std::string object(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(key);
    return found == objects_.end() ? "" : found->second.content;
  }
  [[nodiscard]] std::size_t parts_received() { return locked(parts_received_); }
  [[nodiscard]] std::size_t pending_uploads() {
    const std::lock_guard lock(mutex_);
    return uploads_.size();
  }
  [[nodiscard]] std::size_t misbehaved() { return locked(misbehaved_); }
  [[nodiscard]] std::string last_range() { return locked(last_range_); }

 private:
  struct Rule {
    std::string method, part;
    Misbehaviour how;
    int times;
  };
  struct Object {
    std::string content, etag;
  };
  struct PendingUpload {
    std::string key;
    std::map<int, std::string> parts;
  };
  struct Request {
    std::string method, key;
    std::map<std::string, std::string> query, headers;
    std::string body, target;
  };
  struct Answer {
    int status = 200;
    std::string body;
    std::map<std::string, std::string> headers;
  };

  template <class T>
  T locked(const T& value) {
    const std::lock_guard lock(mutex_);
    return value;
  }

  static std::string md5(const std::string& text) {
    std::array<unsigned char, 16> digest = {};
    unsigned int length = 0;
    ::EVP_Digest(text.data(), text.size(), digest.data(), &length, ::EVP_md5(), nullptr);
    return {reinterpret_cast<const char*>(digest.data()), digest.size()};
  }
  static std::string hex(const std::string& bytes) {
    std::string text;
    for (const unsigned char byte : bytes) {
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
    return text;
  }
  static std::string decoded(const std::string& text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '%') {
        plain += text[i];
        continue;
      }
      plain += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    }
    return plain;
  }

  void accept() {
    while (!stopping_) {
      const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      const std::lock_guard lock(mutex_);
      open_.push_back(fd);
      connections_.emplace_back([this, fd] { serve(UniqueFd(fd)); });
    }
  }

  // One request with its body; nullopt at the end of the connection.
  static std::optional<Request> receive(int fd, std::string& buffer) {
    const auto more = [&] {
      std::array<char, 65536> block;
      const ssize_t count = ::recv(fd, block.data(), block.size(), 0);
      if (count > 0) buffer.append(block.data(), static_cast<std::size_t>(count));
      return count > 0;
    };
    std::size_t end = 0;
    while ((end = buffer.find("\r\n\r\n")) == buffer.npos)
      if (!more()) return std::nullopt;
    Request request;
    std::string head = buffer.substr(0, end + 2);
    buffer.erase(0, end + 4);
    const std::string line = head.substr(0, head.find("\r\n"));
    request.method = line.substr(0, line.find(' '));
    request.target = line.substr(line.find(' ') + 1, line.rfind(' ') - line.find(' ') - 1);
    for (std::size_t at = line.size() + 2; at < head.size(); at = head.find("\r\n", at) + 2) {
      const std::string field = head.substr(at, head.find("\r\n", at) - at);
      const std::size_t colon = field.find(':');
      std::string name = field.substr(0, colon);
      for (char& c : name) c = static_cast<char>(::tolower(c));
      request.headers[name] = field.substr(std::min(field.size(), colon + 2));
    }
    parse_target(request);
    if (request.headers.contains("expect")) {
      const std::string go = "HTTP/1.1 100 Continue\r\n\r\n";
      ::send(fd, go.data(), go.size(), MSG_NOSIGNAL);
    }
    const std::size_t length = request.headers.contains("content-length")
                                   ? std::stoul(request.headers.at("content-length"))
                                   : 0;
    while (buffer.size() < length)
      if (!more()) return std::nullopt;
    request.body = buffer.substr(0, length);
    buffer.erase(0, length);
    return request;
  }

  static void parse_target(Request& request) {
    const std::size_t mark = request.target.find('?');
    const std::string path = decoded(request.target.substr(0, mark));
    const std::size_t slash = path.find('/', 1);
    request.key = slash == path.npos ? "" : path.substr(slash + 1);
    std::string query = mark == request.target.npos ? "" : request.target.substr(mark + 1);
    while (!query.empty()) {
      const std::string pair = query.substr(0, query.find('&'));
      query.erase(0, std::min(query.size(), pair.size() + 1));
      const std::size_t equals = pair.find('=');
      request.query[decoded(pair.substr(0, equals))] = decoded(pair.substr(equals + 1));
    }
  }

  void serve(UniqueFd fd) {
    std::string buffer;
    while (auto request = receive(fd.get(), buffer))
      if (!answer(fd.get(), *request)) break;
    const std::lock_guard lock(mutex_);
    std::erase(open_, fd.get());
    fd.reset();
  }

  std::optional<Misbehaviour> rule_for(const Request& request) {
    const std::string range =
        request.headers.contains("range") ? request.headers.at("range") : std::string();
    if (!range.empty()) last_range_ = range;
    for (Rule& rule : rules_) {
      const bool fits =
          rule.method == request.method && (request.target.find(rule.part) != std::string::npos ||
                                            range.find(rule.part) != std::string::npos);
      if (!fits || rule.times == 0) continue;
      --rule.times;
      ++misbehaved_;
      return rule.how;
    }
    return std::nullopt;
  }

  // False: the connection ends here.
  bool answer(int fd, Request& request) {
    std::unique_lock lock(mutex_);
    const auto how = rule_for(request);
    if (how == Misbehaviour::kCutOff) return false;
    if (how == Misbehaviour::k500) return send(fd, request, error(500, "InternalError"));
    if (how == Misbehaviour::k503) return send(fd, request, error(503, "SlowDown"));
    if (how == Misbehaviour::k429) return send(fd, request, {429, "slower, please", {}});
    if (how == Misbehaviour::k501) return send(fd, request, error(501, "NotImplemented"));
    if (how == Misbehaviour::k403) return send(fd, request, error(403, "AccessDenied"));
    if (how == Misbehaviour::kFlipsABit && !request.body.empty()) request.body[0] ^= 1;
    Answer made = make_answer(request);
    lock.unlock();
    if (how == Misbehaviour::kDoneThenCutOff) return false;
    if (how == Misbehaviour::kFlipsABit && !made.body.empty()) made.body[0] ^= 1;
    return send(fd, request, made, how);
  }

  bool send(int fd, const Request& request, const Answer& answer,
            std::optional<Misbehaviour> how = {}) const {
    const bool head = request.method == "HEAD";
    const bool wrong = how == Misbehaviour::kWrongLength;
    std::string text = "HTTP/1.1 " + std::to_string(answer.status) + " x\r\n";
    for (const auto& [name, value] : answer.headers) text += name + ": " + value + "\r\n";
    if (!(head && wrong))
      text += "Content-Length: " + std::to_string(answer.body.size() + (wrong ? 3 : 0)) + "\r\n";
    text += "\r\n";
    if (how == Misbehaviour::kHalf)
      text += answer.body.substr(0, answer.body.size() / 2);
    else if (!head && how != Misbehaviour::kSlow)
      text += answer.body;
    for (std::size_t sent = 0; sent < text.size();) {
      const ssize_t count = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return false;
      sent += static_cast<std::size_t>(count);
    }
    if (how == Misbehaviour::kSlow) {
      std::array<char, 1> end;
      (void)::recv(fd, end.data(), end.size(), 0);  // until the client has had enough
    }
    return !how || head;
  }

  static Answer error(int status, const std::string& code) {
    return {status, "<Error><Code>" + code + "</Code><Message>said so</Message></Error>", {}};
  }

  Answer make_answer(const Request& request) {
    if (!request.headers.contains("authorization")) return error(403, "AccessDenied");
    const auto token = request.headers.find("x-amz-security-token");
    if (!expired_.empty() && token != request.headers.end() && token->second == expired_)
      return error(400, "ExpiredToken");
    if (request.key.empty()) return of_bucket(request);
    if (request.query.contains("uploads")) {
      const std::string id = "upload-" + std::to_string(++ids_);
      uploads_[id] = {request.key, {}};
      return {200,
              "<InitiateMultipartUploadResult><UploadId>" + id +
                  "</UploadId></InitiateMultipartUploadResult>",
              {}};
    }
    if (request.query.contains("uploadId")) return of_upload(request);
    return of_object(request);
  }

  Answer of_bucket(const Request& request) {
    const auto of = [&](const char* name) {
      const auto found = request.query.find(name);
      return found == request.query.end() ? std::string() : found->second;
    };
    const std::string prefix = of("prefix");
    if (request.query.contains("uploads")) {
      std::string body = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>";
      for (const auto& [id, upload] : uploads_)
        if (upload.key.starts_with(prefix))
          body += "<Upload><Key>" + upload.key + "</Key><UploadId>" + id +
                  "</UploadId><Initiated>2026-11-25T09:30:00.000Z</Initiated></Upload>";
      return {200, body + "</ListMultipartUploadsResult>", {}};
    }
    std::string body = "<ListBucketResult><EncodingType>url</EncodingType>", last;
    std::size_t count = 0;
    bool truncated = false;
    for (const auto& [key, object] : listed_ ? *listed_ : objects_) {
      if (!key.starts_with(prefix) || key <= of("continuation-token")) continue;
      if ((truncated = count == page_size_)) break;
      const std::size_t slash = key.find('/', prefix.size());
      const bool fold = !of("delimiter").empty() && slash != key.npos;
      body += fold ? "<CommonPrefixes><Prefix>" + uri_encode(key.substr(0, slash + 1)) +
                         "</Prefix></CommonPrefixes>"
                   : "<Contents><Key>" + uri_encode(key) + "</Key><Size>" +
                         std::to_string(object.content.size()) + "</Size></Contents>";
      last = key;
      ++count;
    }
    body += truncated ? "<IsTruncated>true</IsTruncated><NextContinuationToken>" + last +
                            "</NextContinuationToken>"
                      : "<IsTruncated>false</IsTruncated>";
    return {200, body + "</ListBucketResult>", {}};
  }

  Answer of_upload(const Request& request) {
    const auto found = uploads_.find(request.query.at("uploadId"));
    if (found == uploads_.end()) return error(404, "NoSuchUpload");
    PendingUpload& upload = found->second;
    if (request.method == "PUT") {
      ++parts_received_;
      upload.parts[std::stoi(request.query.at("partNumber"))] = request.body;
      return {200, "", {{"ETag", "\"" + hex(md5(request.body)) + "\""}}};
    }
    Answer answer{204, "", {}};
    if (request.method == "POST") {
      std::string content, digests;
      for (const auto& [number, part] : upload.parts) {
        content += part;
        digests += md5(part);
      }
      const std::string etag = hex(md5(digests)) + "-" + std::to_string(upload.parts.size());
      objects_[upload.key] = {content, etag};
      answer = {200,
                "<CompleteMultipartUploadResult><ETag>\"" + etag +
                    "\"</ETag></CompleteMultipartUploadResult>",
                {}};
    }
    uploads_.erase(found);
    return answer;
  }

  Answer of_object(const Request& request) {
    if (request.method == "PUT") {
      if (request.headers.contains("if-none-match") && objects_.contains(request.key))
        return error(412, "PreconditionFailed");
      const std::string etag = hex(md5(request.body));
      objects_[request.key] = {request.body, etag};
      return {200, "", {{"ETag", "\"" + etag + "\""}}};
    }
    if (request.method == "DELETE") {
      objects_.erase(request.key);
      return {204, "", {}};
    }
    const auto found = objects_.find(request.key);
    if (found == objects_.end()) return error(404, "NoSuchKey");
    const Object& object = found->second;
    const std::string quoted = "\"" + object.etag + "\"";
    const auto match = request.headers.find("if-match");
    if (match != request.headers.end() && match->second != quoted)
      return error(412, "PreconditionFailed");
    Answer answer{200, object.content, {{"ETag", quoted}}};
    const auto range = request.headers.find("range");
    if (range == request.headers.end()) return answer;
    const std::size_t first = std::stoul(range->second.substr(6));
    const std::size_t last = std::stoul(range->second.substr(range->second.find('-') + 1));
    answer.status = 206;
    answer.body = object.content.substr(first, last - first + 1);
    answer.headers["Content-Range"] = "bytes " + std::to_string(first) + "-" +
                                      std::to_string(last) + "/" +
                                      std::to_string(object.content.size());
    return answer;
  }

  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread acceptor_;
  std::list<std::thread> connections_;
  std::mutex mutex_;  // of all below
  std::vector<int> open_;
  std::vector<Rule> rules_;
  std::map<std::string, Object> objects_;
  std::optional<std::map<std::string, Object>> listed_;
  std::map<std::string, PendingUpload> uploads_;
  std::string expired_, last_range_;
  std::size_t page_size_ = 1000, parts_received_ = 0, misbehaved_ = 0;
  int ids_ = 0;
};

}  // namespace holdfast
