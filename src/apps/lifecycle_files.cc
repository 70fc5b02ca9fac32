#include "apps/lifecycle_files.h"

#include <algorithm>

#include <asio/post.hpp>

#include "apps/lifecycle_source.h"
#include "io/clock.h"

namespace holdfast {
namespace {

constexpr std::size_t kPiece = 256 * 1024;
constexpr Duration kFresh = milliseconds(100);

}  // namespace

void LifecycleFiles::answer(NodeId node, const agent_message::LifecycleFilesWanted& wanted,
                            const std::string& source) {
  if (const auto found = sending_.find(node); wanted.offset > 0 && found != sending_.end() &&
                                              found->second.run == wanted.run &&
                                              wanted.offset <= found->second.pack->size())
    return send(node, found->second, wanted.offset);
  Source& from = sources_[source];
  if (from.pack && monotonic_ns() - from.read_ns < kFresh.ns)
    return begin(node, wanted.run, from.pack);
  const bool is_being_read = !from.waiting.empty();
  const std::pair waiting{node, wanted.run};
  if (std::find(from.waiting.begin(), from.waiting.end(), waiting) == from.waiting.end())
    from.waiting.push_back(waiting);
  if (is_being_read) return;
  asio::post(reader_, [this, source] {
    auto pack = std::make_shared<Result<std::string>>(read_lifecycle_source(source));
    asio::post(context_, [this, source, pack] { loaded(source, std::move(*pack)); });
  });
}

void LifecycleFiles::loaded(const std::string& source, Result<std::string> pack) {
  Source& from = sources_[source];
  const auto waiting = std::exchange(from.waiting, {});
  from.pack = pack.ok() ? std::make_shared<const std::string>(std::move(pack).value()) : nullptr;
  from.read_ns = monotonic_ns();
  for (const auto& [node, run] : waiting) {
    if (from.pack)
      begin(node, run, from.pack);
    else
      reply_(node, {.run = run, .error = "lifecycle scripts: " + pack.error().text()});
  }
}

void LifecycleFiles::begin(NodeId node, std::uint32_t run, const Pack& pack) {
  Sending& sending = sending_[node];
  sending = {run, pack};
  send(node, sending, 0);
}

void LifecycleFiles::send(NodeId node, const Sending& sending, std::uint64_t offset) {
  server_message::LifecycleFiles files{.run = sending.run,
                                       .offset = offset,
                                       .bytes_in_all = sending.pack->size(),
                                       .bytes = sending.pack->substr(offset, kPiece)};
  if (offset == 0) files.config = make_config_(node);
  reply_(node, std::move(files));
}

}  // namespace holdfast
