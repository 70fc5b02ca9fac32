#pragma once

#include <functional>
#include <list>
#include <string>

#include <asio/io_context.hpp>

#include "apps/rank_launcher.h"
#include "model/link.h"

namespace holdfast {

// Asks a rank where it is: Python ranks dump their own stacks on a signal (also while they hold the
// interpreter's lock); of others, and of those that do not answer, the kernel tells.
class StackCollector {
 public:
  using OnStacks = std::function<void(const agent_message::StacksCollected&)>;
  StackCollector(asio::io_context& context, OnStacks on_stacks)
      : context_(context), on_stacks_(std::move(on_stacks)) {}

  // Answers within about two seconds.
  void collect(const RankLauncher::Key& key, const RankLauncher::Rank& rank);

 private:
  asio::io_context& context_;
  OnStacks on_stacks_;
};

}  // namespace holdfast
