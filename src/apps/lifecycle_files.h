#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>

#include "base/result.h"
#include "model/link.h"

namespace holdfast {

// Gives nodes the files of their lifecycle scripts, a piece at a time. They are read once for all
// nodes that ask at about the same time, on a thread of its own, and again later: what a person has
// changed meanwhile is seen by the next try.
class LifecycleFiles {
 public:
  // From the io_context.
  using Reply = std::function<void(NodeId, server_message::LifecycleFiles)>;
  // HyperPod's files for a node, when the first piece is sent; on the io_context.
  using MakeConfig = std::function<std::map<std::string, std::string>(NodeId)>;

  LifecycleFiles(asio::io_context& context, MakeConfig make_config, Reply reply)
      : context_(context), make_config_(std::move(make_config)), reply_(std::move(reply)) {}

  // `source`: a folder of this host, or s3://BUCKET/PREFIX with this process's credentials.
  void answer(NodeId node, const agent_message::LifecycleFilesWanted& wanted,
              const std::string& source);
  // It is no member any more, or has what it asked for.
  void forget(NodeId node) { sending_.erase(node); }

 private:
  using Pack = std::shared_ptr<const std::string>;
  struct Source {
    Pack pack;
    std::int64_t read_ns = 0;
    std::vector<std::pair<NodeId, std::uint32_t>> waiting;  // node, run
  };
  struct Sending {
    std::uint32_t run = 0;
    Pack pack;
  };

  void loaded(const std::string& source, Result<std::string> pack);
  void begin(NodeId node, std::uint32_t run, const Pack& pack);
  void send(NodeId node, const Sending& sending, std::uint64_t offset);

  asio::io_context& context_;
  const MakeConfig make_config_;
  const Reply reply_;
  std::map<std::string, Source> sources_;
  std::map<NodeId, Sending> sending_;
  asio::thread_pool reader_{1};  // last: ends before the rest
};

}  // namespace holdfast
