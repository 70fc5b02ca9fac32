#include "io/s3_bucket.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/check.h"

namespace holdfast {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::size_t kPagesMax = 100'000;

using Md5 = std::array<unsigned char, 16>;

Md5 md5_of(std::span<const std::byte> bytes) {
  Md5 digest = {};
  unsigned int length = 0;
  CHECK(::EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, ::EVP_md5(), nullptr) ==
        1);
  return digest;
}

std::string hex(std::span<const unsigned char> bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::string base64(const Md5& digest) {
  std::array<unsigned char, 25> text = {};
  const int length = ::EVP_EncodeBlock(text.data(), digest.data(), digest.size());
  return {reinterpret_cast<const char*>(text.data()), static_cast<std::size_t>(length)};
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// An ETag is the MD5 of what was sent, unless the store encrypts with a key of its own.
bool has_md5_etag(const S3Answer& answer) {
  const std::string encryption = answer.header("x-amz-server-side-encryption");
  return (encryption.empty() || encryption == "AES256") &&
         answer.header("x-amz-server-side-encryption-customer-algorithm").empty() &&
         answer.etag().size() == 32 &&
         answer.etag().find_first_not_of("0123456789abcdef") == std::string::npos;
}

// Sends a body whose MD5 both sides know; the answer's ETag.
S3Call call_with_md5(std::string key, std::span<const std::byte> bytes, const Md5& md5) {
  S3Call call{.method = "PUT", .key = std::move(key), .body = bytes};
  call.headers["content-md5"] = base64(md5);
  call.problem = [expected = hex(md5)](const S3Answer& answer) -> std::string {
    if (answer.etag().empty()) return "the answer has no ETag";
    if (has_md5_etag(answer) && answer.etag() != expected)
      return "the store received other bytes than were sent (ETag " + answer.etag() +
             " instead of " + expected + ")";
    return "";
  };
  return call;
}

// Calls task(i) for each i < count on up to `threads` threads. The first error ends it.
Result<void> in_parallel(std::size_t count, unsigned threads,
                         const std::function<Result<void>(std::size_t)>& task) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::optional<Error> failure;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      const Result<void> done = task(i);
      if (done.ok()) continue;
      next = count;
      const std::lock_guard lock(mutex);
      if (!failure) failure = done.error();
    }
  };
  std::vector<std::thread> others;
  try {
    while (others.size() + 1 < std::min<std::size_t>(threads, count)) others.emplace_back(work);
  } catch (const std::system_error&) {
    // As many as the machine gives us.
  }
  work();
  for (std::thread& other : others) other.join();
  if (failure) return *failure;
  return {};
}

Error not_found(const std::string& name) {
  return {Errc::kNotFound, name + " is not there; check the bucket and the prefix"};
}

}  // namespace

std::uint64_t s3_part_bytes(std::uint64_t bytes, std::uint64_t wanted) {
  const std::uint64_t least = (bytes + kS3PartsMax - 1) / kS3PartsMax;
  return least <= wanted ? wanted : (least + kMiB - 1) / kMiB * kMiB;
}

Result<std::unique_ptr<S3Bucket>> S3Bucket::open(const std::string& bucket, AwsSources sources,
                                                 const S3Options& options) {
  HF_TRY(S3Config config, s3_config(sources));
  return std::unique_ptr<S3Bucket>(
      new S3Bucket(bucket, std::move(config), std::move(sources), options));
}

S3Bucket::S3Bucket(std::string bucket, S3Config config, AwsSources sources,
                   const S3Options& options)
    : options_(options),
      transfer_(std::move(bucket), std::move(config), std::move(sources), options) {}

std::string S3Bucket::name(std::string_view key) const {
  return transfer_.name(key);
}

Result<void> S3Bucket::put(const std::string& key, std::span<const std::byte> bytes) {
  const std::uint64_t part = s3_part_bytes(bytes.size(), options_.part_bytes);
  if (bytes.size() <= part) return put_whole(key, bytes);
  const std::size_t parts = (bytes.size() + part - 1) / part;
  HF_TRY(const auto upload, begin_upload(key, parts));
  HF_TRY_VOID(in_parallel(parts, options_.parallel, [&](std::size_t i) {
    return upload->put(i, bytes.subspan(i * part, std::min(part, bytes.size() - i * part)));
  }));
  return upload->finish();
}

Result<void> S3Bucket::put_whole(const std::string& key, std::span<const std::byte> bytes) {
  HF_TRY(const S3Answer answer,
         transfer_.send(call_with_md5(key, bytes, md5_of(bytes)), S3Deadline(options_.patience)));
  return answer.status == 404 ? not_found(name(key)) : Result<void>();
}

