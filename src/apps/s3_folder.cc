#include "apps/s3_folder.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "base/check.h"
#include "engine/checkpoint/posix_folder.h"

namespace holdfast {
namespace {

using engine::FileReader;
using engine::FileWriter;
using engine::Folder;

constexpr const char* kNewest = "newest";
constexpr std::uint64_t kSmallBytes = std::uint64_t{8} << 20;
constexpr std::uint64_t kNameBytesMax = 4096;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Names with numbers, padded: a longer one is a larger one.
bool comes_after(std::string_view a, std::string_view b) {
  return a.size() != b.size() ? a.size() > b.size() : a > b;
}

class S3Reader final : public FileReader {
 public:
  S3Reader(std::shared_ptr<S3Bucket> bucket, std::string key, S3Head head)
      : bucket_(std::move(bucket)), key_(std::move(key)), head_(std::move(head)) {}
  [[nodiscard]] std::uint64_t size() const override { return head_.bytes; }
  [[nodiscard]] std::uint64_t read_bytes() const override { return engine::kFarReadBytes; }
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> to) const override {
    if (offset > head_.bytes || to.size() > head_.bytes - offset)
      return Error{Errc::kDamaged,
                   bucket_->name(key_) + ": it ends at byte " + std::to_string(head_.bytes)};
    return bucket_->get(key_, head_, offset, to);
  }

 private:
  std::shared_ptr<S3Bucket> bucket_;
  std::string key_;
  S3Head head_;
};

// Collects what is written into parts, and sends each when it is full: several at once, while the
// next are written.
class S3Writer final : public FileWriter {
 public:
  S3Writer(std::shared_ptr<S3Bucket> bucket, std::string key, std::uint64_t bytes)
      : bucket_(std::move(bucket)),
        key_(std::move(key)),
        bytes_(bytes),
        part_bytes_(s3_part_bytes(bytes, bucket_->options().part_bytes)) {}
  ~S3Writer() override {
    for (std::future<void>& sent : sending_) sent.wait();
  }

  Result<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    CHECK(offset <= bytes_ && bytes.size() <= bytes_ - offset);
    while (!bytes.empty()) {
      const std::uint64_t number = offset / part_bytes_;
      const std::uint64_t at = offset % part_bytes_;
      const std::size_t count = std::min<std::uint64_t>(bytes.size(), part_bytes_ - at);
      HF_TRY_VOID(add(number, at, bytes.first(count)));
      bytes = bytes.subspan(count);
      offset += count;
    }
    return {};
  }

  Result<void> sync() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return in_flight_ == 0; });
    if (failure_) return *failure_;
    CHECK(parts_.empty());
    if (finished_) return {};
    if (bytes_ == 0) {
      HF_TRY_VOID(bucket_->put(key_, {}));
    } else {
      HF_TRY_VOID(upload_->finish());
    }
    finished_ = true;
    return {};
  }

 private:
  struct Part {
    std::vector<std::byte> bytes;
    std::uint64_t filled = 0;
  };

  Result<void> add(std::uint64_t number, std::uint64_t at, std::span<const std::byte> bytes) {
    std::unique_lock lock(mutex_);
    if (failure_) return *failure_;
    if (!upload_) {
      auto begun = bucket_->begin_upload(key_, (bytes_ + part_bytes_ - 1) / part_bytes_);
      if (!begun.ok()) return *(failure_ = begun.error());
      upload_ = std::move(*begun);
    }
    Part& part = parts_[number];
    if (part.bytes.empty()) part.bytes.resize(std::min(part_bytes_, bytes_ - number * part_bytes_));
    std::memcpy(part.bytes.data() + at, bytes.data(), bytes.size());
    part.filled += bytes.size();
    if (part.filled < part.bytes.size()) return {};
    changed_.wait(lock, [this] { return in_flight_ < bucket_->options().parallel; });
    ++in_flight_;
    auto full = std::make_shared<std::vector<std::byte>>(std::move(parts_[number].bytes));
    parts_.erase(number);
    sending_.push_back(std::async(std::launch::async, [this, number, full] {
      const Result<void> sent = upload_->put(number, *full);
      const std::lock_guard guard(mutex_);
      if (!sent.ok() && !failure_) failure_ = sent.error();
      --in_flight_;
      changed_.notify_all();
    }));
    return {};
  }

  std::shared_ptr<S3Bucket> bucket_;
  const std::string key_;
  const std::uint64_t bytes_, part_bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<S3Bucket::Upload> upload_;
  std::map<std::uint64_t, Part> parts_;
  std::vector<std::future<void>> sending_;
  unsigned in_flight_ = 0;
  std::optional<Error> failure_;
  bool finished_ = false;
};

class S3Folder final : public Folder {
 public:
  S3Folder(std::shared_ptr<S3Bucket> bucket, std::string prefix)
      : bucket_(std::move(bucket)), prefix_(std::move(prefix)) {}

  Result<std::unique_ptr<FileWriter>> create(const std::string& path,
                                             std::uint64_t bytes) override {
    HF_TRY_VOID(check());
    return std::unique_ptr<FileWriter>(std::make_unique<S3Writer>(bucket_, key(path), bytes));
  }

  Result<void> write(const std::string& path, std::string_view bytes) override {
    HF_TRY_VOID(check());
    if (!path.ends_with(".tmp")) return bucket_->put(key(path), bytes_of(bytes));
    const std::lock_guard lock(mutex_);
    drafts_[path] = bytes;
    return {};
  }

  [[nodiscard]] Result<std::unique_ptr<FileReader>> open(const std::string& path) const override {
    HF_TRY(S3Head head, head_of(path));
    return std::unique_ptr<FileReader>(
        std::make_unique<S3Reader>(bucket_, key(path), std::move(head)));
  }

