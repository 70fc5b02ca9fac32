#include "apps/lifecycle_source.h"

#include <memory>
#include <vector>

#include "io/file_pack.h"
#include "io/s3_bucket.h"

namespace holdfast {
namespace {

Result<std::vector<PackedFile>> read_bucket(const std::string& source) {
  HF_TRY(const S3Url url, parse_s3_url(source));
  HF_TRY(const std::unique_ptr<S3Bucket> bucket, S3Bucket::open(url.bucket, process_aws_sources()));
  const std::string prefix = url.prefix.empty() ? "" : url.prefix + "/";
  HF_TRY(const S3Page page, bucket->list(prefix, false));
  std::vector<PackedFile> files;
  std::uint64_t bytes = 0;
  for (const S3Object& object : page.objects) {
    if (object.key.ends_with("/")) continue;  // a console's idea of a folder
    bytes += object.bytes;
    if (bytes > kFilePackMax || files.size() >= kPackedFilesMax)
      return Error{Errc::kInvalidField, source + ": more than " +
                                            std::to_string(kFilePackMax >> 20) + " MiB or " +
                                            std::to_string(kPackedFilesMax) +
                                            " objects; give a prefix that has the scripts alone"};
    HF_TRY(std::string content, bucket->get_small(object.key, kFilePackMax));
    files.push_back({object.key.substr(prefix.size()), 0755, std::move(content)});
  }
  if (files.empty())
    return Error{Errc::kNotFound, source + ": no objects; put the lifecycle scripts there"};
  return files;
}

}  // namespace

Result<std::string> read_lifecycle_source(const std::string& source) {
  HF_TRY(const std::vector<PackedFile> files,
         is_s3_url(source) ? read_bucket(source) : read_folder(source));
  return pack_files(files);
}

}  // namespace holdfast
