#include "io/file_pack.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "io/files.h"
#include "link.pb.h"

namespace holdfast {
namespace {

Error too_large(const std::string& what) {
  return {Errc::kInvalidField, what + ": more than " + std::to_string(kFilePackMax >> 20) +
                                   " MiB or " + std::to_string(kPackedFilesMax) +
                                   " files; let the scripts fetch what is large"};
}

Result<void> check_path(const std::string& path) {
  bool ok = !path.empty() && path.size() <= 1024 && path.front() != '/' && path.back() != '/' &&
            path.find('\0') == std::string::npos;
  for (std::size_t begin = 0; ok && begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    ok = !part.empty() && part != "." && part != "..";
    begin = end + 1;
  }
  if (ok) return {};
  return Error{Errc::kInvalidField,
               "files: path '" + path.substr(0, 200) +
                   "' is not allowed; it is below the folder, without '.' and '..'"};
}

}  // namespace

Result<std::string> pack_files(const std::vector<PackedFile>& files) {
  if (files.size() > kPackedFilesMax) return too_large("files");
  wire::FilePack pack;
  std::size_t bytes = 0;
  for (const PackedFile& file : files) {
    HF_TRY_VOID(check_path(file.path));
    bytes += file.content.size() + file.path.size() + 32;
    if (bytes > kFilePackMax) return too_large("files");
    wire::PackedFile& packed = *pack.add_files();
    packed.set_path(file.path);
    packed.set_mode(file.mode & 0777);
    packed.set_content(file.content);
  }
  return pack.SerializeAsString();
}

Result<std::vector<PackedFile>> unpack_files(std::string_view text) {
  wire::FilePack pack;
  if (text.size() > kFilePackMax ||
      !pack.ParseFromArray(text.data(), static_cast<int>(text.size())))
    return Error{Errc::kUnparsable, "files: no pack of files; is the peer of another version?"};
  if (static_cast<std::size_t>(pack.files_size()) > kPackedFilesMax) return too_large("files");
  std::vector<PackedFile> files;
  for (wire::PackedFile& packed : *pack.mutable_files()) {
    HF_TRY_VOID(check_path(packed.path()));
    files.push_back({packed.path(), packed.mode() & 0777, std::move(*packed.mutable_content())});
  }
  return files;
}

Result<std::vector<PackedFile>> read_folder(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<PackedFile> files;
  std::size_t bytes = 0;
  fs::recursive_directory_iterator entry(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const std::string path = entry->path().string();
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) return os_error("cannot look at", path, errno);
    if (S_ISDIR(status.st_mode)) continue;
    if (!S_ISREG(status.st_mode))
      return Error{Errc::kInvalidField, path + ": not a regular file; replace it by a copy"};
    if (bytes + static_cast<std::size_t>(status.st_size) > kFilePackMax ||
        files.size() >= kPackedFilesMax)
      return too_large(folder);
    HF_TRY(std::string content, read_file(path, kFilePackMax));
    bytes += content.size();
    files.push_back({path.substr(folder.size() + 1), status.st_mode & 0777, std::move(content)});
  }
  if (error) return os_error("cannot read the folder", folder, error.value());
  std::sort(files.begin(), files.end(),
            [](const PackedFile& a, const PackedFile& b) { return a.path < b.path; });
  return files;
}

Result<void> write_folder(const std::string& folder, const std::vector<PackedFile>& files) {
  HF_TRY_VOID(remove_tree(folder));
  HF_TRY_VOID(make_folder(folder, 0700));
  for (const PackedFile& file : files) {
    const std::string path = folder + "/" + file.path;
    HF_TRY_VOID(make_folder(path.substr(0, path.rfind('/')), 0755));
    HF_TRY_VOID(write_file_atomic(path, file.content, file.mode | 0600));
  }
  return {};
}

}  // namespace holdfast
