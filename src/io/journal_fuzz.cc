// Any rows in the tables of a journal: it is read whole and in order, or refused.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include <sqlite3.h>

#include "base/check.h"
#include "io/journal.h"

namespace {

using namespace holdfast;

std::string make_folder() {
  std::string name = "/tmp/journal_fuzz.XXXXXX";
  CHECK(::mkdtemp(name.data()) != nullptr);
  CHECK(Journal::open(name, "", "fuzz").ok());
  return name;
}

// Numbers of 8 bytes and texts, one after the other, for as long as there are bytes.
struct Bytes {
  const std::uint8_t* at;
  std::size_t left;

  std::int64_t number() {
    std::int64_t value = 0;
    const std::size_t some = left < sizeof value ? left : sizeof value;
    std::memcpy(&value, at, some);
    at += some;
    left -= some;
    return value;
  }
  std::string text() {
    const std::size_t length = left == 0 ? 0 : at[0] % 64;
    const std::size_t some = length < left ? length : left;
    std::string value(reinterpret_cast<const char*>(at), some);
    at += some;
    left -= some;
    return value;
  }
};

void insert(sqlite3* db, const char* sql, Bytes& bytes, bool is_entry) {
  sqlite3_stmt* statement = nullptr;
  CHECK(sqlite3_prepare_v2(db, sql, -1, &statement, nullptr) == SQLITE_OK);
  for (int i = 1; i <= 3; ++i) sqlite3_bind_int64(statement, i, bytes.number());
  const std::string text = bytes.text();
  sqlite3_bind_text(statement, 4, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
  if (is_entry) sqlite3_bind_int64(statement, 5, bytes.number());
  sqlite3_step(statement);  // a number that is there already is refused
  sqlite3_finalize(statement);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string path = make_folder() + "/journal.db";
  sqlite3* db = nullptr;
  CHECK(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
  sqlite3_exec(db, "PRAGMA synchronous = OFF; BEGIN; DELETE FROM entries; DELETE FROM snapshot",
               nullptr, nullptr, nullptr);
  Bytes bytes{data, size};
  if (bytes.number() % 2 == 0)
    insert(db, "INSERT INTO snapshot VALUES (1, ?, ?, ?, ?)", bytes, false);
  while (bytes.left > 0) insert(db, "INSERT INTO entries VALUES (?, ?, ?, ?, ?)", bytes, true);
  sqlite3_exec(db, "COMMIT", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  const auto found = Journal::read(path);
  if (!found.ok()) {
    CHECK(found.error().code == Errc::kStateCorrupt);
    return 0;
  }
  std::uint64_t seq = found->snapshot_seq;
  for (const Journal::Entry& entry : found->tail) CHECK(entry.seq == ++seq);
  return 0;
}
