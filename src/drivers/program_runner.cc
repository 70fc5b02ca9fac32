#include "drivers/program_runner.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <utility>

#include <asio/buffer.hpp>
#include <asio/post.hpp>

#include "io/files.h"

namespace holdfast {

namespace {

// The program reads what it is given as a file, so that nobody waits for it to read.
Result<UniqueFd> as_file(const std::string& text) {
  UniqueFd fd(::memfd_create("input", MFD_CLOEXEC));
  if (!fd) return os_error("cannot make", "a file in memory", errno);
  HF_TRY_VOID(write_all(fd, "a file in memory", text));
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) return os_error("cannot rewind", "it", errno);
  return fd;
}

Result<std::pair<UniqueFd, UniqueFd>> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return os_error("cannot make", "a pipe", errno);
  return std::pair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::string last_lines(const std::string& text) {
  std::size_t end = text.find_last_not_of(" \t\r\n");
  if (end == std::string::npos) return {};
  std::string kept = text.substr(0, end + 1);
  constexpr std::size_t kShown = 500;
  if (kept.size() > kShown) kept.erase(0, kept.size() - kShown);
  for (char& c : kept)
    if (c == '\n' || c == '\r') c = ' ';
  return kept;
}

}  // namespace

ProgramRunner::~ProgramRunner() {
  for (Running& running : running_) kill_session(running.pid, SIGKILL);
}

void ProgramRunner::run(ProgramRun what, Done done) {
  if (running_.size() < at_once_) return start(std::move(what), std::move(done));
  waiting_.push_back({std::move(what), std::move(done)});
}

void ProgramRunner::start(ProgramRun what, Done done) {
  const Place place = running_.emplace(running_.end(), context_);
  place->done = std::move(done);
  if (const Result<void> launched = launch(*place, what); !launched.ok()) {
    asio::post(context_,
               [done = std::move(place->done), error = launched.error()] { done(error); });
    running_.erase(place);
    return;
  }
  read(place, place->out, place->end.output);
  read(place, place->err, place->end.errors);
  place->ended.async_wait(asio::posix::stream_descriptor::wait_read,
                          [this, place](const asio::error_code& error) {
                            if (!error) finish(place);
                          });
  place->timer.expires_after(std::chrono::nanoseconds(what.budget.ns));
  place->timer.async_wait([place](const asio::error_code& error) {
    if (error) return;
    place->end.timed_out = true;
    kill_session(place->pid, SIGKILL);  // its end is seen like any other
  });
}

Result<void> ProgramRunner::launch(Running& running, const ProgramRun& what) {
  HF_TRY(const UniqueFd input,
         what.input_file.empty() ? as_file(what.input) : open_file(what.input_file, O_RDONLY));
  HF_TRY(auto out, make_pipe());
  HF_TRY(auto err, make_pipe());
  SpawnSpec spec = what.program;
  spec.log_file.clear();
  spec.fds = {{input.get(), 0}, {out.second.get(), 1}, {err.second.get(), 2}};
  spec.death_signal = SIGKILL;
  HF_TRY(running.pid, spawn(spec));
  HF_TRY(UniqueFd ended, open_pidfd(running.pid));
  running.ended.assign(ended.release());
  running.out.assign(out.first.release());
  running.err.assign(err.first.release());
  running.out.non_blocking(true);
  running.err.non_blocking(true);
  return {};
}

void ProgramRunner::take(Running& running, std::string& into, std::size_t bytes) {
  const bool is_output = &into == &running.end.output;
  into.append(is_output ? running.out_buffer.data() : running.err_buffer.data(), bytes);
  if (!is_output && into.size() > 2 * kProgramErrorsKept)
    into.erase(0, into.size() - kProgramErrorsKept);
  if (!is_output || into.size() <= kProgramOutputMax) return;
  running.end.flooded = true;
  kill_session(running.pid, SIGKILL);
}

void ProgramRunner::read(Place running, asio::posix::stream_descriptor& pipe, std::string& into) {
  auto& buffer = &into == &running->end.output ? running->out_buffer : running->err_buffer;
  pipe.async_read_some(asio::buffer(buffer), [this, running, &pipe, &into](
                                                 const asio::error_code& error, std::size_t bytes) {
    if (error == asio::error::operation_aborted) return;  // it has ended
    take(*running, into, bytes);
    if (!error && !running->end.flooded && !running->has_ended) read(running, pipe, into);
  });
}

void ProgramRunner::finish(Place running) {
  running->timer.cancel();
  running->has_ended = true;
  running->end.status =
      reap_one(running->ended.native_handle()).value_or(ExitStatus{.signal = SIGKILL});
  asio::error_code ignored;
  running->out.cancel(ignored);
  running->err.cancel(ignored);
  // After the handlers of what was read before.
  asio::post(context_, [this, running] { tell(running); });
}

// All that it has written is in the pipes; who still holds them open is not waited for.
void ProgramRunner::tell(Place running) {
  for (auto* pipe : {&running->out, &running->err}) {
    const bool is_output = pipe == &running->out;
    std::string& into = is_output ? running->end.output : running->end.errors;
    auto& buffer = is_output ? running->out_buffer : running->err_buffer;
    while (!running->end.flooded) {
      const ssize_t n = ::read(pipe->native_handle(), buffer.data(), buffer.size());
      if (n <= 0) break;
      take(*running, into, static_cast<std::size_t>(n));
    }
  }
  const Done done = std::move(running->done);
  ProgramEnd end = std::move(running->end);
  running_.erase(running);
  if (end.errors.size() > kProgramErrorsKept)
    end.errors.erase(0, end.errors.size() - kProgramErrorsKept);
  if (!waiting_.empty()) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    start(std::move(next.what), std::move(next.done));
  }
  done(std::move(end));
}

std::string why_failed(const ProgramEnd& end) {
  std::string how;
  if (end.timed_out)
    how = "did not end in time and was killed";
  else if (end.flooded)
    how = "wrote more than " + std::to_string(kProgramOutputMax >> 20) + " MiB and was killed";
  else if (end.status.signal != 0)
    how = "was killed by signal " + std::to_string(end.status.signal);
  else
    how = "exit status " + std::to_string(end.status.code);
  const std::string said = last_lines(end.errors);
  return said.empty() ? how : how + ": " + said;
}

}  // namespace holdfast
