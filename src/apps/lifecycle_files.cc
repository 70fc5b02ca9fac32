#include "apps/lifecycle_files.h"

#include <algorithm>

#include <asio/post.hpp>

#include "io/clock.h"

namespace holdfast {
namespace {

constexpr std::size_t kPiece = 256 * 1024;
constexpr Duration kFresh = milliseconds(100);

Result<LifecyclePack> read_pack(const LifecycleWish& wish, const std::string& folder) {
  if (!wish.kept.empty()) return get_pack(folder, wish.kept);
  HF_TRY(LifecyclePack pack, read_lifecycle_source(wish.source, wish.programs));
  HF_TRY_VOID(put_pack(folder, pack));
  return pack;
}

}  // namespace

void LifecycleFiles::answer(NodeId node, const agent_message::LifecycleFilesWanted& wanted,
                            const LifecycleWish& wish) {
  if (const auto found = sending_.find(node); wanted.offset > 0 && found != sending_.end() &&
                                              found->second.run == wanted.run &&
                                              wanted.offset <= found->second.pack->bytes.size())
    return send(node, found->second, wanted.offset);
  Source& from = sources_[wish];
  if (from.pack && monotonic_ns() - from.read_ns < kFresh.ns)
    return begin(node, wanted.run, wish, from.pack);
  const bool is_being_read = !from.waiting.empty();
  const std::pair waiting{node, wanted.run};
  if (std::find(from.waiting.begin(), from.waiting.end(), waiting) == from.waiting.end())
    from.waiting.push_back(waiting);
  if (is_being_read) return;
  asio::post(reader_, [this, wish] {
    auto pack = std::make_shared<Result<LifecyclePack>>(read_pack(wish, folder_));
    asio::post(context_, [this, wish, pack] { loaded(wish, std::move(*pack)); });
  });
}

void LifecycleFiles::loaded(const LifecycleWish& wish, Result<LifecyclePack> pack) {
  Source& from = sources_[wish];
  const auto waiting = std::exchange(from.waiting, {});
  from.pack = pack.ok() ? std::make_shared<const LifecyclePack>(std::move(pack).value()) : nullptr;
  from.read_ns = monotonic_ns();
  const Pack read = from.pack;
  if (read == nullptr) sources_.erase(wish);
  for (const auto& [node, run] : waiting) {
    if (read)
      begin(node, run, wish, read);
    else
      on_read_(node, run, wish, pack.error());
  }
}

void LifecycleFiles::begin(NodeId node, std::uint32_t run, const LifecycleWish& wish,
                           const Pack& pack) {
  if (!on_read_(node, run, wish, pack->files)) return;
  Sending& sending = sending_[node];
  sending = {run, pack};
  send(node, sending, 0);
}

void LifecycleFiles::send(NodeId node, const Sending& sending, std::uint64_t offset) {
  const std::string& bytes = sending.pack->bytes;
  server_message::LifecycleFiles files{.run = sending.run,
                                       .offset = offset,
                                       .bytes_in_all = bytes.size(),
                                       .bytes = bytes.substr(offset, kPiece)};
  if (offset == 0) files.config = make_config_(node);
  reply_(node, std::move(files));
}

}  // namespace holdfast
