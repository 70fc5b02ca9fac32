#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include "apps/rank_environment.h"
#include "base/result.h"

namespace holdfast {

// A Python process with torch imported that forks ranks on request (python/holdfast/warm.py has the
// protocol). Requests may be made at once; they wait here until the import is done, and until then
// they can be taken back. The ranks become children of this process, not of the parent.
//
// One thread: that of the io_context. Not movable; callbacks stop with the object.
class WarmParent {
 public:
  struct Request {
    std::string id;
    PythonCommand command;
    std::map<std::string, std::string> environment;
    std::string working_folder;
    std::string log_file;
    std::vector<std::string> procs_files;
  };
  // pid 0: it could not be started, for the reason given.
  using OnAnswer = std::function<void(const std::string& id, pid_t pid, const std::string& reason)>;

  static Result<std::unique_ptr<WarmParent>> start(
      asio::io_context& context, const std::string& interpreter,
      const std::map<std::string, std::string>& environment, const std::string& log_file,
      OnAnswer on_answer);
  ~WarmParent();
  WarmParent(const WarmParent&) = delete;
  WarmParent& operator=(const WarmParent&) = delete;

  // False: the parent is dead; nothing will be answered.
  bool ask(const Request& request);
  // True: the request had not been sent yet and never will be; it is not answered.
  bool withdraw(const std::string& id);
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool alive() const { return alive_; }

 private:
  WarmParent(asio::io_context& context, pid_t pid, int fd, OnAnswer on_answer);
  void read();
  void take_ready();
  bool send(const std::string& line);
  void take_line(const std::string& line);
  void died();

  const pid_t pid_;
  bool alive_ = true;
  bool ready_ = false;
  asio::posix::stream_descriptor socket_;
  OnAnswer on_answer_;
  // Shared with the read that is under way: asio trims it once more when that is cancelled.
  std::shared_ptr<std::string> buffer_ = std::make_shared<std::string>();
  std::vector<std::pair<std::string, std::string>> waiting_;  // id and line, until it is ready
  std::vector<std::string> pending_;                          // ids sent and not answered
  std::shared_ptr<bool> here_ = std::make_shared<bool>(true);
};

}  // namespace holdfast
