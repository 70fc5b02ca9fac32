#include "io/api_server.h"

#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <list>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/ssl.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>
#include <asio/write.hpp>

#include "io/clock.h"
#include "io/http_head.h"
#include "io/random.h"
#include "io/sigv4_verify.h"

namespace holdfast {
namespace {

using asio::ip::tcp;
using ErrorCode = asio::error_code;

constexpr std::size_t kHandlers = 8;
// Connections past the limit that are told so; those past these are closed.
constexpr std::size_t kRefusedMax = 32;
constexpr Duration kRefusedMaxTime = seconds(2);
constexpr Duration kLingerMax = seconds(2);
constexpr Duration kStopMax = seconds(2);
constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string_view reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "Answer";
  }
}

std::string http_date() {
  const time_t now = wall_now().ns / 1'000'000'000;
  struct tm parts = {};
  ::gmtime_r(&now, &parts);
  std::array<char, 40> text = {};
  ::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return text.data();
}

// With the date: SDKs correct their clocks by it.
std::string as_text(const HttpResponse& response, const std::string& id, bool keeps_alive) {
  std::string text = "HTTP/1.1 " + std::to_string(response.status) + " ";
  text += reason_of(response.status);
  text += "\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: ";
  text += std::to_string(response.body.size());
  text += "\r\nx-amzn-RequestId: " + id + "\r\nDate: " + http_date();
  text += keeps_alive ? "\r\nConnection: keep-alive" : "\r\nConnection: close";
  text += kHeadEnd;
  return text + response.body;
}

class Connection;

// All but the handlers runs on the one thread of `context`.
struct Listener {
  Listener(const ApiServerOptions& the_options, ApiServer::Handler the_handler)
      : options(the_options), handler(std::move(the_handler)) {}

  void accept();
  void admit(tcp::socket socket);
  bool close_an_idle_one();
  HttpResponse answer(const HttpRequest& request) const;

  const ApiServerOptions options;
  const ApiServer::Handler handler;
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  std::optional<asio::ssl::context> tls;
  tcp::acceptor acceptor{context};
  asio::steady_timer retry{context};
  std::list<std::shared_ptr<Connection>> connections;
  bool stopping = false;
  asio::thread_pool handlers{kHandlers};
  std::uint16_t port = 0;
  std::thread thread;
};

// One after another: handshake, head, body, handler, answer, and again. Each wait has a deadline
// after which the socket is closed, which ends whatever waits for it.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Listener& server, tcp::socket socket, bool is_refused);

  void start();
  void close();
  [[nodiscard]] bool is_idle() const { return is_idle_; }
  [[nodiscard]] std::chrono::steady_clock::time_point idle_since() const { return idle_since_; }

 private:
  void read_head();
  void read_more(void (Connection::*then)());
  void on_head_bytes();
  void take_head(std::size_t head_bytes);
  void take_body();
  void handle();
  void refuse(int status, const std::string& type, const std::string& message);
  void reply(const HttpResponse& response);
  void replied();
  void linger();
  void set_deadline(Duration after);
  void forget();

  template <class Call>
  void with_stream(Call call) {
    if (tls_)
      call(*tls_);
    else
      call(socket_);
  }

  Listener& server_;
  tcp::socket socket_;
  std::optional<asio::ssl::stream<tcp::socket&>> tls_;
  asio::steady_timer timer_;
  const bool is_refused_;
  bool is_idle_ = false;
  bool keeps_alive_ = true;
  bool is_first_ = true;
  std::chrono::steady_clock::time_point idle_since_;
  std::array<char, 16 << 10> buffer_ = {};
  std::string in_;   // has come and is not taken yet
  std::string out_;  // is being sent
  HttpRequest request_;
  std::size_t body_bytes_ = 0;
};

Connection::Connection(Listener& server, tcp::socket socket, bool is_refused)
    : server_(server), socket_(std::move(socket)), timer_(server.context), is_refused_(is_refused) {
  if (server.tls) tls_.emplace(socket_, *server.tls);
}

void Connection::set_deadline(Duration after) {
  timer_.expires_after(std::chrono::nanoseconds(after.ns));
  timer_.async_wait([self = shared_from_this()](const ErrorCode& error) {
    // Another deadline may have been set while this one was on its way.
    if (!error && self->timer_.expiry() <= std::chrono::steady_clock::now()) self->close();
  });
}

void Connection::start() {
  ErrorCode ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  const tcp::endpoint peer = socket_.remote_endpoint(ignored);
  request_.address = peer.address().to_string();
  request_.id = new_uuid();
  set_deadline(is_refused_ ? kRefusedMaxTime : server_.options.request_max);
  if (!tls_) return read_head();
  tls_->async_handshake(asio::ssl::stream_base::server,
                        [self = shared_from_this()](const ErrorCode& error) {
                          if (error) return self->close();
                          self->read_head();
                        });
}

