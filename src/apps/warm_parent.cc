#include "apps/warm_parent.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include <spdlog/spdlog.h>
#include <asio/read_until.hpp>
#include <asio/write.hpp>
#include <nlohmann/json.hpp>

#include "io/process.h"
#include "io/sockets.h"
#include "model/json_text.h"

namespace holdfast {

using nlohmann::json;

Result<std::unique_ptr<WarmParent>> WarmParent::start(
    asio::io_context& context, const std::string& interpreter,
    const std::map<std::string, std::string>& environment, const std::string& log_file,
    OnAnswer on_answer) {
  constexpr int kTheirFd = 3;
  HF_TRY(auto sockets, socket_pair());
  SpawnSpec spec{.argv = {interpreter, "-m", "holdfast.warm"},
                 .environment = environment,
                 .log_file = log_file,
                 .fds = {{sockets.second.get(), kTheirFd}},
                 .death_signal = SIGKILL};
  spec.environment["HOLDFAST_WARM_FD"] = std::to_string(kTheirFd);
  HF_TRY(const pid_t pid, spawn(spec));
  std::unique_ptr<WarmParent> parent(
      new WarmParent(context, pid, sockets.first.release(), std::move(on_answer)));
  parent->read();
  return parent;
}

WarmParent::WarmParent(asio::io_context& context, pid_t pid, int fd, OnAnswer on_answer)
    : pid_(pid), socket_(context, fd), on_answer_(std::move(on_answer)) {}

WarmParent::~WarmParent() {
  *here_ = false;
  if (alive_) ::kill(pid_, SIGKILL);  // reaped by the agent like any child
}

bool WarmParent::ask(const Request& request) {
  if (!alive_) return false;
  const std::string line = json{{"start", request.id},
                                {"kind", request.command.is_module ? "module" : "script"},
                                {"target", request.command.target},
                                {"args", request.command.arguments},
                                {"env", request.environment},
                                {"cwd", request.working_folder},
                                {"log", request.log_file},
                                {"parent", ::getpid()},
                                {"cgroup_procs", request.procs_files}}
                               .dump(-1, ' ', false, json::error_handler_t::replace) +
                           "\n";
  if (ready_ && !send(line)) return false;
  if (ready_)
    pending_.push_back(request.id);
  else
    waiting_.emplace_back(request.id, line);
  return true;
}

bool WarmParent::send(const std::string& line) {
  asio::error_code error;
  asio::write(socket_, asio::buffer(line), error);
  if (error) died();
  return !error;
}

bool WarmParent::withdraw(const std::string& id) {
  return std::erase_if(waiting_, [&](const auto& request) { return request.first == id; }) > 0;
}

void WarmParent::take_ready() {
  ready_ = true;
  std::vector<std::pair<std::string, std::string>> requests;
  requests.swap(waiting_);
  for (const auto& [id, line] : requests) pending_.push_back(id);  // before died() can need them
  for (const auto& [id, line] : requests)
    if (!alive_ || !send(line)) return;
}

void WarmParent::read() {
  asio::async_read_until(
      socket_, asio::dynamic_buffer(*buffer_), '\n',
      [this, here = here_, buffer = buffer_](const asio::error_code& error, std::size_t size) {
        if (!*here) return;
        if (error) return died();
        const std::string line = buffer->substr(0, size);
        buffer->erase(0, size);
        take_line(line);
        if (*here) read();
      });
}

void WarmParent::take_line(const std::string& line) {
  const json answer = parse_json_text(line);
  if (!answer.is_object()) return;
  if (answer.contains("ready")) {
    spdlog::info("warm parent {} is ready: {}", pid_, line.substr(0, line.size() - 1));
    return take_ready();
  }
  const bool started = answer.contains("started");
  const json id = answer.value(started ? "started" : "failed", json());
  const json pid = answer.value("pid", json(0)), reason = answer.value("error", json());
  if (!id.is_string() || !pid.is_number_integer() || std::erase(pending_, id) == 0) return;
  if (started)
    on_answer_(id, pid, "");
  else
    on_answer_(id, 0, reason.is_string() ? reason : json("no reason given"));
}

void WarmParent::died() {
  if (!alive_) return;
  alive_ = false;
  std::vector<std::string> lost;
  lost.swap(pending_);
  for (auto& [id, line] : waiting_) lost.push_back(std::move(id));
  waiting_.clear();
  const auto here = here_;
  for (const std::string& id : lost)
    if (*here) on_answer_(id, 0, "the warm parent ended");
}

}  // namespace holdfast