Result<void> S3Bucket::put_new(const std::string& key, std::span<const std::byte> bytes) {
  // Some stores do not know If-None-Match: there, looking before has to do.
  HF_TRY(const std::optional<S3Head> there, head(key));
  int status = 412;
  if (!there) {
    S3Call call = call_with_md5(key, bytes, md5_of(bytes));
    call.headers["if-none-match"] = "*";
    HF_TRY(const S3Answer answer, transfer_.send(call, S3Deadline(options_.patience)));
    status = answer.status;
  }
  if (status == 501) return put_whole(key, bytes);
  if (status == 412)
    return Error{Errc::kNameExists, name(key) + " is there already; it is never replaced"};
  return status == 404 ? not_found(name(key)) : Result<void>();
}

Result<std::optional<S3Head>> S3Bucket::head(const std::string& key) {
  S3Call call{.method = "HEAD", .key = key};
  call.problem = [](const S3Answer& answer) -> std::string {
    const std::string length = answer.header("content-length");
    const bool number = !length.empty() && length.size() < 19 &&
                        length.find_first_not_of("0123456789") == std::string::npos;
    if (!number) return "the answer has no Content-Length";
    return answer.etag().empty() ? "the answer has no ETag" : "";
  };
  HF_TRY(const S3Answer answer, transfer_.send(call, S3Deadline(options_.patience)));
  if (answer.status != 200) return std::optional<S3Head>();
  return std::optional(S3Head{std::stoull(answer.header("content-length")), answer.etag()});
}

Result<void> S3Bucket::get(const std::string& key, const S3Head& head, std::uint64_t offset,
                           std::span<std::byte> into) {
  CHECK(offset <= head.bytes && into.size() <= head.bytes - offset);
  const std::uint64_t part = options_.read_bytes;
  const S3Deadline deadline(options_.patience);
  return in_parallel((into.size() + part - 1) / part, options_.parallel,
                     [&](std::size_t i) -> Result<void> {
                       const std::uint64_t at = i * part;
                       const S3Call call{.key = key,
                                         .into = into.subspan(at, std::min(part, into.size() - at)),
                                         .offset = offset + at,
                                         .total = head.bytes,
                                         .etag = head.etag};
                       HF_TRY(const S3Answer answer, transfer_.send(call, deadline));
                       if (answer.status == 404) return not_found(name(key));
                       if (answer.status == 412)
                         return Error{Errc::kWrongState,
                                      name(key) + " was replaced while it was read; read again"};
                       return {};
                     });
}

Result<std::string> S3Bucket::get_small(const std::string& key, std::uint64_t max_bytes) {
  S3Call call{.key = key};
  call.problem = [](const S3Answer& answer) -> std::string {
    const bool right = !has_md5_etag(answer) || hex(md5_of(bytes_of(answer.body))) == answer.etag();
    return right ? "" : "the bytes that came do not have the MD5 of the ETag";
  };
  HF_TRY(S3Answer answer, transfer_.send(call, S3Deadline(options_.patience)));
  if (answer.status != 200) return not_found(name(key));
  if (answer.body.size() > max_bytes)
    return Error{Errc::kUnparsable, name(key) + ": " + std::to_string(answer.body.size()) +
                                        " bytes; expected at most " + std::to_string(max_bytes)};
  return std::move(answer.body);
}

Result<void> S3Bucket::remove(const std::string& key) {
  HF_TRY(const S3Answer answer,
         transfer_.send({.method = "DELETE", .key = key}, S3Deadline(options_.patience)));
  return {};
}

Result<S3Page> S3Bucket::list(const std::string& prefix, bool fold) {
  const S3Deadline deadline(options_.patience);
  S3Page all;
  std::string token;
  for (std::size_t pages = 0; pages < kPagesMax; ++pages) {
    S3Call call{.query = {{"list-type", "2"}, {"encoding-type", "url"}, {"prefix", prefix}}};
    if (fold) call.query.emplace_back("delimiter", "/");
    if (!token.empty()) call.query.emplace_back("continuation-token", token);
    HF_TRY(const S3Answer answer, transfer_.send(call, deadline));
    if (answer.status != 200) return not_found(name(""));
    HF_TRY(S3Page page, read_list(answer.body));
    std::ranges::move(page.objects, std::back_inserter(all.objects));
    std::ranges::move(page.folders, std::back_inserter(all.folders));
    if (page.next.empty()) return all;
    token = std::move(page.next);
  }
  return Error{Errc::kUnparsable, name(prefix) + ": the listing has no end"};
}

