#include "apps/lifecycle_source.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "io/file_pack.h"
#include "io/files.h"
#include "io/s3_bucket.h"
#include "io/sigv4.h"

namespace holdfast {
namespace {

// Of one request. A store that is down is told soon: the node asks again.
constexpr Duration kPatience = seconds(20);

Result<std::vector<PackedFile>> read_bucket(const std::string& source) {
  HF_TRY(const S3Url url, parse_s3_url(source));
  HF_TRY(const std::unique_ptr<S3Bucket> bucket,
         S3Bucket::open(url.bucket, process_aws_sources(), {.patience = kPatience}));
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

constexpr std::size_t kPackBytesMax = kFilePackMax * 2;  // of a file: names and lengths besides

}  // namespace

Result<LifecyclePack> read_lifecycle_source(const std::string& source,
                                            const std::vector<std::string>& programs) {
  HF_TRY(const std::vector<PackedFile> files,
         is_s3_url(source) ? read_bucket(source) : read_folder(source));
  for (const std::string& program : programs)
    if (std::ranges::find(files, program, &PackedFile::path) == files.end())
      return Error{Errc::kNotFound, source + ": '" + program +
                                        "' is not there; put it there, or name another program"};
  HF_TRY(std::string bytes, pack_files(files));
  return LifecyclePack{sha256_hex(bytes), std::move(bytes)};
}

Result<void> put_pack(const std::string& folder, const LifecyclePack& pack) {
  if (get_pack(folder, pack.files).ok()) return {};
  HF_TRY_VOID(make_folder(folder, 0700));
  return write_file_atomic(folder + "/" + pack.files, pack.bytes, 0600);
}

Result<LifecyclePack> get_pack(const std::string& folder, const std::string& files) {
  HF_TRY(std::string bytes, read_file(folder + "/" + files, kPackBytesMax));
  if (sha256_hex(bytes) != files)
    return Error{Errc::kStateCorrupt, folder + "/" + files +
                                          ": its content is not what its name says; update the "
                                          "cluster's software to give its nodes the files of now"};
  return LifecyclePack{files, std::move(bytes)};
}

void keep_packs(const std::string& folder, const std::set<std::string>& files) {
  DIR* stream = ::opendir(folder.c_str());
  if (stream == nullptr) return;
  while (const dirent* entry = ::readdir(stream))
    if (entry->d_name[0] != '.' && !files.contains(entry->d_name))
      ::unlink((folder + "/" + entry->d_name).c_str());
  ::closedir(stream);
}

}  // namespace holdfast
