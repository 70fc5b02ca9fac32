#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <functional>
#include <list>
#include <string>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include "base/result.h"
#include "base/time.h"
#include "io/process.h"

namespace holdfast {

struct ProgramRun {
  SpawnSpec program;       // log_file, fds and death_signal are not looked at
  std::string input;       // its stdin, or
  std::string input_file;  // the file that it is
  Duration budget;         // then its session is killed
};

struct ProgramEnd {
  ExitStatus status;
  bool timed_out = false;
  bool flooded = false;  // wrote more than kProgramOutputMax, and was killed for it
  std::string output;    // stdout
  std::string errors;    // stderr: the last bytes of it
  [[nodiscard]] bool ok() const {
    return status.signal == 0 && status.code == 0 && !timed_out && !flooded;
  }
};
inline constexpr std::size_t kProgramOutputMax = 1 << 20;
inline constexpr std::size_t kProgramErrorsKept = 4096;

// Runs programs beside each other without waiting for them. Each dies with this process; what it
// has put into a session of its own lives on. One thread: that of the io_context, which lasts.
class ProgramRunner {
 public:
  using Done = std::function<void(Result<ProgramEnd>)>;

  // `at_once`: more wait for their turn.
  ProgramRunner(asio::io_context& context, std::size_t at_once)
      : context_(context), at_once_(at_once) {}
  ProgramRunner(const ProgramRunner&) = delete;
  ProgramRunner& operator=(const ProgramRunner&) = delete;
  // Kills what runs; nothing more is told.
  ~ProgramRunner();

  // `done` is called from the io_context, once. An error: it cannot be run.
  void run(ProgramRun what, Done done);

 private:
  struct Running {
    explicit Running(asio::io_context& context)
        : out(context), err(context), ended(context), timer(context) {}
    Done done;
    ProgramEnd end;
    pid_t pid = 0;
    bool has_ended = false;
    asio::posix::stream_descriptor out, err, ended;
    asio::steady_timer timer;
    std::array<char, 16384> out_buffer, err_buffer;
  };
  using Place = std::list<Running>::iterator;
  struct Waiting {
    ProgramRun what;
    Done done;
  };

  void start(ProgramRun what, Done done);
  Result<void> launch(Running& running, const ProgramRun& what);
  void read(Place running, asio::posix::stream_descriptor& pipe, std::string& into);
  void finish(Place running);
  void tell(Place running);
  void take(Running& running, std::string& into, std::size_t bytes);

  asio::io_context& context_;
  const std::size_t at_once_;
  std::list<Running> running_;
  std::list<Waiting> waiting_;
};

// For a person: what such a program says of its failure, or how it ended. "exit status 2: no
// quota".
[[nodiscard]] std::string why_failed(const ProgramEnd& end);

}  // namespace holdfast
