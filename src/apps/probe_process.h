#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include "base/result.h"
#include "base/time.h"

namespace holdfast {

// A probe in a process of its own (`holdfast probe --serve-fd`), which looks when it is asked: what
// hangs in a driver or a file server hangs there and not here. One that does not answer in time is
// killed and started anew with the next look; one that cannot be killed stays, and is reported with
// each look until it is gone. Everything on the io_context's thread.
class ProbeProcess {
 public:
  struct Options {
    std::vector<std::string> argv;  // its fd of the link is 3
    std::map<std::string, std::string> environment;
    std::string log_file;
    Duration interval;  // from answer to question
    Duration deadline;
  };
  // An answer, one line without its end. Returns how long until the next look.
  using OnAnswer = std::function<Duration(const std::string& line)>;
  using OnLate = std::function<void(bool stuck, const std::string& evidence)>;
  using OnSpawned = std::function<void(pid_t)>;

  ProbeProcess(asio::io_context& context, Options options, OnAnswer on_answer, OnLate on_late,
               OnSpawned on_spawned);

  // Looks now, or as soon as the look under way has ended.
  void look();
  // No process meanwhile: what it would look at has changed, or there is nothing to look at.
  void stop();

 private:
  Result<void> start();
  void ask();
  void read();
  void late(const std::string& why);
  void wait(Duration how_long);
  [[nodiscard]] bool lingers() const;

  asio::io_context& context_;
  const Options options_;
  const OnAnswer on_answer_;
  const OnLate on_late_;
  const OnSpawned on_spawned_;
  asio::posix::stream_descriptor link_;
  asio::steady_timer next_, deadline_;
  std::string buffer_;
  pid_t pid_ = 0;
  std::optional<std::uint64_t> started_;  // with pid_: the process
  bool asked_ = false;
  std::int64_t killed_ns_ = 0;  // when it was told to die
  std::uint64_t life_ = 0;      // of the link: what belongs to an earlier one is void
};

}  // namespace holdfast
