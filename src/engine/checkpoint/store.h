#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/checkpoint/folder.h"
#include "engine/checkpoint/manifest.h"
#include "engine/checkpoint/retention.h"

namespace holdfast::engine {

// The checkpoints of one job in a folder: lineage, commits, removal (docs/checkpoint-format.md).
// Errors: kStaleAttempt when a newer attempt has begun, kDamaged, kWrongState for what a person
// must decide about, those of the disk.
class Store {
 public:
  Store(Folder& folder, std::optional<std::string> job, std::uint64_t attempt,
        const Retention& retention = {})
      : folder_(folder), job_(std::move(job)), attempt_(attempt), retention_(retention) {}

  // Takes a base and writes it down, once per attempt. When it could not be written, the next call
  // tries again with the same base.
  Result<void> begin();
  // The base that was chosen and may not be written yet: hand it to who goes on for this one.
  [[nodiscard]] const std::optional<Base>& taken() const { return taken_; }
  void take(std::optional<Base> base) { taken_ = base; }
  Result<void> check_fence() const;

  // That has a lineage; 0: none.
  [[nodiscard]] Result<std::uint64_t> newest_attempt() const;
  // (attempt, step) of the valid commits, newest first.
  [[nodiscard]] Result<std::vector<Base>> chain() const;
  [[nodiscard]] Result<Manifest> manifest(const Base& commit) const;
  [[nodiscard]] bool is_committed(std::uint64_t step) const;

  // The folder for this attempt's files of `step`.
  Result<void> prepare(std::uint64_t step);
  // The names in it, and its own, are durable.
  Result<void> settle(std::uint64_t step);
  // For rank 0 to see. What it vouches for is durable; it need not be.
  Result<void> put_entry(std::uint64_t step, std::uint32_t rank, const std::string& text);
  // nullopt: not there yet, or what an earlier run left, whole or torn.
  [[nodiscard]] Result<std::optional<EntryOrFailure>> entry(std::uint64_t step, std::uint32_t rank,
                                                            const std::string& save) const;
  // Only why that rank could not: cheaper, for who looks often.
  [[nodiscard]] Result<std::optional<Error>> failure(std::uint64_t step, std::uint32_t rank,
                                                     const std::string& save) const;
  // Everything that it names is durable.
  Result<void> commit(const Manifest& manifest);

  // Removes the commits that need not be kept, what dead attempts left, and what this attempt left
  // uncommitted before `step`. What cannot be removed is left for the next time.
  Result<void> collect(std::uint64_t step);
  // Removes a commit or what is left of one, its manifest first.
  void discard(std::uint64_t attempt, std::uint64_t step);

 private:
  [[nodiscard]] Result<std::vector<Base>> chain_from(std::uint64_t attempt) const;
  [[nodiscard]] Result<std::vector<Base>> commits_kept() const;
  [[nodiscard]] Result<std::set<std::uint64_t>> attempts_back_to(
      const std::vector<Base>& commits) const;
  [[nodiscard]] Result<std::vector<std::uint64_t>> numbered(const std::string& folder,
                                                            std::string_view prefix) const;
  [[nodiscard]] Result<Base> base_of(std::uint64_t attempt) const;

  Folder& folder_;
  const std::optional<std::string> job_;
  const std::uint64_t attempt_;
  const Retention retention_;
  std::optional<Base> taken_;
};

}  // namespace holdfast::engine
