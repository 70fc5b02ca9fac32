#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "io/s3_answers.h"
#include "io/s3_config.h"
#include "io/s3_transfer.h"

namespace holdfast {

struct S3Head {
  std::uint64_t bytes = 0;
  std::string etag;
};

// One bucket of an S3 store. Each call is retried until S3Options::patience has passed, and its
// errors are those of S3Transfer::send. Safe from any thread. The process must ignore SIGPIPE.
//
// What was put is there for head() and get() when put() has returned. list() may not show it yet,
// or may still show what was removed: stores list late.
class S3Bucket {
 public:
  [[nodiscard]] static Result<std::unique_ptr<S3Bucket>> open(const std::string& bucket,
                                                              AwsSources sources,
                                                              const S3Options& options = {});

  // Replaces the object, at once or not at all. More than a part's bytes go in parallel parts, each
  // retried alone. The store is given the MD5 of what it must receive, and what it says that it
  // received is compared.
  Result<void> put(const std::string& key, std::span<const std::byte> bytes);

  // kNameExists: there is one already. Small objects only.
  Result<void> put_new(const std::string& key, std::span<const std::byte> bytes);

  // nullopt: there is no such object.
  [[nodiscard]] Result<std::optional<S3Head>> head(const std::string& key);

  // Fills `into` from `offset` of the object that `head` describes, in parallel ranges. Lengths and
  // version are checked, the content is not: that is for the checksums of who wrote it.
  // kWrongState: the object was replaced. kNotFound: it was removed.
  Result<void> get(const std::string& key, const S3Head& head, std::uint64_t offset,
                   std::span<std::byte> into);

  // A small object, of up to max_bytes (kUnparsable for more), its content checked where the ETag
  // is an MD5. kNotFound: there is none.
  [[nodiscard]] Result<std::string> get_small(const std::string& key, std::uint64_t max_bytes);

  // One that is not there is removed already.
  Result<void> remove(const std::string& key);

  // All that begin with `prefix`, and, with `fold`, the rest of a key after the next slash cut off:
  // those come as `folders`.
  [[nodiscard]] Result<S3Page> list(const std::string& prefix, bool fold);

  // Ends the uploads that were begun before `before` under `prefix`; how many there were.
  Result<std::size_t> abort_uploads(const std::string& prefix, WallTime before);

  [[nodiscard]] std::string name(std::string_view key) const;
  [[nodiscard]] const S3Options& options() const { return options_; }

  // An object that is sent in parts, from any thread, in any order. What is not finished is aborted
  // by the destructor.
  class Upload {
   public:
    ~Upload();
    Upload(const Upload&) = delete;
    Upload& operator=(const Upload&) = delete;
    // Part `index` of those that were announced, from 0.
    Result<void> put(std::size_t index, std::span<const std::byte> bytes);
    // REQUIRES: each part was put. The object is there when this has succeeded.
    Result<void> finish();

   private:
    friend class S3Bucket;
    struct Part {
      std::string md5;   // of what we sent
      std::string etag;  // what the store calls it
    };
    Upload(S3Bucket& bucket, std::string key, std::string id, std::size_t parts);
    Result<void> confirm(const std::string& expected, const S3Deadline& deadline);

    S3Bucket& bucket_;
    std::string key_, id_;
    std::vector<Part> parts_;
    bool open_ = true;
  };
  // The bucket outlives it. `parts` is at most kS3PartsMax.
  [[nodiscard]] Result<std::unique_ptr<Upload>> begin_upload(const std::string& key,
                                                             std::size_t parts);

 private:
  S3Bucket(std::string bucket, S3Config config, AwsSources sources, const S3Options& options);
  Result<void> put_whole(const std::string& key, std::span<const std::byte> bytes);

  S3Options options_;
  S3Transfer transfer_;
};

inline constexpr std::size_t kS3PartsMax = 10'000;  // S3's own limit

// The length of all parts but the last of an object of `bytes`: at least `wanted`.
[[nodiscard]] std::uint64_t s3_part_bytes(std::uint64_t bytes, std::uint64_t wanted);

}  // namespace holdfast
