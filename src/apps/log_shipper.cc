#include "apps/log_shipper.h"

namespace holdfast {
namespace {

constexpr std::uint64_t kWindow = 1 << 20;
constexpr std::size_t kChunk = 256 * 1024;

}  // namespace

void LogShipper::add(const RankLauncher::Key& key, const std::string& log_file) {
  logs_.emplace(key, Log{.path = log_file, .tail = FileTail(log_file)});
}

void LogShipper::ended(const RankLauncher::Key& key) {
  if (const auto found = logs_.find(key); found != logs_.end()) found->second.ended = true;
}

void LogShipper::acknowledged(const server_message::LogAck& ack) {
  const auto found = logs_.find({ack.job, ack.attempt, ack.rank});
  if (found == logs_.end()) return;
  Log& log = found->second;
  log.acknowledged = std::max(log.acknowledged, ack.offset);
  if (log.ended && log.all_sent && log.acknowledged >= log.sent) logs_.erase(found);
}

void LogShipper::reconnected() {
  for (auto& [key, log] : logs_) {
    log.tail = FileTail(log.path, log.acknowledged);
    log.sent = log.acknowledged;
    log.all_sent = false;
  }
}

void LogShipper::ship() {
  for (auto it = logs_.begin(); it != logs_.end();) {
    Log& log = it->second;
    while (log.sent - log.acknowledged < kWindow) {
      auto chunk = log.tail.read_new(kChunk);
      if (!chunk.ok() || chunk->bytes.empty()) {
        log.all_sent = true;
        break;
      }
      log.all_sent = false;
      log.sent = chunk->offset + chunk->bytes.size();
      if (!send_({it->first.job, it->first.attempt, it->first.rank, chunk->offset,
                  std::move(chunk->bytes)}))
        return;  // reconnected() starts over from what was acknowledged
    }
    if (log.ended && log.all_sent && log.acknowledged >= log.sent)
      it = logs_.erase(it);
    else
      ++it;
  }
}

}  // namespace holdfast
