#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"

struct sqlite3;

namespace holdfast {

// The control plane's memory: FOLDER/journal.db, an SQLite database. The caller holds the folder's
// StateLock. One thread calls everything but notes().
class Journal {
 public:
  struct Entry {
    std::uint64_t seq = 0;  // 1, 2, 3, ... over the life of the cluster
    Instant at;
    WallTime wall;
    std::string event;  // JSON
    std::uint64_t effects_digest = 0;
  };
  // A line for the audit, kept longer than the entry that it came with.
  struct Note {
    WallTime wall;
    Instant at;
    std::string severity, kind, text;
    std::uint32_t node = 0, job = 0, incident = 0;  // 0: not about one
  };
  // What to rebuild the state from: the snapshot, then the events of `tail`, whose first seq is
  // snapshot_seq + 1. last_at and last_wall are those of the last entry ever appended.
  struct Recovered {
    std::optional<std::string> snapshot;
    std::uint64_t snapshot_seq = 0;  // 0: no snapshot
    Instant last_at;
    WallTime last_wall;
    std::vector<Entry> tail;
  };

  // Makes the journal where there is none: of `cluster_uuid`, or of a new cluster where it is
  // empty. kStateCorrupt, with the file, what was found and the remedy, for a file that is damaged,
  // is not a journal, is of a newer format, or of another cluster than `cluster_uuid`. Nothing is
  // repaired.
  static Result<std::unique_ptr<Journal>> open(const std::string& folder,
                                               const std::string& cluster_uuid,
                                               const std::string& software_version);
  ~Journal();

  [[nodiscard]] const std::string& cluster_uuid() const { return cluster_uuid_; }

  Result<Recovered> recover();

  // The same of a journal that is only looked at: the file itself, which a server may be writing.
  // Changes nothing. kNotFound where there is none, else errors as for open().
  static Result<Recovered> read(const std::string& path);

  // One transaction: all or nothing, on the disk when it returns. After kDiskFull nothing was
  // written, and the same call may be made again once there is space; after any other error the
  // caller stops, for what the disk holds is not known.
  // REQUIRES: seqs go on from the last one.
  Result<void> append(std::span<const Entry> entries, std::span<const Note> notes);

  // `state` is what the entries up to `seq` lead to: replaces the snapshot and drops those entries
  // in one transaction, and all but the newest 100,000 notes. Errors as for append().
  // REQUIRES: that of the former snapshot <= seq <= that of the last entry.
  Result<void> snapshot(std::uint64_t seq, const std::string& state);

  // The oldest `limit` notes after id `after`, with their ids, in order. Ids grow by 1. Any thread.
  Result<std::vector<std::pair<std::uint64_t, Note>>> notes(std::uint64_t after, std::size_t limit);
  // 0: none. Any thread.
  Result<std::uint64_t> last_note_id();

 private:
  explicit Journal(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  std::string cluster_uuid_;
  std::uint64_t last_seq_ = 0;
  sqlite3* writer_ = nullptr;
  std::mutex reader_mutex_;
  sqlite3* reader_ = nullptr;  // guarded by reader_mutex_
};

}  // namespace holdfast
