#include "engine/checkpoint/store.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <functional>

namespace holdfast::engine {
namespace {

constexpr const char* kManifest = "/manifest.json";
constexpr const char* kLineage = "/lineage.json";
constexpr std::uint64_t kLineageBytesMax = 64 * 1024;

}  // namespace

Result<std::vector<std::uint64_t>> Store::numbered(const std::string& folder,
                                                   std::string_view prefix) const {
  HF_TRY(const std::vector<std::string> names, folder_.list(folder));
  std::vector<std::uint64_t> found;
  for (const std::string& name : names) {
    if (!name.starts_with(prefix)) continue;
    std::uint64_t number = 0;
    const char* end = name.data() + name.size();
    const auto read = std::from_chars(name.data() + prefix.size(), end, number);
    if (read.ec == std::errc() && read.ptr == end) found.push_back(number);
  }
  std::ranges::sort(found, std::greater());
  return found;
}

Result<std::uint64_t> Store::newest_attempt() const {
  HF_TRY(const std::vector<std::uint64_t> attempts, numbered("", "attempt-"));
  for (const std::uint64_t attempt : attempts)
    if (folder_.exists(attempt_folder(attempt) + kLineage)) return attempt;
  return std::uint64_t{0};
}

Result<void> Store::check_fence() const {
  HF_TRY(const std::uint64_t newest, newest_attempt());
  if (newest <= attempt_) return {};
  return Error{Errc::kStaleAttempt, "fenced: attempt " + std::to_string(newest) +
                                        " of this job has begun and this is attempt " +
                                        std::to_string(attempt_) +
                                        "; only the newest attempt may go on"};
}

Result<void> Store::begin() {
  HF_TRY_VOID(check_fence());
  const std::string folder = attempt_folder(attempt_);
  const std::string path = folder + kLineage;
  if (folder_.exists(path)) return {};
  const bool gone = taken_ && taken_->attempt != 0 &&
                    !folder_.exists(step_folder(taken_->attempt, taken_->step) + kManifest);
  if (!taken_ || gone) {
    HF_TRY(const std::vector<Base> commits, chain());
    taken_ = commits.empty() ? Base{} : commits.front();
  }
  HF_TRY_VOID(folder_.make_folder(""));
  HF_TRY_VOID(folder_.make_folder(folder));
  static std::atomic<std::uint64_t> drafts = 0;  // several may begin at once
  const std::string draft =
      path + "." + std::to_string(::getpid()) + "-" + std::to_string(++drafts) + ".tmp";
  Result<void> written = folder_.write(draft, write_lineage(*taken_));
  // Unlike a rename, a link never replaces what another wrote.
  if (written.ok()) written = folder_.link(draft, path);
  static_cast<void>(folder_.remove(draft));
  if (!written.ok() && written.error().code != Errc::kNameExists) return written;
  HF_TRY_VOID(folder_.sync(folder));
  return folder_.sync("");
}

Result<std::vector<Base>> Store::chain() const {
  HF_TRY(const std::uint64_t newest, newest_attempt());
  return chain_from(newest);
}

Result<std::vector<Base>> Store::chain_from(std::uint64_t attempt) const {
  std::vector<Base> found;
  std::uint64_t until = UINT64_MAX;
  while (attempt != 0) {
    HF_TRY(const std::vector<std::uint64_t> steps, numbered(attempt_folder(attempt), "step-"));
    for (const std::uint64_t step : steps)
      if (step <= until && folder_.exists(step_folder(attempt, step) + kManifest))
        found.push_back({attempt, step});
    HF_TRY(const Base base, base_of(attempt));
    attempt = base.attempt;
    until = base.step;
  }
  return found;
}

Result<Base> Store::base_of(std::uint64_t attempt) const {
  const std::string path = attempt_folder(attempt) + kLineage;
  const Result<std::string> text = folder_.read(path, kLineageBytesMax);
  if (!text.ok() && text.error().code == Errc::kNotFound)
    return Base{};  // collected: nothing before it was kept
  if (!text.ok()) return text.error();
  return read_lineage(*text, folder_.name(path), attempt);
}

Result<Manifest> Store::manifest(const Base& commit) const {
  const std::string path = step_folder(commit.attempt, commit.step) + kManifest;
  const Result<std::string> text = folder_.read(path, kTextBytesMax);
  if (!text.ok())
    return Error{Errc::kDamaged, folder_.name(path) + ": cannot be read: " + text.error().detail};
  return read_manifest(*text, folder_.name(path), job_, commit.attempt, commit.step);
}

bool Store::is_committed(std::uint64_t step) const {
  return folder_.exists(step_folder(attempt_, step) + kManifest);
}

Result<void> Store::prepare(std::uint64_t step) {
  HF_TRY_VOID(folder_.make_folder(""));
  HF_TRY_VOID(folder_.make_folder(attempt_folder(attempt_)));
  return folder_.make_folder(step_folder(attempt_, step));
}

Result<void> Store::settle(std::uint64_t step) {
  HF_TRY_VOID(folder_.sync(step_folder(attempt_, step)));
  HF_TRY_VOID(folder_.sync(attempt_folder(attempt_)));
  return folder_.sync("");
}

Result<void> Store::put_entry(std::uint64_t step, std::uint32_t rank, const std::string& text) {
  const std::string path = step_folder(attempt_, step) + "/" + entry_name(rank);
  HF_TRY_VOID(folder_.write_soon(path + ".tmp", text));
  return folder_.rename(path + ".tmp", path);
}

Result<std::optional<EntryOrFailure>> Store::entry(std::uint64_t step, std::uint32_t rank,
                                                   const std::string& save) const {
  const std::string path = step_folder(attempt_, step) + "/" + entry_name(rank);
  const Result<std::string> text = folder_.read(path, kTextBytesMax);
  if (!text.ok() && text.error().code == Errc::kNotFound) return std::optional<EntryOrFailure>();
  if (!text.ok()) return text.error();
  Result<EntryOrFailure> found = read_entry(*text, folder_.name(path), rank);
  if (found.ok() && found->save == save) return std::optional(std::move(*found));
  // One of this save that cannot be read is no leftover.
  if (!found.ok() && save_of_entry(*text) == save) return found.error();
  return std::optional<EntryOrFailure>();
}

Result<std::optional<Error>> Store::failure(std::uint64_t step, std::uint32_t rank,
                                            const std::string& save) const {
  const std::string path = step_folder(attempt_, step) + "/" + entry_name(rank);
  const Result<std::string> text = folder_.read(path, kTextBytesMax);
  if (!text.ok() && text.error().code != Errc::kNotFound) return text.error();
  if (!text.ok() || !may_be_failure(*text)) return std::optional<Error>();
  HF_TRY(const std::optional<EntryOrFailure> found, entry(step, rank, save));
  return found && !found->entry ? std::optional(found->failure) : std::nullopt;
}

Result<void> Store::commit(const Manifest& manifest) {
  HF_TRY_VOID(check_fence());
  const std::string folder = step_folder(attempt_, manifest.step), path = folder + kManifest;
  HF_TRY_VOID(folder_.write(path + ".tmp", write_manifest(manifest)));
  HF_TRY_VOID(folder_.rename(path + ".tmp", path));
  return folder_.sync(folder);
}

void Store::discard(std::uint64_t attempt, std::uint64_t step) {
  const std::string folder = step_folder(attempt, step);
  const Result<void> removed = folder_.remove(folder + kManifest);
  if (!removed.ok() && removed.error().code != Errc::kNotFound) return;
  // A manifest that came back after a power cut must not find its shards gone.
  if (removed.ok() && !folder_.sync(folder).ok()) return;
  const Result<std::vector<std::string>> names = folder_.list(folder);
  if (!names.ok()) return;
  for (const std::string& name : *names) static_cast<void>(folder_.remove(folder + "/" + name));
  static_cast<void>(folder_.remove_folder(folder));
}

Result<std::vector<Base>> Store::commits_kept() const {
  HF_TRY(const std::vector<Base> commits, chain());
  std::vector<CommitSize> sizes;
  for (const Base& commit : commits) {
    sizes.push_back({commit});
    if (retention_.bytes_max == 0) continue;
    const Result<Manifest> found = manifest(commit);
    if (!found.ok()) continue;
    for (const ShardEntry& shard : found->shards) sizes.back().bytes += shard.bytes;
  }
  return kept(sizes, retention_);
}

// An attempt of which no commit is kept may still lead from a newer one to an older one.
Result<std::set<std::uint64_t>> Store::attempts_back_to(const std::vector<Base>& commits) const {
  std::set<std::uint64_t> found;
  HF_TRY(std::uint64_t attempt, newest_attempt());
  while (!commits.empty() && attempt >= commits.back().attempt) {
    found.insert(attempt);
    HF_TRY(const Base base, base_of(attempt));
    attempt = base.attempt;
  }
  return found;
}

Result<void> Store::collect(std::uint64_t step) {
  HF_TRY_VOID(check_fence());
  HF_TRY(const std::vector<Base> commits, commits_kept());
  HF_TRY(const std::set<std::uint64_t> lineages, attempts_back_to(commits));
  HF_TRY(const std::vector<std::uint64_t> attempts, numbered("", "attempt-"));
  for (const std::uint64_t attempt : attempts) {
    if (attempt > attempt_) continue;
    HF_TRY(const std::vector<std::uint64_t> steps, numbered(attempt_folder(attempt), "step-"));
    for (const std::uint64_t found : steps) {
      const bool may_be_written = attempt == attempt_ && found > step;
      if (!may_be_written && std::ranges::find(commits, Base{attempt, found}) == commits.end())
        discard(attempt, found);
    }
    if (attempt == attempt_ || lineages.contains(attempt)) continue;
    const std::string folder = attempt_folder(attempt);
    const Result<std::vector<std::string>> names = folder_.list(folder);
    if (!names.ok()) continue;
    for (const std::string& name : *names) static_cast<void>(folder_.remove(folder + "/" + name));
    static_cast<void>(folder_.remove_folder(folder));
  }
  return {};
}

}  // namespace holdfast::engine
