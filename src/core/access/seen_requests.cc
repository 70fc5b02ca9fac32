#include "core/access/seen_requests.h"

namespace holdfast {
namespace {

// An SDK's is a UUID. What is longer is kept short, and never the same call.
constexpr std::size_t kCallMax = 64;

}  // namespace

SeenRequests::Seen SeenRequests::begin(const std::string& signature, const std::string& call,
                                       WallTime expires, WallTime now) {
  forget_expired(now);
  if (const auto found = seen_.find(signature); found != seen_.end()) {
    const Entry& entry = found->second;
    if (entry.is_restored) return {Verdict::kAnswerGone, {}};
    if (call.empty() || call != entry.call) return {Verdict::kOtherCall, {}};
    if (!entry.is_done) return {Verdict::kUnderWay, {}};
    if (!entry.answer) return {Verdict::kAnswerGone, {}};
    return {Verdict::kDone, *entry.answer};
  }
  if (seen_.size() >= entries_max_) return {Verdict::kFull, {}};
  seen_.emplace(signature, Entry{.call = call.substr(0, kCallMax), .expires = expires});
  by_expiry_.emplace(expires, signature);
  return {Verdict::kNew, {}};
}

void SeenRequests::restore(const std::string& signature, WallTime expires) {
  const bool is_new =
      seen_.emplace(signature, Entry{.expires = expires, .is_done = true, .is_restored = true})
          .second;
  if (is_new) by_expiry_.emplace(expires, signature);
}

void SeenRequests::done(const std::string& signature, const HttpResponse& answer) {
  const auto found = seen_.find(signature);
  if (found == seen_.end()) return;  // expired meanwhile
  found->second.is_done = true;
  if (bytes_ + answer.body.size() > bytes_max_) return;
  bytes_ += answer.body.size();
  found->second.answer = answer;
}

void SeenRequests::forget_expired(WallTime now) {
  while (!by_expiry_.empty() && by_expiry_.begin()->first < now) {
    const auto found = seen_.find(by_expiry_.begin()->second);
    if (found->second.answer) bytes_ -= found->second.answer->body.size();
    seen_.erase(found);
    by_expiry_.erase(by_expiry_.begin());
  }
}

}  // namespace holdfast