  [[nodiscard]] Result<std::string> read(const std::string& path,
                                         std::uint64_t max_bytes) const override {
    HF_TRY(const S3Head head, head_of(path));
    if (head.bytes > max_bytes)
      return Error{Errc::kDamaged, name(path) + ": " + std::to_string(head.bytes) +
                                       " bytes are more than the " + std::to_string(max_bytes) +
                                       " that it may have"};
    if (head.bytes <= kSmallBytes) return bucket_->get_small(key(path), max_bytes);
    std::string text(head.bytes, '\0');
    HF_TRY_VOID(bucket_->get(key(path), head, 0, std::as_writable_bytes(std::span(text))));
    return text;
  }

  Result<void> rename(const std::string& from, const std::string& to) override {
    HF_TRY_VOID(check());
    HF_TRY(const std::string draft, take_draft(from, true));
    return bucket_->put(key(to), bytes_of(draft));
  }

  Result<void> link(const std::string& from, const std::string& to) override {
    HF_TRY_VOID(check());
    HF_TRY(const std::string draft, take_draft(from, false));
    return bucket_->put_new(key(to), bytes_of(draft));
  }

  Result<void> remove(const std::string& path) override {
    HF_TRY_VOID(check());
    {
      const std::lock_guard lock(mutex_);
      if (drafts_.erase(path) > 0) return {};
    }
    return bucket_->remove(key(path));
  }

  Result<void> make_folder(const std::string& path) override {
    HF_TRY_VOID(check());
    if (path.empty()) return {};
    const std::size_t slash = path.rfind('/');
    const std::string parent = slash == path.npos ? "" : path.substr(0, slash);
    const std::string mine = slash == path.npos ? path : path.substr(slash + 1);
    HF_TRY(const std::string newest, newest_of(parent));
    if (!comes_after(mine, newest)) return {};
    return bucket_->put(key(join(parent, kNewest)), bytes_of(mine));
  }

  Result<void> remove_folder(const std::string& path) override {
    HF_TRY_VOID(check());
    return bucket_->remove(key(join(path, kNewest)));
  }

  Result<void> sync(const std::string&) override { return {}; }

  [[nodiscard]] Result<std::vector<std::string>> list(const std::string& folder) const override {
    HF_TRY_VOID(check());
    std::string all = key(folder);
    if (!all.empty()) all += '/';
    HF_TRY(const S3Page page, bucket_->list(all, true));
    HF_TRY(const std::string newest, newest_of(folder));
    std::set<std::string> names;
    if (!newest.empty()) names.insert(newest);
    for (const S3Object& object : page.objects) names.insert(object.key.substr(all.size()));
    for (const std::string& found : page.folders)
      names.insert(found.substr(all.size(), found.size() - all.size() - 1));
    names.erase(kNewest);
    return std::vector<std::string>(names.begin(), names.end());
  }

  [[nodiscard]] bool exists(const std::string& path) const override {
    const auto head = bucket_->head(key(path));
    const std::lock_guard lock(mutex_);
    if (!head.ok() && !failure_) failure_ = head.error();
    return head.ok() && head->has_value();
  }

  [[nodiscard]] std::string name(const std::string& path) const override {
    return bucket_->name(key(path));
  }

 private:
  static std::string join(const std::string& folder, const std::string& name) {
    return folder.empty() ? name : folder + "/" + name;
  }
  [[nodiscard]] std::string key(const std::string& path) const {
    return path.empty() || prefix_.empty() ? prefix_ + path : prefix_ + "/" + path;
  }

  [[nodiscard]] Result<void> check() const {
    const std::lock_guard lock(mutex_);
    if (failure_) return *failure_;
    return {};
  }

  [[nodiscard]] Result<S3Head> head_of(const std::string& path) const {
    HF_TRY_VOID(check());
    HF_TRY(const std::optional<S3Head> head, bucket_->head(key(path)));
    if (!head) return Error{Errc::kNotFound, name(path) + " is not there"};
    return *head;
  }

  // The last name that was begun in a folder; empty: none.
  [[nodiscard]] Result<std::string> newest_of(const std::string& folder) const {
    auto text = bucket_->get_small(key(join(folder, kNewest)), kNameBytesMax);
    if (text.ok()) return text->find('/') == std::string::npos ? std::move(*text) : std::string();
    if (text.error().code == Errc::kNotFound) return std::string();
    return text.error();
  }

  Result<std::string> take_draft(const std::string& path, bool and_forget) {
    const std::lock_guard lock(mutex_);
    const auto found = drafts_.find(path);
    if (found == drafts_.end()) return Error{Errc::kNotFound, name(path) + " is not there"};
    std::string text = found->second;
    if (and_forget) drafts_.erase(found);
    return text;
  }

  std::shared_ptr<S3Bucket> bucket_;
  const std::string prefix_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> drafts_;
  mutable std::optional<Error> failure_;
};

}  // namespace

std::unique_ptr<Folder> s3_folder(std::shared_ptr<S3Bucket> bucket, const std::string& prefix) {
  return std::make_unique<S3Folder>(std::move(bucket), prefix);
}

Result<std::unique_ptr<Folder>> open_checkpoint_folder(const std::string& where,
                                                       const S3Options& options) {
  if (!is_s3_url(where)) return engine::posix_folder(where);
  HF_TRY(const S3Url url, parse_s3_url(where));
  HF_TRY(std::unique_ptr<S3Bucket> bucket,
         S3Bucket::open(url.bucket, process_aws_sources(), options));
  return s3_folder(std::move(bucket), url.prefix);
}

}  // namespace holdfast
