#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace holdfast {

// The XML that an S3 store answers with. Readers are strict about what we need and blind to the
// rest; kUnparsable for what is not as the API reference says.

struct S3ErrorAnswer {
  std::string code;     // "NoSuchKey"; empty: the body is not S3's
  std::string message;  // cut to 200 characters, printable
};
[[nodiscard]] S3ErrorAnswer read_s3_error(std::string_view body);

// InitiateMultipartUploadResult: the upload's id.
[[nodiscard]] Result<std::string> read_upload_id(std::string_view body);

// CompleteMultipartUploadResult: the object's ETag without quotes. A store may say 200 first and
// the error later, in the body: that is a value here (`error.code`).
struct S3Completion {
  std::string etag;
  S3ErrorAnswer error;
};
[[nodiscard]] Result<S3Completion> read_completion(std::string_view body);

struct S3Object {
  std::string key;
  std::uint64_t bytes = 0;
};
struct S3Page {
  std::vector<S3Object> objects;
  std::vector<std::string> folders;  // common prefixes, with their slash
  std::string next;                  // token of the next page; empty: this was the last
};
// ListObjectsV2 with encoding-type=url.
[[nodiscard]] Result<S3Page> read_list(std::string_view body);

struct S3PendingUpload {
  std::string key;
  std::string id;
  WallTime initiated;
};
struct S3UploadPage {
  std::vector<S3PendingUpload> uploads;
  std::string next_key, next_id;  // both empty: this was the last
};
// ListMultipartUploads with encoding-type=url.
[[nodiscard]] Result<S3UploadPage> read_uploads(std::string_view body);

// The body of CompleteMultipartUpload. ETags in the order of the parts.
[[nodiscard]] std::string write_completion(const std::vector<std::string>& etags);

// "bytes 0-9/443": what an answer of 206 holds.
struct ContentRange {
  std::uint64_t first = 0, last = 0, total = 0;
};
[[nodiscard]] Result<ContentRange> read_content_range(std::string_view text);

}  // namespace holdfast
