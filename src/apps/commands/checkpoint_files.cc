#include "apps/commands/checkpoint_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/s3_folder.h"
#include "apps/terminal.h"
#include "engine/checkpoint/copy_commit.h"
#include "engine/checkpoint/snapshots.h"
#include "engine/checkpoint/store.h"
#include "engine/safetensors/export.h"
#include "io/clock.h"
#include "io/files.h"

namespace holdfast {
namespace {

using engine::Base;
using engine::Folder;
using engine::Manifest;
using engine::Store;
using nlohmann::json;

constexpr std::uint64_t kOnlooker = INT64_MAX;
constexpr unsigned kFarThreads =
    8;  // requests to a store at once: it is its answers that we wait for
constexpr Duration kUploadsAbandonedAfter = minutes(24 * 60);

struct FileOptions {
  std::string from, to;
  std::optional<std::uint64_t> step;
  std::string object;
  std::optional<std::string> job;
  std::optional<std::uint64_t> keep;
  bool json = false;
};

unsigned threads_for(const FileOptions& options) {
  const bool far = is_s3_url(options.from) || is_s3_url(options.to);
  return far ? kFarThreads : engine::default_threads();
}

std::string now_text() {
  const time_t now = wall_now().ns / 1'000'000'000;
  struct tm parts = {};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text = {};
  ::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

Result<Base> chosen(const Store& store, const FileOptions& options) {
  HF_TRY(const std::vector<Base> commits, store.chain());
  for (const Base& commit : commits)
    if (!options.step || commit.step == *options.step) return commit;
  return Error{Errc::kNotFound,
               options.from + " has no commit" +
                   (options.step ? " of step " + std::to_string(*options.step) : std::string())};
}

// A new file of a known length, mapped; under its name once keep() was called.
class MappedOutput {
 public:
  static Result<std::unique_ptr<MappedOutput>> create(const std::string& path, std::uint64_t size) {
    auto output = std::make_unique<MappedOutput>();
    output->path_ = path;
    output->draft_ = path + ".tmp";
    HF_TRY(output->file_, open_file(output->draft_, O_RDWR | O_CREAT | O_TRUNC, 0666));
    // Room for all of it now: a write to a mapping of a full disk would kill us.
    if (const int number = ::posix_fallocate(output->file_.get(), 0, static_cast<off_t>(size));
        number != 0)
      return os_error("cannot make room for", output->draft_, number);
    void* const bytes =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, output->file_.get(), 0);
    if (bytes == MAP_FAILED) return os_error("cannot map", output->draft_, errno);
    output->bytes_ = {static_cast<std::byte*>(bytes), size};
    return output;
  }
  ~MappedOutput() {
    if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
    if (file_ && !kept_) ::unlink(draft_.c_str());
  }
  MappedOutput() = default;
  MappedOutput(const MappedOutput&) = delete;
  MappedOutput& operator=(const MappedOutput&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }
  Result<void> keep() {
    if (::fsync(file_.get()) != 0) return os_error("cannot sync", draft_, errno);
    if (::rename(draft_.c_str(), path_.c_str()) != 0) return os_error("cannot make", path_, errno);
    kept_ = true;
    return {};
  }

 private:
  std::string path_, draft_;
  UniqueFd file_;
  std::span<std::byte> bytes_;
  bool kept_ = false;
};

Result<int> export_commit(const FileOptions& options) {
  HF_TRY(const auto folder, open_checkpoint_folder(options.from));
  const Store store(*folder, std::nullopt, kOnlooker);
  HF_TRY(const Base at, chosen(store, options));
  HF_TRY(const Manifest manifest, store.manifest(at));
  HF_TRY(const engine::ExportPlan plan, engine::plan_export(manifest, options.object));
  HF_TRY(const auto output, MappedOutput::create(options.to, plan.file_bytes()));
  HF_TRY_VOID(engine::run_export(*folder, manifest, plan, output->bytes(), threads_for(options)));
  HF_TRY_VOID(output->keep());
  const json said{
      {"step", at.step}, {"tensors", plan.header.tensors.size()}, {"bytes", plan.file_bytes()}};
  print(options.json
            ? said.dump(2) + "\n"
            : fmt::format("{} tensors of step {} in {}, {} bytes\n", plan.header.tensors.size(),
                          at.step, options.to, plan.file_bytes()));
  return kExitOk;
}

Result<int> import_file(const FileOptions& options) {
  HF_TRY(const UniqueFd file, open_file(options.from, O_RDONLY));
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) return os_error("cannot look at", options.from, errno);
  const auto read = [&](std::uint64_t offset, std::span<std::byte> to) -> Result<void> {
    while (!to.empty()) {
      const ssize_t count = ::pread(file.get(), to.data(), to.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return os_error("cannot read", options.from, errno);
      if (count == 0) return Error{Errc::kDamaged, options.from + ": it became shorter"};
      to = to.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
    return {};
  };
  HF_TRY(const auto folder, open_checkpoint_folder(options.to));
  HF_TRY_VOID(engine::import_safetensors(
      read, static_cast<std::uint64_t>(status.st_size), options.from, *folder, options.job,
      options.object, options.step.value_or(0), now_text(), engine::default_threads()));
  if (!options.json)
    print(fmt::format("{} is step {} of {}: checkpoint.restore({}=...) loads it\n", options.from,
                      options.step.value_or(0), options.to, options.object));
  else
    print(json{{"step", options.step.value_or(0)}}.dump(2) + "\n");
  return kExitOk;
}

// What uploads that were killed have left in the store.
Result<void> abort_old_uploads(const std::string& where) {
  if (!is_s3_url(where)) return {};
  HF_TRY(const S3Url url, parse_s3_url(where));
  HF_TRY(const auto bucket, S3Bucket::open(url.bucket, process_aws_sources()));
  const WallTime before{wall_now().ns - kUploadsAbandonedAfter.ns};
  HF_TRY(const std::size_t ended,
         bucket->abort_uploads(url.prefix.empty() ? "" : url.prefix + "/", before));
  if (ended > 0) print(fmt::format("{} old unfinished uploads ended\n", ended));
  return {};
}

Result<int> copy(const FileOptions& options) {
  HF_TRY(const auto from, open_checkpoint_folder(options.from));
  HF_TRY(const auto to, open_checkpoint_folder(options.to));
  const Store store(*from, std::nullopt, kOnlooker);
  HF_TRY(const Base at, chosen(store, options));
  HF_TRY(const Manifest manifest, store.manifest(at));
  HF_TRY_VOID(abort_old_uploads(options.to));
  HF_TRY_VOID(engine::copy_commit(*from, *to, manifest.job, at, threads_for(options)));
  if (options.keep)
    HF_TRY_VOID(Store(*to, manifest.job, at.attempt, engine::Retention{.last = *options.keep})
                    .collect(at.step));
  print(options.json
            ? json{{"attempt", at.attempt}, {"step", at.step}}.dump(2) + "\n"
            : fmt::format("step {} of attempt {} is in {}\n", at.step, at.attempt, options.to));
  return kExitOk;
}

CLI::App* add(CLI::App& group, const char* name, const char* what,
              const std::shared_ptr<FileOptions>& options, Result<int> (*run)(const FileOptions&)) {
  CLI::App* command = group.add_subcommand(name, what);
  add_json_option(*command, options->json);
  command->callback([options, run] { finish([&] { return run(*options); }); });
  return command;
}

}  // namespace

void add_checkpoint_files(CLI::App& group) {
  auto out = std::make_shared<FileOptions>();
  CLI::App* command =
      add(group, "export", "Write a commit's tensors as a safetensors file", out, export_commit);
  command->add_option("FOLDER", out->from, "A checkpoint folder, or s3://BUCKET/PREFIX")
      ->required();
  command->add_option("FILE", out->to, "The file to make")->required();
  command->add_option("--step", out->step, "Of this step (default: the newest)");
  command->add_option("--object", out->object,
                      "Only this object's tensors (`model`), without its name in front");

  auto in = std::make_shared<FileOptions>();
  command = add(group, "import", "Make a checkpoint of a safetensors file", in, import_file);
  command->add_option("FILE", in->from, "The safetensors file")->required();
  command->add_option("FOLDER", in->to, "An empty folder, or s3://BUCKET/PREFIX")->required();
  command->add_option("--object", in->object, "The name it is restored under (`model`)")
      ->required();
  command->add_option("--step", in->step, "The step to go on from (default: 0)");
  command->add_option("--job", in->job, "The job that it is for (default: any)");

  auto between = std::make_shared<FileOptions>();
  command =
      add(group, "copy", "Copy a commit to another folder, say from a disk to S3", between, copy);
  command->add_option("FROM", between->from, "A checkpoint folder, or s3://BUCKET/PREFIX")
      ->required();
  command->add_option("TO", between->to, "The same")->required();
  command->add_option("--step", between->step, "Of this step (default: the newest)");
  command->add_option("--keep", between->keep, "Then remove all but so many commits in TO")
      ->check(CLI::Range(2, 1000000));
}

}  // namespace holdfast