void Connection::close() {
  ErrorCode ignored;
  timer_.cancel();
  socket_.close(ignored);
  forget();
}

void Connection::forget() {
  const auto self = shared_from_this();
  server_.connections.remove(self);
  if (server_.stopping && server_.connections.empty()) server_.context.stop();
}

void Connection::read_more(void (Connection::*then)()) {
  with_stream([&](auto& stream) {
    stream.async_read_some(asio::buffer(buffer_), [self = shared_from_this(), then](
                                                      const ErrorCode& error, std::size_t bytes) {
      if (error) return self->close();
      self->in_.append(self->buffer_.data(), bytes);
      (self.get()->*then)();
    });
  });
}

void Connection::read_head() {
  if (!in_.empty()) return on_head_bytes();
  is_idle_ = !is_first_;
  idle_since_ = std::chrono::steady_clock::now();
  if (is_idle_) {
    if (server_.stopping) return close();
    set_deadline(server_.options.idle_max);
  }
  read_more(&Connection::on_head_bytes);
}

void Connection::on_head_bytes() {
  if (is_idle_) {
    is_idle_ = false;
    set_deadline(server_.options.request_max);
  }
  const std::size_t end = in_.find(kHeadEnd);
  const std::size_t head_bytes = end == std::string::npos ? in_.size() : end + kHeadEnd.size();
  if (head_bytes > server_.options.head_bytes_max)
    return refuse(431, "SerializationException", "the headers are too large");
  if (end == std::string::npos) return read_more(&Connection::on_head_bytes);
  take_head(head_bytes);
}

void Connection::take_head(std::size_t head_bytes) {
  if (is_refused_)
    return refuse(503, "ServiceUnavailable", "too many connections; try again in a moment");
  auto head = parse_http_head(std::string_view(in_).substr(0, head_bytes));
  in_.erase(0, head_bytes);
  if (!head.ok())
    return refuse(400, "SerializationException",
                  "not a well-formed request: " + head.error().detail);
  if (head->body_bytes > server_.options.body_bytes_max)
    return refuse(413, "RequestEntityTooLargeException",
                  "the body is larger than " + std::to_string(server_.options.body_bytes_max) +
                      " bytes; send less");
  request_.method = std::move(head->method);
  request_.target = std::move(head->target);
  request_.path = request_.target.substr(0, request_.target.find('?'));
  request_.headers = std::move(head->headers);
  body_bytes_ = static_cast<std::size_t>(head->body_bytes);
  keeps_alive_ = head->keeps_alive;
  if (!head->expects_continue || in_.size() >= body_bytes_) return take_body();
  with_stream([&](auto& stream) {
    asio::async_write(stream, asio::buffer(kContinue),
                      [self = shared_from_this()](const ErrorCode& error, std::size_t) {
                        if (error) return self->close();
                        self->take_body();
                      });
  });
}

void Connection::take_body() {
  if (in_.size() < body_bytes_) return read_more(&Connection::take_body);
  request_.body = in_.substr(0, body_bytes_);
  in_.erase(0, body_bytes_);
  timer_.cancel();
  handle();
}

void Connection::handle() {
  if (server_.stopping) return close();
  asio::post(server_.handlers, [self = shared_from_this()] {
    HttpResponse response = self->server_.answer(self->request_);
    asio::post(self->server_.context,
               [self, response = std::move(response)] { self->reply(response); });
  });
}

void Connection::refuse(int status, const std::string& type, const std::string& message) {
  keeps_alive_ = false;
  reply(render(AwsError{type, message, status}));
}

void Connection::reply(const HttpResponse& response) {
  if (server_.stopping) keeps_alive_ = false;
  out_ = as_text(response, request_.id, keeps_alive_);
  set_deadline(server_.options.answer_max);
  with_stream([&](auto& stream) {
    asio::async_write(stream, asio::buffer(out_),
                      [self = shared_from_this()](const ErrorCode& error, std::size_t) {
                        if (error) return self->close();
                        self->replied();
                      });
  });
}

void Connection::replied() {
  if (!keeps_alive_) return linger();
  HttpRequest next;
  next.address = std::move(request_.address);
  next.id = new_uuid();
  request_ = std::move(next);
  is_first_ = false;
  if (!in_.empty()) set_deadline(server_.options.request_max);
  read_head();
}

