#pragma once

#include <string>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include "io/unique_fd.h"

namespace holdfast {

// Keeper and server watch each other: the keeper starts the server again when it dies (up.h), and
// the server starts a keeper anew when that dies, so that no single kill leaves a cluster without
// one. The new keeper is no parent of the server; how the server ended it reads from a pipe, which
// says nothing of a server that was killed.
//
// One thread: that of the io_context.
class KeeperWatch {
 public:
  // `keeper`: the process that started this one.
  KeeperWatch(asio::io_context& context, std::string state, int keeper);

  // The last word of this server. Call it before a voluntary end.
  void tell(int exit_status);

 private:
  void watch(int keeper);
  void start_anew();

  const std::string state_;
  asio::posix::stream_descriptor keeper_;
  UniqueFd word_;  // to a keeper that we have started
};

// What a server that is not our child says of its end on `fd`; waits for it. -1: it was killed.
int last_word(int fd);

}  // namespace holdfast
