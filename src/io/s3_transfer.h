#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "io/s3_answers.h"
#include "io/s3_config.h"
#include "io/s3_retry.h"

namespace holdfast {

struct S3Options {
  S3RetryPolicy retry;
  Duration connect = seconds(5);
  Duration stall = seconds(20);     // a transfer that moves nothing for so long is cut and retried
  Duration patience = minutes(10);  // of one call, with all its retries
  std::uint64_t part_bytes = std::uint64_t{16} << 20;  // S3 wants at least 5 MiB
  // Of one request. Less than a part: OpenStack Swift sums, twice, a part that is read whole, which
  // is half of its work (docs/benchmarks.md); who reads much verifies it.
  std::uint64_t read_bytes = std::uint64_t{8} << 20;
  unsigned parallel = 8;  // requests at once, of one call
};

// A point on the monotonic clock at which a call gives up.
class S3Deadline {
 public:
  explicit S3Deadline(Duration patience);
  [[nodiscard]] Duration left() const;  // 0: it has passed

 private:
  std::int64_t end_ns_;
};

struct S3Answer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // what did not go into S3Call::into
  S3ErrorAnswer error;

  [[nodiscard]] std::string header(const std::string& name) const;
  [[nodiscard]] std::string etag() const;  // without quotes
};

struct S3Call {
  std::string method = "GET";
  std::string key;  // empty: the bucket
  std::vector<std::pair<std::string, std::string>> query;
  std::map<std::string, std::string> headers;  // names in lower case
  std::span<const std::byte> body;             // stays valid until the call returns
  // Where a range goes. It begins at `offset` of an object of `total` bytes; a try goes on where
  // the one before was cut off.
  std::span<std::byte> into;
  std::uint64_t offset = 0;
  std::uint64_t total = 0;
  std::string etag;  // of the only version that will do; else 412
  // What is wrong with an answer of 2xx: then it is tried again. Empty: nothing.
  std::function<std::string(const S3Answer&)> problem;
};

// Signed requests to one bucket, tried again until they are answered. Safe from any thread; each
// thread uses a connection of its own, kept for the next call.
class S3Transfer {
 public:
  S3Transfer(std::string bucket, S3Config config, AwsSources sources, const S3Options& options);
  ~S3Transfer();
  S3Transfer(const S3Transfer&) = delete;
  S3Transfer& operator=(const S3Transfer&) = delete;

  // An answer of 2xx, 404 or 412, or of 501 to an If-None-Match. kStoreUnavailable: none of those
  // within `deadline` (500, 503, 429, cut off, too slow, the wrong length or content).
  // kStoreRefused: any other, among them 403 and expired credentials, which are read anew once.
  [[nodiscard]] Result<S3Answer> send(const S3Call& call, const S3Deadline& deadline);

  // "s3://bucket/key"
  [[nodiscard]] std::string name(std::string_view key) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast
