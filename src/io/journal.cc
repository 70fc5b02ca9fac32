#include "io/journal.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/check.h"
#include "io/files.h"
#include "io/random.h"

namespace holdfast {

namespace {

constexpr std::int64_t kApplicationId = 0x48464A31;  // "HFJ1": what file(1) shows
constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kNotesMax = 100'000;
// Above this size reading the whole file at start would take too long.
constexpr off_t kFullCheckMaxBytes = 64 << 20;

constexpr const char* kSchema = R"(
  CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT;
  CREATE TABLE entries(seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, wall INTEGER NOT NULL,
                       event TEXT NOT NULL, effects_digest INTEGER NOT NULL) STRICT;
  CREATE TABLE snapshot(one INTEGER PRIMARY KEY CHECK(one = 1), seq INTEGER NOT NULL,
                        at INTEGER NOT NULL, wall INTEGER NOT NULL, state TEXT NOT NULL) STRICT;
  CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, wall INTEGER NOT NULL,
                     at INTEGER NOT NULL, severity TEXT NOT NULL, kind TEXT NOT NULL,
                     text TEXT NOT NULL, node INTEGER NOT NULL, job INTEGER NOT NULL,
                     incident INTEGER NOT NULL) STRICT;
)";

Error corrupt(const std::string& path, const std::string& found) {
  return {Errc::kStateCorrupt,
          path + ": " + found +
              "; restore it from a backup, or move the state folder away to start a new cluster"};
}

Error sqlite_error(sqlite3* db, const std::string& path) {
  const int code = sqlite3_errcode(db);
  const std::string text = sqlite3_errmsg(db);
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) return corrupt(path, text);
  const int number = sqlite3_system_errno(db);
  if (code == SQLITE_FULL || (code == SQLITE_IOERR && (number == ENOSPC || number == EDQUOT)))
    return {Errc::kDiskFull, "cannot write " + path + ": " + text +
                                 "; free some space on its file system or raise the quota"};
  return {Errc::kIo, "cannot use " + path + ": " + text +
                         "; check the disk and the folder's owner, then start again"};
}

// One statement. Values are bound in order; columns are read after a step() that gave a row.
class Statement {
 public:
  Statement(sqlite3* db, std::string_view sql) : db_(db) {
    sqlite3_prepare_v2(db, sql.data(), static_cast<int>(sql.size()), &statement_, nullptr);
  }
  Statement(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  Statement& bind(std::int64_t value) {
    sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }
  // The text must outlive the step.
  Statement& bind(std::string_view text) {
    sqlite3_bind_text64(statement_, ++bound_, text.data() ? text.data() : "", text.size(),
                        SQLITE_STATIC, SQLITE_UTF8);
    return *this;
  }

  // True: there is a row.
  Result<bool> step(const std::string& path) {
    const int code = statement_ ? sqlite3_step(statement_) : sqlite3_errcode(db_);
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) return sqlite_error(db_, path);
    return false;
  }
  void reset() {
    sqlite3_reset(statement_);
    bound_ = 0;
  }

  [[nodiscard]] std::int64_t integer(int column) const {
    return sqlite3_column_int64(statement_, column);
  }
  [[nodiscard]] std::string text(int column) const {
    const void* bytes = sqlite3_column_blob(statement_, column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
    return bytes ? std::string(static_cast<const char*>(bytes), size) : std::string();
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

Result<void> execute(sqlite3* db, const std::string& path, const std::string& sql) {
  if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
    return sqlite_error(db, path);
  return {};
}

Result<std::int64_t> query_integer(sqlite3* db, const std::string& path, std::string_view sql) {
  Statement statement(db, sql);
  HF_TRY(const bool row, statement.step(path));
  return row ? statement.integer(0) : 0;
}

Result<std::string> query_text(sqlite3* db, const std::string& path, std::string_view sql) {
  Statement statement(db, sql);
  HF_TRY(const bool row, statement.step(path));
  return row ? statement.text(0) : std::string();
}

// Rolls back unless committed.
class Transaction {
 public:
  Transaction(sqlite3* db, const std::string& path) : db_(db), path_(path) {}
  Transaction(const Transaction&) = delete;
  ~Transaction() {
    // Some errors have rolled back already.
    if (!sqlite3_get_autocommit(db_)) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Result<void> begin() { return execute(db_, path_, "BEGIN IMMEDIATE"); }
  Result<void> commit() { return execute(db_, path_, "COMMIT"); }

 private:
  sqlite3* db_;
  const std::string& path_;
};

// The caller closes *db also after an error.
Result<void> connect(const std::string& path, int flags, sqlite3** db) {
  if (sqlite3_open_v2(path.c_str(), db, flags, nullptr) != SQLITE_OK)
    return sqlite_error(*db, path);
  sqlite3_extended_result_codes(*db, 0);
  sqlite3_busy_timeout(*db, 5000);  // the reader's checkpoint-time locks are short
  return execute(*db, path, "PRAGMA synchronous = FULL");
}

Result<void> write_new(const std::string& path, const std::string& cluster_uuid,
                       const std::string& software_version, sqlite3** db) {
  HF_TRY_VOID(connect(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, db));
  if (::chmod(path.c_str(), 0600) != 0) return os_error("cannot set the mode of", path, errno);
  HF_TRY_VOID(execute(*db, path, "PRAGMA journal_mode = WAL"));
  Transaction transaction(*db, path);
  HF_TRY_VOID(transaction.begin());
  HF_TRY_VOID(execute(*db, path, "PRAGMA application_id = " + std::to_string(kApplicationId)));
  HF_TRY_VOID(execute(*db, path, kSchema));
  Statement meta(*db,
                 "INSERT INTO meta VALUES ('format', ?), ('cluster_uuid', ?), "
                 "('software_version', ?)");
  HF_TRY([[maybe_unused]] const bool row,
         meta.bind(kFormat).bind(cluster_uuid).bind(software_version).step(path));
  return transaction.commit();
}

// Made under another name and moved, so that an empty or half-made journal.db is always damage and
// never taken for a new cluster.
Result<void> create(const std::string& folder, const std::string& path,
                    const std::string& cluster_uuid, const std::string& software_version) {
  const std::string temporary = path + ".new";
  for (const char* suffix : {"", "-wal", "-shm"}) ::unlink((temporary + suffix).c_str());
  sqlite3* db = nullptr;
  Result<void> written = write_new(temporary, cluster_uuid, software_version, &db);
  if (sqlite3_close(db) != SQLITE_OK && written.ok()) written = sqlite_error(db, temporary);
  HF_TRY_VOID(written);
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return os_error("cannot rename to", path, errno);
  HF_TRY(const UniqueFd fd, open_file(folder, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return os_error("cannot sync", folder, errno);
  return {};
}

off_t size_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_size : 0;
}

// That it is a whole journal of this format.
Result<void> check_format(sqlite3* db, const std::string& path) {
  HF_TRY(const std::int64_t id, query_integer(db, path, "PRAGMA application_id"));
  if (id != kApplicationId)
    return corrupt(path, "an SQLite file, but not a Holdfast journal (application id " +
                             std::to_string(id) + ")");
  const off_t size = size_of(path);
  HF_TRY(const std::int64_t page, query_integer(db, path, "PRAGMA page_size"));
  // SQLite would take the missing part of a page for zeros. With a log the page may be in there.
  if (size % page != 0 && size_of(path + "-wal") == 0)
    return corrupt(path, "cut short: its last page is not whole");
  if (size <= kFullCheckMaxBytes) {
    HF_TRY(const std::string verdict, query_text(db, path, "PRAGMA quick_check(1)"));
    if (verdict != "ok") return corrupt(path, "damaged: " + verdict);
  }
  HF_TRY(const std::int64_t format,
         query_integer(db, path, "SELECT value FROM meta WHERE key = 'format'"));
  if (format == kFormat) return {};
  HF_TRY(const std::string version,
         query_text(db, path, "SELECT value FROM meta WHERE key = 'software_version'"));
  return Error{Errc::kStateCorrupt,
               path + ": format " + std::to_string(format) + ", last written by Holdfast " +
                   version + ", where this program knows format " + std::to_string(kFormat) +
                   "; use that version of Holdfast or a newer one"};
}

// That no entry is missing; gives the seq of the last one.
Result<std::uint64_t> check_entries(sqlite3* db, const std::string& path) {
  Statement statement(
      db, "SELECT (SELECT seq FROM snapshot), min(seq), max(seq), count(*) FROM entries");
  HF_TRY([[maybe_unused]] const bool row, statement.step(path));
  const std::int64_t snapshot = statement.integer(0), first = statement.integer(1),
                     last = statement.integer(2), count = statement.integer(3);
  // Rows that nobody wrote have any number: with none below 0 nothing overflows.
  if (snapshot >= 0 && count == 0) return static_cast<std::uint64_t>(snapshot);
  if (snapshot >= 0 && first > 0 && first - 1 == snapshot && last - first == count - 1)
    return static_cast<std::uint64_t>(last);
  return corrupt(path, "entries are missing: " + std::to_string(count) + " of " +
                           std::to_string(first) + ".." + std::to_string(last) +
                           " after a snapshot at " + std::to_string(snapshot));
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::open(const std::string& folder,
                                               const std::string& cluster_uuid,
                                               const std::string& software_version) {
  const std::string path = folder + "/journal.db";
  if (::access(path.c_str(), F_OK) != 0) {
    if (errno != ENOENT) return os_error("cannot open", path, errno);
    if (::access((path + "-wal").c_str(), F_OK) == 0)
      return corrupt(path, "missing, while " + path + "-wal is there");
    HF_TRY_VOID(
        create(folder, path, cluster_uuid.empty() ? new_uuid() : cluster_uuid, software_version));
  } else if (size_of(path) == 0) {
    return corrupt(path, "empty");
  }

  std::unique_ptr<Journal> journal(new Journal(path));
  sqlite3*& db = journal->writer_;
  HF_TRY_VOID(connect(path, SQLITE_OPEN_READWRITE, &db));
  HF_TRY_VOID(check_format(db, path));
  HF_TRY(journal->cluster_uuid_,
         query_text(db, path, "SELECT value FROM meta WHERE key = 'cluster_uuid'"));
  if (!cluster_uuid.empty() && cluster_uuid != journal->cluster_uuid_)
    return corrupt(path, "of cluster " + journal->cluster_uuid_ + ", not of " + cluster_uuid);
  HF_TRY(journal->last_seq_, check_entries(db, path));
  Statement version(db,
                    "UPDATE meta SET value = ?1 WHERE key = 'software_version' AND value <> ?1");
  HF_TRY([[maybe_unused]] const bool row, version.bind(software_version).step(path));
  HF_TRY_VOID(connect(path, SQLITE_OPEN_READONLY, &journal->reader_));
  return journal;
}

Result<Journal::Recovered> Journal::read(const std::string& path) {
  if (::access(path.c_str(), R_OK) != 0) {
    if (errno != ENOENT) return os_error("cannot open", path, errno);
    return Error{Errc::kNotFound, path + ": no journal is there; give a server's state folder"};
  }
  if (size_of(path) == 0) return corrupt(path, "empty");
  std::unique_ptr<Journal> journal(new Journal(path));
  HF_TRY_VOID(connect(path, SQLITE_OPEN_READONLY, &journal->writer_));
  HF_TRY_VOID(check_format(journal->writer_, path));
  HF_TRY(journal->last_seq_, check_entries(journal->writer_, path));
  return journal->recover();
}

Journal::~Journal() {
  sqlite3_close(reader_);
  sqlite3_close(writer_);
}

Result<Journal::Recovered> Journal::recover() {
  Recovered recovered;
  Statement snapshot(writer_, "SELECT seq, at, wall, state FROM snapshot");
  HF_TRY(const bool has_snapshot, snapshot.step(path_));
  if (has_snapshot) {
    recovered.snapshot_seq = static_cast<std::uint64_t>(snapshot.integer(0));
    recovered.last_at = {snapshot.integer(1)};
    recovered.last_wall = {snapshot.integer(2)};
    recovered.snapshot = snapshot.text(3);
  }
  Statement entries(writer_,
                    "SELECT seq, at, wall, event, effects_digest FROM entries ORDER BY seq");
  for (;;) {
    HF_TRY(const bool row, entries.step(path_));
    if (!row) break;
    recovered.tail.push_back({static_cast<std::uint64_t>(entries.integer(0)),
                              {entries.integer(1)},
                              {entries.integer(2)},
                              entries.text(3),
                              static_cast<std::uint64_t>(entries.integer(4))});
  }
  if (!recovered.tail.empty()) {
    recovered.last_at = recovered.tail.back().at;
    recovered.last_wall = recovered.tail.back().wall;
  }
  return recovered;
}

Result<void> Journal::append(std::span<const Entry> entries, std::span<const Note> notes) {
  Transaction transaction(writer_, path_);
  HF_TRY_VOID(transaction.begin());
  Statement insert(writer_, "INSERT INTO entries VALUES (?, ?, ?, ?, ?)");
  std::uint64_t seq = last_seq_;
  for (const Entry& entry : entries) {
    CHECK(entry.seq == ++seq);
    HF_TRY([[maybe_unused]] const bool row,
           insert.bind(static_cast<std::int64_t>(entry.seq))
               .bind(entry.at.ns)
               .bind(entry.wall.ns)
               .bind(entry.event)
               .bind(static_cast<std::int64_t>(entry.effects_digest))
               .step(path_));
    insert.reset();
  }
  Statement note_insert(writer_, "INSERT INTO notes VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const Note& note : notes) {
    HF_TRY([[maybe_unused]] const bool row, note_insert.bind(note.wall.ns)
                                                .bind(note.at.ns)
                                                .bind(note.severity)
                                                .bind(note.kind)
                                                .bind(note.text)
                                                .bind(note.node)
                                                .bind(note.job)
                                                .bind(note.incident)
                                                .step(path_));
    note_insert.reset();
  }
  HF_TRY_VOID(transaction.commit());
  last_seq_ = seq;
  return {};
}

Result<void> Journal::snapshot(std::uint64_t seq, const std::string& state) {
  Transaction transaction(writer_, path_);
  HF_TRY_VOID(transaction.begin());
  HF_TRY(const std::int64_t former, query_integer(writer_, path_, "SELECT seq FROM snapshot"));
  CHECK(static_cast<std::uint64_t>(former) <= seq && seq <= last_seq_);
  // With nothing appended since the last snapshot its times stay.
  Statement replace(writer_, R"(
    INSERT OR REPLACE INTO snapshot
    SELECT 1, ?1, at, wall, ?2 FROM (SELECT at, wall, seq FROM entries WHERE seq = ?1
                                     UNION ALL SELECT at, wall, seq FROM snapshot
                                     UNION ALL SELECT 0, 0, 0)
    ORDER BY seq DESC LIMIT 1)");
  HF_TRY([[maybe_unused]] const bool row1,
         replace.bind(static_cast<std::int64_t>(seq)).bind(state).step(path_));
  HF_TRY_VOID(execute(writer_, path_, "DELETE FROM entries WHERE seq <= " + std::to_string(seq)));
  HF_TRY_VOID(execute(
      writer_, path_,
      "DELETE FROM notes WHERE id <= (SELECT max(id) FROM notes) - " + std::to_string(kNotesMax)));
  return transaction.commit();
}

Result<std::vector<std::pair<std::uint64_t, Journal::Note>>> Journal::notes(std::uint64_t after,
                                                                            std::size_t limit) {
  const std::lock_guard lock(reader_mutex_);
  Statement select(reader_, R"(
    SELECT id, wall, at, severity, kind, text, node, job, incident
    FROM notes WHERE id > ? ORDER BY id LIMIT ?)");
  select.bind(static_cast<std::int64_t>(std::min<std::uint64_t>(after, INT64_MAX)))
      .bind(static_cast<std::int64_t>(std::min<std::size_t>(limit, kNotesMax)));
  std::vector<std::pair<std::uint64_t, Note>> found;
  for (;;) {
    HF_TRY(const bool row, select.step(path_));
    if (!row) return found;
    found.emplace_back(static_cast<std::uint64_t>(select.integer(0)),
                       Note{{select.integer(1)},
                            {select.integer(2)},
                            select.text(3),
                            select.text(4),
                            select.text(5),
                            static_cast<std::uint32_t>(select.integer(6)),
                            static_cast<std::uint32_t>(select.integer(7)),
                            static_cast<std::uint32_t>(select.integer(8))});
  }
}

Result<std::uint64_t> Journal::last_note_id() {
  const std::lock_guard lock(reader_mutex_);
  HF_TRY(const std::int64_t id, query_integer(reader_, path_, "SELECT max(id) FROM notes"));
  return static_cast<std::uint64_t>(id);
}

}  // namespace holdfast
