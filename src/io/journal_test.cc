#include "io/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/prng.h"
#include "io/clock.h"
#include "io/files.h"
#include "io/scratch_folder_test.h"

namespace holdfast {
namespace {

using testing::HasSubstr;

Journal::Entry entry(std::uint64_t seq, std::string event = "{}") {
  const auto n = static_cast<std::int64_t>(seq);
  return {seq, {n * 10}, {n * 100}, std::move(event), ~seq};
}

Journal::Note note(const std::string& text) {
  return {{7}, {8}, "warning", "node", text, 1, 2, 0xFFFFFFFF};
}

class Journals : public ScratchFolder {
 protected:
  std::unique_ptr<Journal> open() {
    auto journal = Journal::open(folder(), "", "1.0");
    EXPECT_TRUE(journal.ok()) << journal.error().text();
    return journal.ok() ? std::move(*journal) : nullptr;
  }
  // The error that opening gives.
  Error refused(const std::string& uuid = "") {
    const auto journal = Journal::open(folder(), uuid, "1.0");
    return journal.ok() ? Error{Errc::kNotFound, "it opened"} : journal.error();
  }
  void sql(const std::string& text) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path("journal.db").c_str(), &db), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(db, text.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(db);
    sqlite3_close(db);
  }
};

TEST_F(Journals, ANewOneIsEmptyAndPrivate) {
  const auto journal = open();
  const auto recovered = *journal->recover();
  EXPECT_FALSE(recovered.snapshot);
  EXPECT_TRUE(recovered.tail.empty());
  EXPECT_EQ(recovered.last_at, Instant{0});
  EXPECT_EQ(journal->cluster_uuid().size(), 36u);
  EXPECT_EQ(*journal->last_note_id(), 0u);
  struct stat status {};
  ASSERT_EQ(::stat(path("journal.db").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST_F(Journals, GivesBackWhatWasAppended) {
  const std::string odd("{\"text\": \"a\0\xC3\xA9\"}", 16);
  std::string uuid;
  {
    const auto journal = open();
    uuid = journal->cluster_uuid();
    const Journal::Entry both[] = {entry(1), entry(2, odd)};
    ASSERT_TRUE(journal->append(both, {}).ok());
    const Journal::Entry third[] = {entry(3)};
    ASSERT_TRUE(journal->append(third, {}).ok());
  }
  const auto journal = open();
  EXPECT_EQ(journal->cluster_uuid(), uuid);
  const auto recovered = *journal->recover();
  ASSERT_EQ(recovered.tail.size(), 3u);
  EXPECT_EQ(recovered.tail[1].seq, 2u);
  EXPECT_EQ(recovered.tail[1].at, Instant{20});
  EXPECT_EQ(recovered.tail[1].wall, WallTime{200});
  EXPECT_EQ(recovered.tail[1].event, odd);
  EXPECT_EQ(recovered.tail[1].effects_digest, ~2ull);
  EXPECT_EQ(recovered.last_at, Instant{30});
  EXPECT_EQ(recovered.last_wall, WallTime{300});
}

TEST_F(Journals, ASnapshotStandsForItsEntries) {
  {
    const auto journal = open();
    const Journal::Entry two[] = {entry(1), entry(2)};
    ASSERT_TRUE(journal->append(two, {}).ok());
    ASSERT_TRUE(journal->snapshot(2, "old").ok());
    ASSERT_TRUE(journal->snapshot(2, "state").ok());
  }
  {
    const auto recovered = *open()->recover();
    EXPECT_EQ(recovered.snapshot, "state");
    EXPECT_EQ(recovered.snapshot_seq, 2u);
    EXPECT_EQ(recovered.last_at, Instant{20});
    EXPECT_EQ(recovered.last_wall, WallTime{200});
    EXPECT_TRUE(recovered.tail.empty());
  }
  const auto journal = open();
  const Journal::Entry third[] = {entry(3)};
  ASSERT_TRUE(journal->append(third, {}).ok());
  const auto recovered = *journal->recover();
  ASSERT_EQ(recovered.tail.size(), 1u);
  EXPECT_EQ(recovered.tail[0].seq, 3u);
  EXPECT_EQ(recovered.last_at, Instant{30});
}

TEST_F(Journals, AnEmptyClusterCanBeSnapshotted) {
  const auto journal = open();
  ASSERT_TRUE(journal->snapshot(0, "nothing").ok());
  EXPECT_EQ(journal->recover()->snapshot, "nothing");
  const Journal::Entry first[] = {entry(1)};
  EXPECT_TRUE(journal->append(first, {}).ok());
}

TEST_F(Journals, ASnapshotKeepsTheEntriesAfterIt) {
  const auto journal = open();
  const Journal::Entry three[] = {entry(1), entry(2), entry(3)};
  ASSERT_TRUE(journal->append(three, {}).ok());
  ASSERT_TRUE(journal->snapshot(2, "state").ok());
  const auto recovered = *journal->recover();
  EXPECT_EQ(recovered.snapshot_seq, 2u);
  ASSERT_EQ(recovered.tail.size(), 1u);
  EXPECT_EQ(recovered.tail[0].seq, 3u);
  EXPECT_EQ(recovered.last_at, Instant{30});
}

TEST_F(Journals, NotesOutliveTheirEntries) {
  const auto journal = open();
  const Journal::Entry entries[] = {entry(1)};
  const Journal::Note notes[] = {note("a"), note("b"), note("c")};
  ASSERT_TRUE(journal->append(entries, notes).ok());
  ASSERT_TRUE(journal->snapshot(1, "state").ok());
  const auto found = *journal->notes(1, 1);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].first, 2u);
  const Journal::Note& b = found[0].second;
  EXPECT_EQ(b.text, "b");
  EXPECT_EQ(b.severity, "warning");
  EXPECT_EQ(b.kind, "node");
  EXPECT_EQ(b.wall, WallTime{7});
  EXPECT_EQ(b.at, Instant{8});
  EXPECT_EQ(b.node, 1u);
  EXPECT_EQ(b.job, 2u);
  EXPECT_EQ(b.incident, 0xFFFFFFFFu);
  EXPECT_EQ(journal->notes(0, 100)->size(), 3u);
  EXPECT_EQ(journal->notes(~0ull, ~0ull)->size(), 0u);
  EXPECT_EQ(*journal->last_note_id(), 3u);
}

TEST_F(Journals, ASnapshotDropsTheOldestNotes) {
  const auto journal = open();
  const std::vector<Journal::Note> many(100'005, note("x"));
  ASSERT_TRUE(journal->append({}, many).ok());
  ASSERT_TRUE(journal->snapshot(0, "state").ok());
  EXPECT_EQ(journal->notes(0, 1)->at(0).first, 6u);
  EXPECT_EQ(*journal->last_note_id(), 100'005u);
}

TEST_F(Journals, NotesAreReadWhileAnotherThreadWrites) {
  const auto journal = open();
  std::thread reader([&] {
    std::uint64_t seen = 0;
    while (seen < 200) {
      const auto found = journal->notes(seen, 1000);
      ASSERT_TRUE(found.ok()) << found.error().text();
      for (const auto& [id, line] : *found) ASSERT_EQ(id, ++seen);
    }
  });
  for (std::uint64_t seq = 1; seq <= 200; ++seq) {
    const Journal::Entry entries[] = {entry(seq)};
    const Journal::Note notes[] = {note("x")};
    ASSERT_TRUE(journal->append(entries, notes).ok());
    if (seq % 50 == 0) {
      ASSERT_TRUE(journal->snapshot(seq, "state").ok());
    }
  }
  reader.join();
}

TEST_F(Journals, OfAnotherClusterIsRefused) {
  ASSERT_TRUE(Journal::open(folder(), "ours", "1.0").ok());
  EXPECT_TRUE(Journal::open(folder(), "ours", "1.0").ok());
  const Error error = refused("theirs");
  EXPECT_EQ(error.code, Errc::kStateCorrupt);
  EXPECT_THAT(error.detail, HasSubstr("of cluster ours, not of theirs"));
}

TEST_F(Journals, OfANewerFormatIsRefusedAndNamesTheVersion) {
  ASSERT_TRUE(open());
  sql("UPDATE meta SET value = 2 WHERE key = 'format'");
  sql("UPDATE meta SET value = '9.9' WHERE key = 'software_version'");
  const Error error = refused();
  EXPECT_EQ(error.code, Errc::kStateCorrupt);
  EXPECT_THAT(error.detail, HasSubstr("format 2, last written by Holdfast 9.9"));
}

TEST_F(Journals, RemembersTheSoftwareThatWroteIt) {
  ASSERT_TRUE(open());
  ASSERT_TRUE(Journal::open(folder(), "", "2.0").ok());
  sql("UPDATE meta SET value = 2 WHERE key = 'format'");
  EXPECT_THAT(refused().detail, HasSubstr("Holdfast 2.0"));
}

TEST_F(Journals, AMissingEntryIsDamage) {
  {
    const Journal::Entry three[] = {entry(1), entry(2), entry(3)};
    ASSERT_TRUE(open()->append(three, {}).ok());
  }
  sql("DELETE FROM entries WHERE seq = 2");
  EXPECT_EQ(refused().code, Errc::kStateCorrupt);
  EXPECT_THAT(refused().detail, HasSubstr("entries are missing: 2 of 1..3"));
  sql("DELETE FROM entries WHERE seq = 1");
  EXPECT_EQ(refused().code, Errc::kStateCorrupt);
}

TEST_F(Journals, RowsThatNobodyWroteAreDamage) {
  { ASSERT_TRUE(open()->append({}, {}).ok()); }
  sql("INSERT INTO snapshot VALUES (1, 9223372036854775807, 0, 0, 'x')");
  sql("INSERT INTO entries VALUES (-9223372036854775808, 0, 0, 'x', 0)");
  EXPECT_EQ(refused().code, Errc::kStateCorrupt);
  sql("DELETE FROM entries; UPDATE snapshot SET seq = -1");
  EXPECT_EQ(refused().code, Errc::kStateCorrupt);
  sql("DELETE FROM snapshot; INSERT INTO entries VALUES (-9223372036854775808, 0, 0, 'x', 0), "
      "(9223372036854775807, 0, 0, 'x', 0)");
  EXPECT_EQ(refused().code, Errc::kStateCorrupt);
}

TEST_F(Journals, WhatIsNoJournalIsRefusedAndLeftAlone) {
  for (const std::string& bytes :
       {std::string(), std::string("x"), std::string(100'000, 'g'), std::string(8192, '\0')}) {
    ASSERT_TRUE(write_file_atomic(path("journal.db"), bytes, 0600).ok());
    const Error error = refused();
    EXPECT_EQ(error.code, Errc::kStateCorrupt) << error.text();
    EXPECT_THAT(error.detail, HasSubstr(path("journal.db")));
    EXPECT_EQ(*read_file(path("journal.db"), 200'000), bytes);
  }
}

TEST_F(Journals, AForeignDatabaseIsRefused) {
  sql("CREATE TABLE photos(name TEXT)");
  EXPECT_EQ(refused().code, Errc::kStateCorrupt);
  EXPECT_THAT(refused().detail, HasSubstr("not a Holdfast journal"));
}

TEST_F(Journals, ADatabaseThatWentAwayIsNotANewCluster) {
  ASSERT_TRUE(open());
  ASSERT_TRUE(write_file_atomic(path("journal.db-wal"), "x", 0600).ok());
  std::filesystem::remove(path("journal.db"));
  EXPECT_EQ(refused().code, Errc::kStateCorrupt);
}

TEST_F(Journals, ATruncatedFileIsRefusedAtEveryLength) {
  {
    const auto journal = open();
    for (std::uint64_t seq = 1; seq <= 20; ++seq) {
      const Journal::Entry one[] = {entry(seq, std::string(2000, 'x'))};
      ASSERT_TRUE(journal->append(one, {}).ok());
    }
  }
  const std::string whole = *read_file(path("journal.db"), 1 << 20);
  for (std::size_t size = 0; size < whole.size(); size += size < 200 ? 10 : 509) {
    ASSERT_TRUE(write_file_atomic(path("journal.db"), whole.substr(0, size), 0600).ok());
    const Error error = refused();
    ASSERT_EQ(error.code, Errc::kStateCorrupt) << size << " bytes: " << error.text();
  }
  ASSERT_TRUE(write_file_atomic(path("journal.db"), whole, 0600).ok());
  EXPECT_EQ(open()->recover()->tail.size(), 20u);
}

TEST_F(Journals, ADamagedPageIsFoundAtOpen) {
  {
    const std::vector<Journal::Note> notes(1000, note("x"));
    ASSERT_TRUE(open()->append({}, notes).ok());
  }
  const std::string whole = *read_file(path("journal.db"), 1 << 20);
  for (std::size_t page = 4096; page < whole.size(); page += 4096) {
    std::string damaged = whole;
    damaged.replace(page, 4096, 4096, '\0');
    ASSERT_TRUE(write_file_atomic(path("journal.db"), damaged, 0600).ok());
    ASSERT_EQ(refused().code, Errc::kStateCorrupt) << "page at " << page;
  }
}

TEST_F(Journals, ACrashWhileItIsMadeLeavesNothingInTheWay) {
  ASSERT_TRUE(write_file_atomic(path("journal.db.new"), "half", 0600).ok());
  EXPECT_TRUE(open());
}

TEST_F(Journals, AMissingFolderIsNamed) {
  const auto journal = Journal::open(path("none"), "", "1.0");
  ASSERT_FALSE(journal.ok());
  EXPECT_EQ(journal.error().code, Errc::kIo);
  EXPECT_THAT(journal.error().detail, HasSubstr(path("none")));
}

// On a file system of 1 MiB, in a mount namespace of its own. The exit code tells what went wrong.
int fill_the_disk(const std::string& folder) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("none", folder.c_str(), "tmpfs", 0, "size=1m") != 0)
    return 77;
  const auto journal = std::move(Journal::open(folder, "", "1.0").value());
  const Journal::Entry first[] = {entry(1, std::string(1000, 'x'))};
  if (!journal->append(first, {}).ok()) return 1;
  std::string ballast;
  for (std::size_t size = 1 << 20; size > 0; size /= 2) {
    const std::string path = folder + "/ballast" + std::to_string(size);
    if (const auto fd = open_file(path, O_WRONLY | O_CREAT, 0600); fd.ok())
      static_cast<void>(write_all(*fd, path, std::string(size, 'b')));
  }
  const Journal::Entry second[] = {entry(2, std::string(100'000, 'y'))};
  for (int i = 0; i < 3; ++i) {
    const auto full = journal->append(second, {});
    if (full.ok() || full.error().code != Errc::kDiskFull) return 2;
    const auto full_snapshot = journal->snapshot(1, std::string(100'000, 's'));
    if (full_snapshot.ok() || full_snapshot.error().code != Errc::kDiskFull) return 3;
    if (journal->recover()->tail.size() != 1) return 4;
  }
  for (std::size_t size = 1 << 20; size > 0; size /= 2)
    std::filesystem::remove(folder + "/ballast" + std::to_string(size));
  if (!journal->append(second, {}).ok()) return 5;
  const auto recovered = journal->recover();
  return recovered.ok() && recovered->tail.size() == 2 ? 0 : 6;
}

TEST_F(Journals, AFullDiskIsToldAndWorksAgainOnceThereIsSpace) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(fill_the_disk(folder()));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "mounting a small file system is not permitted";
  EXPECT_EQ(status, 0) << "exit code " << WEXITSTATUS(status);
}

// Appends batches of 1 to 5 entries for ever, a snapshot now and then, and says on `acks` what is
// acknowledged. The event of an entry tells its batch and how many entries follow in it.
[[noreturn]] void write_until_killed(const std::string& folder, std::uint64_t seed, int acks) {
  const auto journal = std::move(Journal::open(folder, "", "1.0").value());
  std::uint64_t seq = journal->recover()->snapshot_seq + journal->recover()->tail.size();
  for (Prng prng(seed);;) {
    std::vector<Journal::Entry> batch;
    const std::uint64_t size = 1 + prng.below(5);
    for (std::uint64_t i = 1; i <= size; ++i) {
      ++seq;
      batch.push_back(entry(seq, std::to_string(size - i) + std::string(prng.below(9000), ' ')));
    }
    if (!journal->append(batch, std::vector<Journal::Note>(size, note("x"))).ok()) ::_exit(1);
    if (prng.chance(1, 8) && !journal->snapshot(seq, std::to_string(seq)).ok()) ::_exit(1);
    if (::write(acks, &seq, sizeof seq) != sizeof seq) ::_exit(1);
  }
}

// Lets the writer acknowledge a few batches, kills it at a random moment, and gives the last
// acknowledged seq.
std::uint64_t kill_a_writer(const std::string& folder, Prng& prng) {
  int acks[2];
  EXPECT_EQ(::pipe(acks), 0);
  const pid_t child = ::fork();
  if (child == 0) write_until_killed(folder, prng.next(), acks[1]);
  ::close(acks[1]);
  std::uint64_t acknowledged = 0;
  const auto read_ack = [&] { return ::read(acks[0], &acknowledged, 8) == 8; };
  for (std::uint64_t n = prng.below(6); n > 0; --n) EXPECT_TRUE(read_ack());
  for (const std::int64_t end = monotonic_ns() + static_cast<std::int64_t>(prng.below(1'500'000));
       monotonic_ns() < end;) {
  }
  ::kill(child, SIGKILL);
  while (read_ack()) {
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the writer failed by itself";
  ::close(acks[0]);
  return acknowledged;
}

TEST_F(Journals, WhatWasAcknowledgedSurvivesAKillWholeAndInOrder) {
  Prng prng(20240717);
  std::uint64_t acknowledged = 0;
  int trials = 0;
  for (const std::int64_t end = monotonic_ns() + seconds(3).ns;
       monotonic_ns() < end && trials < 300; ++trials) {
    acknowledged = std::max(acknowledged, kill_a_writer(folder(), prng));
    const auto journal = open();
    ASSERT_TRUE(journal);
    const auto recovered = *journal->recover();
    std::uint64_t seq = recovered.snapshot_seq;
    if (seq > 0) {
      ASSERT_EQ(recovered.snapshot, std::to_string(seq));
    }
    std::uint64_t to_come = 0;  // of the batch
    for (const Journal::Entry& one : recovered.tail) {
      ASSERT_EQ(one.seq, ++seq);
      ASSERT_EQ(one.effects_digest, ~seq);
      const std::uint64_t follow = std::stoull(one.event);
      if (to_come > 0) {
        ASSERT_EQ(follow, to_come - 1);
      }
      to_come = follow;
    }
    ASSERT_EQ(to_come, 0u) << "half a batch";
    ASSERT_GE(seq, acknowledged) << "an acknowledged entry is lost";
    ASSERT_EQ(*journal->last_note_id(), seq) << "notes and entries go together";
  }
  EXPECT_GT(trials, 5);
  EXPECT_GT(acknowledged, 10u);
}

}  // namespace
}  // namespace holdfast
