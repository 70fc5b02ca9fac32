// s3_transfer put FILE s3://BUCKET/KEY | get s3://BUCKET/KEY FILE | list URL | remove URL | abort
// URL
//
// What the S3 client does, alone, for the bench and for the tests against a real server.
// Environment: AWS_* as for the AWS CLI. Prints the seconds that the transfer took.

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "io/clock.h"
#include "io/files.h"
#include "io/s3_bucket.h"

namespace holdfast {
namespace {

struct Mapping {
  void* bytes = nullptr;
  std::size_t size = 0;
  ~Mapping() {
    if (size > 0) ::munmap(bytes, size);
  }
};

Result<std::unique_ptr<Mapping>> map(const std::string& path, int flags, std::uint64_t size) {
  HF_TRY(const UniqueFd file, open_file(path, flags, 0644));
  const bool writes = (flags & O_RDWR) != 0;
  struct stat status = {};
  if (writes ? ::ftruncate(file.get(), static_cast<off_t>(size)) != 0
             : ::fstat(file.get(), &status) != 0)
    return os_error("cannot use", path, errno);
  auto mapping = std::make_unique<Mapping>();
  const std::size_t length = writes ? size : static_cast<std::size_t>(status.st_size);
  if (length == 0) return mapping;
  void* bytes = ::mmap(nullptr, length, writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
                       file.get(), 0);
  if (bytes == MAP_FAILED) return os_error("cannot map", path, errno);
  mapping->bytes = bytes;
  mapping->size = length;
  return mapping;
}

Result<void> put(S3Bucket& bucket, const std::string& key, const std::string& path) {
  HF_TRY(const auto file, map(path, O_RDONLY, 0));
  return bucket.put(key, {static_cast<const std::byte*>(file->bytes), file->size});
}

Result<void> get(S3Bucket& bucket, const std::string& key, const std::string& path) {
  HF_TRY(const auto head, bucket.head(key));
  if (!head) return Error{Errc::kNotFound, bucket.name(key) + " is not there"};
  HF_TRY(const auto file, map(path, O_RDWR | O_CREAT | O_TRUNC, head->bytes));
  return bucket.get(key, *head, 0, {static_cast<std::byte*>(file->bytes), file->size});
}

Result<void> list(S3Bucket& bucket, const std::string& prefix) {
  HF_TRY(const S3Page page, bucket.list(prefix, false));
  for (const S3Object& object : page.objects)
    std::printf("%llu %s\n", static_cast<unsigned long long>(object.bytes), object.key.c_str());
  return {};
}

Result<void> abort_all(S3Bucket& bucket, const std::string& prefix) {
  HF_TRY(const std::size_t ended, bucket.abort_uploads(prefix, WallTime{INT64_MAX}));
  std::printf("%zu uploads aborted\n", ended);
  return {};
}

Result<void> run(const std::vector<std::string>& words) {
  const std::string what = words.size() > 1 ? words[1] : "";
  if (words.size() != (what == "put" || what == "get" ? 4u : 3u))
    return Error{Errc::kInvalidField,
                 "usage: s3_transfer put FILE URL | get URL FILE | list URL | "
                 "remove URL | abort URL"};
  HF_TRY(const S3Url url, parse_s3_url(what == "put" ? words[3] : words[2]));
  HF_TRY(const auto bucket, S3Bucket::open(url.bucket, process_aws_sources()));
  if (what == "put") return put(*bucket, url.prefix, words[2]);
  if (what == "get") return get(*bucket, url.prefix, words[3]);
  if (what == "list") return list(*bucket, url.prefix);
  if (what == "remove") return bucket->remove(url.prefix);
  if (what == "abort") return abort_all(*bucket, url.prefix);
  return Error{Errc::kInvalidField, "no command `" + what + "`"};
}

}  // namespace
}  // namespace holdfast

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  const std::int64_t began = holdfast::monotonic_ns();
  const auto done = holdfast::run({argv, argv + argc});
  if (!done.ok()) {
    std::fprintf(stderr, "%s\n", done.error().text().c_str());
    return 1;
  }
  std::printf("%.3f s\n", static_cast<double>(holdfast::monotonic_ns() - began) / 1e9);
  return 0;
}
