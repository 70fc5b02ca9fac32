#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/time.h"
#include "model/http.h"

namespace holdfast {

// The signed requests that changed something, for as long as their signatures hold: one signature
// is one request, carried out once, however often it is sent.
//
// A signature covers all that a request says, its second included, so who has seen one on its way
// can only send it again as it is. An SDK does so too, when it tries again within the same second:
// it says so with the same id of the call (amz-sdk-invocation-id), and gets the answer that the
// first try got. With another id, or none, it is a second call that says just the same within the
// same second, or a replay; the id is not signed, so these two cannot be told apart. Neither is
// carried out nor passed over in silence: an SDK that is throttled signs anew a moment later, which
// is another request. Requests that only look may be repeated freely.
//
// Bounded: past `entries_max` a new one is refused until old signatures have expired, for to forget
// one would let it be repeated; past `bytes_max` of answers kept, a repeated request is still not
// carried out, but its answer is gone. What an earlier process has seen is told by restore().
class SeenRequests {
 public:
  explicit SeenRequests(std::size_t entries_max = 32'768, std::size_t bytes_max = 16 << 20)
      : entries_max_(entries_max), bytes_max_(bytes_max) {}

  enum class Verdict {
    kNew,         // carry it out, then call done()
    kUnderWay,    // the first one is being carried out
    kDone,        // `answer`
    kOtherCall,   // the same signature, but not said to be the same call
    kAnswerGone,  // it was carried out (perhaps by an earlier process), but no answer was kept
    kFull
  };
  struct Seen {
    Verdict verdict = Verdict::kNew;
    HttpResponse answer;
  };
  // `call`: the SDK's id of it, or empty. `expires`: when the signature is no longer taken.
  [[nodiscard]] Seen begin(const std::string& signature, const std::string& call, WallTime expires,
                           WallTime now);
  // It was carried out, or at least begun, before this process started.
  void restore(const std::string& signature, WallTime expires);
  // REQUIRES: begin() said kNew.
  void done(const std::string& signature, const HttpResponse& answer);

  [[nodiscard]] std::size_t size() const { return seen_.size(); }

 private:
  struct Entry {
    std::string call;
    WallTime expires;
    bool is_done = false;
    bool is_restored = false;
    std::optional<HttpResponse> answer;
  };
  void forget_expired(WallTime now);

  const std::size_t entries_max_, bytes_max_;
  std::map<std::string, Entry> seen_;
  std::set<std::pair<WallTime, std::string>> by_expiry_;
  std::size_t bytes_ = 0;  // of the answers
};

}  // namespace holdfast
