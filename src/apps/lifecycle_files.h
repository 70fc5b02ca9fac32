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

#include "apps/lifecycle_source.h"
#include "base/result.h"
#include "model/link.h"

namespace holdfast {

// Which files a node gets.
struct LifecycleWish {
  // A folder of this host, or s3://BUCKET/PREFIX with this process's credentials.
  std::string source;
  std::vector<std::string> programs;  // that must be there
  std::string kept;                   // SHA-256 of the pack that it gets instead; empty: none

  friend auto operator<=>(const LifecycleWish&, const LifecycleWish&) = default;
};

// Gives nodes the files of their lifecycle scripts, a piece at a time. They are read once for all
// nodes that ask at about the same time, on a thread of its own, and again later: what a person has
// changed meanwhile is seen by the next try. Each version is kept in a folder before it is given.
class LifecycleFiles {
 public:
  // On the io_context, before the first piece is sent: the version (its SHA-256), or why there is
  // none. The node asks again when it gets nothing. False: do not send it.
  using OnRead = std::function<bool(NodeId, std::uint32_t run, const LifecycleWish& wish,
                                    const Result<std::string>& files)>;
  // From the io_context.
  using Reply = std::function<void(NodeId, server_message::LifecycleFiles)>;
  // HyperPod's files for a node, when the first piece is sent; on the io_context.
  using MakeConfig = std::function<std::map<std::string, std::string>(NodeId)>;

  LifecycleFiles(asio::io_context& context, std::string folder, OnRead on_read,
                 MakeConfig make_config, Reply reply)
      : context_(context),
        folder_(std::move(folder)),
        on_read_(std::move(on_read)),
        make_config_(std::move(make_config)),
        reply_(std::move(reply)) {}

  void answer(NodeId node, const agent_message::LifecycleFilesWanted& wanted,
              const LifecycleWish& wish);
  // It is no member any more, or has what it asked for.
  void forget(NodeId node) { sending_.erase(node); }

 private:
  using Pack = std::shared_ptr<const LifecyclePack>;
  struct Source {
    Pack pack;
    std::int64_t read_ns = 0;
    std::vector<std::pair<NodeId, std::uint32_t>> waiting;  // node, run
  };
  struct Sending {
    std::uint32_t run = 0;
    Pack pack;
  };

  void loaded(const LifecycleWish& wish, Result<LifecyclePack> pack);
  void begin(NodeId node, std::uint32_t run, const LifecycleWish& wish, const Pack& pack);
  void send(NodeId node, const Sending& sending, std::uint64_t offset);

  asio::io_context& context_;
  const std::string folder_;
  const OnRead on_read_;
  const MakeConfig make_config_;
  const Reply reply_;
  std::map<LifecycleWish, Source> sources_;
  std::map<NodeId, Sending> sending_;
  asio::thread_pool reader_{1};  // last: ends before the rest
};

}  // namespace holdfast
