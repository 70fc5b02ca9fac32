#pragma once

#include <string>

#include <asio/io_context.hpp>
#include <asio/post.hpp>

#include "drivers/machine_provider.h"

namespace holdfast {

// Machines are somebody else's to start and to end: each finds its password in
// NODES/n3/join.token. One that is given back is gone as far as we know.
class ExternalDriver final : public MachineProvider {
 public:
  ExternalDriver(asio::io_context& context, std::string nodes_folder, MakeToken make_token,
                 OnGone on_gone)
      : context_(context),
        nodes_folder_(std::move(nodes_folder)),
        make_token_(std::move(make_token)),
        on_gone_(std::move(on_gone)) {}

  void provision(const MachineWish& wish) override;
  void adopt(NodeId) override {}
  void terminate(NodeId node) override { tell_gone(node, "given back"); }
  // Nobody here can restart it: it is given back.
  void reboot(NodeId node) override { tell_gone(node, "given back: it cannot be restarted"); }
  bool end_everything() override { return true; }

 private:
  void tell_gone(NodeId node, const std::string& reason) {
    asio::post(context_, [this, node, reason] { on_gone_(node, reason); });
  }

  asio::io_context& context_;
  const std::string nodes_folder_;
  const MakeToken make_token_;
  const OnGone on_gone_;
};

}  // namespace holdfast