Result<std::size_t> S3Bucket::abort_uploads(const std::string& prefix, WallTime before) {
  const S3Deadline deadline(options_.patience);
  std::vector<S3PendingUpload> old;
  S3UploadPage page;
  for (std::size_t pages = 0; pages < kPagesMax; ++pages) {
    S3Call call{.query = {{"uploads", ""}, {"encoding-type", "url"}, {"prefix", prefix}}};
    if (!page.next_key.empty()) call.query.emplace_back("key-marker", page.next_key);
    if (!page.next_id.empty()) call.query.emplace_back("upload-id-marker", page.next_id);
    HF_TRY(const S3Answer answer, transfer_.send(call, deadline));
    if (answer.status != 200) return not_found(name(""));
    HF_TRY(page, read_uploads(answer.body));
    for (S3PendingUpload& upload : page.uploads)
      if (upload.initiated < before) old.push_back(std::move(upload));
    if (page.next_key.empty()) break;
  }
  for (const S3PendingUpload& upload : old) {
    HF_TRY(
        const S3Answer answer,
        transfer_.send({.method = "DELETE", .key = upload.key, .query = {{"uploadId", upload.id}}},
                       deadline));
  }
  return old.size();
}

Result<std::unique_ptr<S3Bucket::Upload>> S3Bucket::begin_upload(const std::string& key,
                                                                 std::size_t parts) {
  CHECK(parts > 0 && parts <= kS3PartsMax);
  const S3Call call{.method = "POST", .key = key, .query = {{"uploads", ""}}};
  HF_TRY(const S3Answer answer, transfer_.send(call, S3Deadline(options_.patience)));
  if (answer.status != 200) return not_found(name(key));
  HF_TRY(std::string id, read_upload_id(answer.body));
  return std::unique_ptr<Upload>(new Upload(*this, key, std::move(id), parts));
}

S3Bucket::Upload::Upload(S3Bucket& bucket, std::string key, std::string id, std::size_t parts)
    : bucket_(bucket), key_(std::move(key)), id_(std::move(id)), parts_(parts) {}

S3Bucket::Upload::~Upload() {
  if (!open_) return;
  // What cannot be aborted now is found by abort_uploads() later.
  constexpr Duration patience = seconds(5);
  (void)bucket_.transfer_.send({.method = "DELETE", .key = key_, .query = {{"uploadId", id_}}},
                               S3Deadline(std::min(patience, bucket_.options_.patience)));
}

Result<void> S3Bucket::Upload::put(std::size_t index, std::span<const std::byte> bytes) {
  CHECK(index < parts_.size());
  const Md5 md5 = md5_of(bytes);
  S3Call call = call_with_md5(key_, bytes, md5);
  call.query = {{"partNumber", std::to_string(index + 1)}, {"uploadId", id_}};
  HF_TRY(const S3Answer answer,
         bucket_.transfer_.send(call, S3Deadline(bucket_.options_.patience)));
  if (answer.status != 200)
    return Error{Errc::kStoreUnavailable,
                 bucket_.name(key_) + ": the upload was ended by somebody else; try again"};
  parts_[index] = {{reinterpret_cast<const char*>(md5.data()), md5.size()}, answer.etag()};
  return {};
}

Result<void> S3Bucket::Upload::finish() {
  std::vector<std::string> etags;
  std::string digests;
  bool plain = true;
  for (const Part& part : parts_) {
    CHECK(!part.etag.empty());
    etags.push_back(part.etag);
    digests += part.md5;
    const std::span md5(reinterpret_cast<const unsigned char*>(part.md5.data()), part.md5.size());
    plain = plain && hex(md5) == part.etag;
  }
  // S3's ETag of an object in parts: the MD5 of their MD5s, and how many there are.
  const std::string expected =
      plain ? hex(md5_of(bytes_of(digests))) + "-" + std::to_string(parts_.size()) : "";
  const std::string body = write_completion(etags);
  S3Call call{.method = "POST", .key = key_, .query = {{"uploadId", id_}}, .body = bytes_of(body)};
  call.problem = [](const S3Answer& answer) -> std::string {
    const auto completion = read_completion(answer.body);
    if (!completion) return completion.error().detail;
    return completion->error.code.empty() || completion->error.code == "NoSuchUpload"
               ? ""
               : "200 and then " + completion->error.code;
  };
  const S3Deadline deadline(bucket_.options_.patience);
  HF_TRY(const S3Answer answer, bucket_.transfer_.send(call, deadline));
  const auto completion = read_completion(answer.body);
  if (answer.status == 200 && completion.ok() && completion->etag == expected &&
      !expected.empty()) {
    open_ = false;
    return {};
  }
  // The answer to a first try may have been lost: then the upload is no more, and the object is.
  return confirm(expected, deadline);
}

Result<void> S3Bucket::Upload::confirm(const std::string& expected, const S3Deadline& deadline) {
  HF_TRY(const S3Answer head, bucket_.transfer_.send({.method = "HEAD", .key = key_}, deadline));
  const std::string etag = head.etag();
  const std::string suffix = "-" + std::to_string(parts_.size());
  if (head.status != 200 || (expected.empty() ? !etag.ends_with(suffix) : etag != expected))
    return Error{Errc::kStoreUnavailable,
                 bucket_.name(key_) + ": the store has not put the parts together (ETag `" + etag +
                     "`, expected " + (expected.empty() ? "*" + suffix : expected) +
                     "); try again"};
  open_ = false;
  return {};
}

}  // namespace holdfast