// A peer that is still sending would be reset before it has read the answer: what it sends is
// thrown away for a moment.
void Connection::linger() {
  ErrorCode ignored;
  if (tls_ || server_.stopping) return close();
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  is_idle_ = true;  // nothing is lost with it
  set_deadline(kLingerMax);
  in_.clear();
  struct Drain {
    std::shared_ptr<Connection> self;
    void operator()(const ErrorCode& error, std::size_t) const {
      if (error) return self->close();
      self->socket_.async_read_some(asio::buffer(self->buffer_), *this);
    }
  };
  Drain{shared_from_this()}({}, 0);
}

HttpResponse Listener::answer(const HttpRequest& request) const {
  try {
    return handler(request);
  } catch (const std::exception&) {
    return render(AwsError{"InternalFailure",
                           "the control plane failed on this request; look at its log", 500});
  }
}

void Listener::accept() {
  acceptor.async_accept([this](const ErrorCode& error, tcp::socket socket) {
    if (stopping) return;
    if (!error) {
      admit(std::move(socket));
      return accept();
    }
    // Out of descriptors, most likely; the peer waits in the kernel's queue.
    retry.expires_after(std::chrono::milliseconds(100));
    retry.async_wait([this](const ErrorCode& cancelled) {
      if (!cancelled && !stopping) accept();
    });
  });
}

void Listener::admit(tcp::socket socket) {
  const bool is_full = connections.size() >= options.connections_max && !close_an_idle_one();
  if (is_full && connections.size() >= options.connections_max + kRefusedMax) return;  // closed
  connections.push_back(std::make_shared<Connection>(*this, std::move(socket), is_full));
  connections.back()->start();
}

bool Listener::close_an_idle_one() {
  std::shared_ptr<Connection> oldest;
  for (const auto& connection : connections)
    if (connection->is_idle() && (!oldest || connection->idle_since() < oldest->idle_since()))
      oldest = connection;
  if (oldest) oldest->close();
  return oldest != nullptr;
}

}  // namespace

struct ApiServer::Impl : Listener {
  using Listener::Listener;
};

Result<std::unique_ptr<ApiServer>> ApiServer::start(const ApiServerOptions& options,
                                                    Handler handler) {
  auto impl = std::make_unique<Impl>(options, std::move(handler));
  ErrorCode error;
  if (options.tls) {
    impl->tls.emplace(asio::ssl::context::tls_server);
    ::SSL_CTX_set_min_proto_version(impl->tls->native_handle(), TLS1_2_VERSION);
    impl->tls->use_certificate_chain_file(options.tls->certificate, error);
    if (!error) impl->tls->use_private_key_file(options.tls->key, asio::ssl::context::pem, error);
    if (error)
      return Error{Errc::kIo, "cannot use the TLS files " + options.tls->certificate + ", " +
                                  options.tls->key + ": " + error.message() +
                                  "; check that they exist and belong together"};
  }
  const std::string where = options.host + ":" + std::to_string(options.port);
  const auto address = asio::ip::make_address(options.host, error);
  const tcp::endpoint endpoint(address, options.port);
  if (!error) impl->acceptor.open(endpoint.protocol(), error);
  if (!error) impl->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) impl->acceptor.bind(endpoint, error);
  if (!error) impl->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error == asio::error::address_in_use)
    return Error{Errc::kPortInUse, "port " + where +
                                       " is in use; stop what uses it or choose another, 0 takes "
                                       "a free one"};
  if (error)
    return Error{Errc::kIo, "cannot listen on " + where + ": " + error.message() +
                                "; give an address of this machine"};
  impl->port = impl->acceptor.local_endpoint().port();
  impl->accept();
  impl->thread = std::thread([&impl = *impl] { impl.context.run(); });
  return std::unique_ptr<ApiServer>(new ApiServer(std::move(impl)));
}

ApiServer::ApiServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ApiServer::~ApiServer() {
  Impl& impl = *impl_;
  asio::post(impl.context, [&impl] {
    impl.stopping = true;
    ErrorCode ignored;
    impl.acceptor.close(ignored);
    impl.retry.cancel();
    while (impl.close_an_idle_one()) continue;
    if (impl.connections.empty()) impl.context.stop();
  });
  impl.handlers.join();
  // What is left ends by itself, or when its time is up.
  asio::steady_timer last(impl.context);
  last.expires_after(std::chrono::nanoseconds(kStopMax.ns));
  asio::post(impl.context, [&impl, &last] {
    last.async_wait([&impl](const ErrorCode&) { impl.context.stop(); });
  });
  impl.thread.join();
  impl.connections.clear();
}

std::uint16_t ApiServer::port() const {
  return impl_->port;
}

}  // namespace holdfast
