"""Checkpoints: what survives a kill, a torn file, a fenced attempt; what a program gets back."""
import contextlib
import errno
import io
import json
import os
import shutil
import random
import signal
import unittest
from unittest import mock

import support
from holdfast import _store, checkpoint
from holdfast._store import Damaged, Fenced, Refused, Store


class StoreTest(support.Folder):
    def store(self, attempt=1, **more):
        return Store(self.path("ck"), "job", attempt, **more)

    def commit(self, store, step, content=None):
        folder = store.prepare(step)
        entries = [_store.write_file(folder, "rank-%04d.pt" % rank,
                                     lambda file: file.write(content or b"%d of %d" % (step, rank)))
                   for rank in range(2)]
        store.commit(step, entries, 2)
        store.collect()

    def newest(self, store):
        """(attempt, step, bytes of rank 1) of the newest commit that verifies, as restore() picks it."""
        for attempt, step in store.chain():
            folder = store.step_path(attempt, step)
            with contextlib.suppress(Damaged):
                for entry in store.manifest(attempt, step)["files"]:
                    _store.verify_file(folder, entry)
                with open(os.path.join(folder, "rank-0001.pt"), "rb") as file:
                    return attempt, step, file.read()
        return None


class KillTest(StoreTest):
    CALLS = ("open", "fsync", "replace", "link", "unlink", "rmdir", "mkdir", "listdir")

    def killed_at(self, call, work):
        """Run work() in a child that dies, for real, at its call-th file operation; whether it got there."""
        child = os.fork()
        if child == 0:
            left = [call]

            def deadly(real):
                def function(*args, **kwargs):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*args, **kwargs)
                return function

            for name in self.CALLS:
                setattr(os, name, deadly(getattr(os, name)))
            _store.open = deadly(open)
            try:
                work()
            finally:
                os._exit(0)
        return support.reap(child) == -signal.SIGKILL

    def test_a_kill_at_any_instant_leaves_the_old_commit_or_the_new(self):
        outcomes = set()
        for call in range(1, 1000):
            self.dir, before = self.path("k%d" % call), self.dir
            os.mkdir(self.dir)
            for step in (10, 20):
                self.commit(self.store(1, keep=2), step)
            died = self.killed_at(call, lambda: self.commit(self.store(1, keep=2), 30))
            first = self.newest(self.store(1))
            self.assertIn(first, [(1, 20, b"20 of 1"), (1, 30, b"30 of 1")], call)
            self.commit(self.store(2, keep=2), 40)  # and the next attempt goes on from there
            self.assertEqual(self.store(2).chain(), [(2, 40), first[:2]])
            outcomes.add((died, first[1]))
            self.dir = before
            if not died:
                break
        self.assertEqual(outcomes, {(True, 20), (True, 30), (False, 30)})
        self.assertGreater(call, 15)

    def test_a_kill_at_the_start_of_an_attempt_loses_nothing(self):
        for call in range(1, 1000):
            self.dir, before = self.path("k%d" % call), self.dir
            os.mkdir(self.dir)
            self.commit(self.store(1), 10)
            died = self.killed_at(call, lambda: self.store(2).begin())
            self.store(3).begin()
            self.assertEqual(self.newest(self.store(3)), (1, 10, b"10 of 1"), call)
            self.dir = before
            if not died:
                break
        self.assertGreater(call, 4)

    def test_files_are_durable_before_the_manifest_is(self):
        trace = []

        def traced(name, real):
            def function(*args, **kwargs):
                target = args[0] if isinstance(args[0], str) else os.readlink("/proc/self/fd/%d" % args[0])
                trace.append((name, os.path.relpath(target, self.path("ck"))))
                return real(*args, **kwargs)
            return function

        store = self.store()
        store.begin()
        with mock.patch.object(os, "fsync", traced("fsync", os.fsync)), \
                mock.patch.object(os, "replace", traced("replace", os.replace)):
            self.commit(store, 10)
        at = "attempt-0001/step-00000010"
        self.assertEqual(trace, [
            ("fsync", at + "/rank-0000.pt"), ("fsync", at + "/rank-0001.pt"), ("fsync", at),
            ("fsync", "attempt-0001"), ("fsync", at + "/manifest.json.tmp"),
            ("replace", at + "/manifest.json.tmp"), ("fsync", at)])


class FenceTest(StoreTest):
    def test_a_superseded_attempt_cannot_commit(self):
        old, new = self.store(1), self.store(2)
        self.commit(old, 10)
        new.begin()
        with self.assertRaises(Fenced):
            old.prepare(20)
        with self.assertRaises(Fenced):
            old.begin()

    def test_fenced_between_its_files_and_its_commit(self):
        old = self.store(1)
        self.commit(old, 10)
        old.prepare(20)
        self.store(2).begin()
        with self.assertRaises(Fenced):
            old.commit(20, [], 0)

    def test_a_commit_after_the_successor_took_its_base_is_not_restored(self):
        old, new = self.store(1), self.store(2)
        self.commit(old, 10)
        self.commit(old, 20)
        new.begin()
        with mock.patch.object(Store, "check_fence"):  # it looked just before
            self.commit(old, 30)
        self.assertEqual(new.chain(), [(1, 20), (1, 10)])
        self.commit(new, 21)
        third = self.store(3)
        third.begin()
        self.assertEqual(third.chain(), [(2, 21), (1, 20), (1, 10)])
        self.assertFalse(os.path.exists(old.step_path(1, 30)))  # and is removed in time

    def test_the_base_survives_a_late_commit_of_an_attempt_that_keeps_few(self):
        old, new = self.store(1, keep=1), self.store(2)
        self.commit(old, 10)
        new.begin()
        with mock.patch.object(Store, "check_fence"):
            self.commit(old, 20)
        self.assertEqual(self.newest(new), (1, 10, b"10 of 1"))

    def test_lineage_is_written_once(self):
        self.commit(self.store(1), 10)
        self.store(2).begin()
        with mock.patch.object(Store, "check_fence"):
            self.commit(self.store(1), 20)
        self.store(2).begin()
        self.assertEqual(json.loads(self.read("ck/attempt-0002/lineage.json")),
                         {"base": {"attempt": 1, "step": 10}})
        self.assertEqual(os.listdir(self.path("ck/attempt-0002")), ["lineage.json"])

    def test_a_base_that_could_not_be_written_stays_the_base(self):
        self.commit(self.store(1), 10)
        store = self.store(2)
        with mock.patch.object(_store, "_write_durably", side_effect=OSError(errno.ENOSPC, "full")):
            with self.assertRaises(OSError):
                store.begin()
        self.assertEqual(os.listdir(self.path("ck/attempt-0002")), [])
        with mock.patch.object(Store, "check_fence"):
            self.commit(self.store(1), 20)  # of an attempt that was given up, after its successor began
        store.begin()
        self.assertEqual(self.newest(self.store(2)), (1, 10, b"10 of 1"))

    def test_a_folder_that_was_removed_is_begun_again(self):
        store = self.store(2)
        self.commit(store, 10)
        shutil.rmtree(self.path("ck"))
        self.commit(store, 20)
        self.assertEqual(self.newest(self.store(3)), (2, 20, b"20 of 1"))

    def test_only_what_is_needed_stays(self):
        for attempt in (1, 2, 3):
            for step in (1, 2):
                self.commit(self.store(attempt), attempt * 10 + step)
        self.assertEqual(self.store(3).chain(), [(3, 32), (3, 31), (2, 22)])
        self.assertEqual(sorted(os.listdir(self.path("ck"))), ["attempt-0002", "attempt-0003"])
        self.store(4).prepare(40)  # dies there
        self.commit(self.store(5), 51)
        self.assertEqual(self.store(5).chain(), [(5, 51), (3, 32), (3, 31)])
        self.assertFalse(os.path.exists(self.path("ck/attempt-0004")))


class ManifestTest(StoreTest):
    def change(self, **fields):
        path = "ck/attempt-0001/step-00000010/manifest.json"
        manifest = json.loads(self.read(path))
        manifest.update(fields)
        self.write(path, json.dumps(manifest))

    def test_what_cannot_be_read_or_judged_says_why(self):
        cases = ((Refused, "format", "other", "another checkpoint folder"),
                 (Refused, "version", 2, "reads version 1"),
                 (Refused, "job", "theirs", "this job is 'job'"),
                 (Refused, "step", 11, "moved"),
                 (Damaged, "files", [{"name": "x"}], "files"),
                 (Damaged, "files", [], "world_size 2"))
        for kind, field, value, remedy in cases:
            with self.subTest(field=field, value=value):
                self.commit(self.store(), 10)
                self.change(**{field: value})
                with self.assertRaises(kind) as caught:
                    self.store().manifest(1, 10)
                text = str(caught.exception)
                self.assertNotIn("\n", text)
                for part in ("manifest.json", field, remedy):
                    self.assertIn(part, text)
        self.write("ck/attempt-0001/step-00000010/manifest.json", '{"format": "holdf')
        with self.assertRaisesRegex(Damaged, "manifest.json: cannot be read"):
            self.store().manifest(1, 10)

    def test_a_changed_or_short_file_is_noticed(self):
        self.commit(self.store(), 10)
        entry = self.store().manifest(1, 10)["files"][1]
        folder = self.store().step_path(1, 10)
        self.assertIsNone(_store.verify_file(folder, entry))
        path = "ck/attempt-0001/step-00000010/rank-0001.pt"
        self.write(path, "10 of 2")
        with self.assertRaisesRegex(Damaged, "checksum is blake2b-128:.* manifest says blake2b-128:"):
            _store.verify_file(folder, entry)
        self.write(path, "10 of")
        with self.assertRaisesRegex(Damaged, "has 5 bytes, its manifest says 7"):
            _store.verify_file(folder, entry)


@support.needs_torch
class FaceTest(support.Folder):
    """One process, no process group."""

    def setUp(self):
        super().setUp()
        self.env = dict(HOLDFAST_CHECKPOINT_DIR=self.path("ck"), HOLDFAST_ATTEMPT="1",
                        HOLDFAST_JOB="job", HOLDFAST_PROGRESS_PAGE=self.new_page())
        patch = mock.patch.dict(os.environ, self.env)
        patch.start()
        self.addCleanup(patch.stop)
        os.environ.pop("WORLD_SIZE", None)
        self.attempt(1)

    def attempt(self, number):
        """A new process of this attempt, as far as the modules know."""
        os.environ["HOLDFAST_ATTEMPT"] = str(number)
        checkpoint._store = None
        checkpoint._told.clear()
        from holdfast import page
        page._asked_by = None
        self.new_page()

    def seen(self):
        return support.read_page(self.path("page"))

    def said(self, action):
        stream = io.StringIO()
        with contextlib.redirect_stderr(stream):
            value = action()
        return value, stream.getvalue()

    def objects(self):
        torch = support.torch
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        return {"model": model, "optimizer": optimizer, "extra": {"epoch": random.random()}}

    def test_what_was_saved_comes_back(self):
        torch, ours = support.torch, self.objects()
        self.assertTrue(checkpoint.save(7, per_rank={"loader": {"at": 5}}, **ours))
        rolls = random.random(), torch.rand(1).item()
        self.assertEqual((self.seen()["committed"], self.seen()["restored"]), (8, 0))
        self.assertGreater(self.seen()["stall_ns"], 0)
        self.attempt(2)
        new, loader = self.objects(), {"other": 1}
        self.assertEqual(checkpoint.restore(per_rank={"loader": loader}, **new), 7)
        self.assertEqual((random.random(), torch.rand(1).item()), rolls)
        self.assertEqual((loader, new["extra"]), ({"at": 5}, ours["extra"]))
        for name, value in ours["model"].state_dict().items():
            self.assertTrue(torch.equal(value, new["model"].state_dict()[name]))
        for group in ours["optimizer"].state_dict()["state"].items():
            self.assertEqual(str(group), str((group[0], new["optimizer"].state_dict()["state"][group[0]])))
        self.assertEqual((self.seen()["step"], self.seen()["restored"]), (7, 8))

    def test_wrappers_leave_no_trace(self):
        torch = support.torch
        checkpoint.save(1, model=torch.nn.DataParallel(torch.nn.Linear(1, 1)))
        self.attempt(2)
        self.assertEqual(checkpoint.restore(model=torch.nn.Linear(1, 1)), 1)

    def test_without_a_folder_nothing_happens(self):
        del os.environ["HOLDFAST_CHECKPOINT_DIR"]
        self.assertEqual((checkpoint.restore(), checkpoint.save(1)), (0, False))
        self.assertEqual(os.listdir(self.dir), ["page"])

    def test_due(self):
        self.assertFalse(checkpoint.due(20))
        os.environ["HOLDFAST_CHECKPOINT_INTERVAL"] = "10"
        self.assertEqual([s for s in range(31) if checkpoint.due(s)], [10, 20, 30])

    def test_a_damaged_checkpoint_is_passed_over_and_said(self):
        for step in (10, 20):
            checkpoint.save(step, extra={"step": step})
        self.attempt(2)
        path = self.path("ck/attempt-0001/step-00000020/rank-0000.pt")
        os.truncate(path, os.path.getsize(path) - 1)
        extra = {}
        step, text = self.said(lambda: checkpoint.restore(extra=extra))
        self.assertEqual((step, extra), (10, {"step": 10}))
        self.assertRegex(text, "^holdfast: checkpoint of attempt 1, step 20 is left out: .*bytes.*\n$")

    def test_no_start_from_scratch_over_damaged_checkpoints(self):
        checkpoint.save(10, extra={})
        self.attempt(2)
        os.truncate(self.path("ck/attempt-0001/step-00000010/rank-0000.pt"), 3)
        with self.assertRaisesRegex(Refused, "move the folder away"):
            self.said(lambda: checkpoint.restore(extra={}))

    def test_a_fenced_attempt_gets_false(self):
        checkpoint.save(10, extra={})
        old = checkpoint._store
        self.attempt(2)
        checkpoint.restore(extra={})
        self.attempt(1)
        checkpoint._store = old
        saved, text = self.said(lambda: checkpoint.save(20, extra={}))
        self.assertFalse(saved)
        self.assertIn("fenced: attempt 2 of this job has begun", text)
        self.assertEqual((self.seen()["failures"], self.seen()["errno"]), (1, errno.ESTALE))
        self.assertTrue(self.seen()["text"].startswith("fenced"))
        with self.assertRaises(Fenced):
            checkpoint.restore(extra={})

    def test_a_full_disk_does_not_stop_training(self):
        big = {"big": support.torch.zeros(1 << 16)}
        checkpoint.save(10, extra=big)

        class Full(io.FileIO):
            def write(self, data):
                if self.tell() > 4096:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "rank-0000.pt")
                return super().write(data)

        def full_open(path, mode="r", **more):
            return Full(path, mode) if path.endswith(".pt") and mode == "wb" else open(path, mode, **more)

        with mock.patch.object(_store, "open", full_open, create=True):
            saved, text = self.said(lambda: [checkpoint.save(20, extra=big), checkpoint.save(30, extra=big)])
        self.assertEqual(saved, [False, False])
        self.assertEqual(text.count("\n"), 1, text)  # said once
        self.assertIn("No space left on device", text)
        self.assertIn("free space", text)
        seen = self.seen()
        self.assertEqual((seen["failures"], seen["errno"], seen["committed"]), (2, errno.ENOSPC, 11))
        self.assertGreater(seen["free"], 0)
        self.assertEqual(sorted(os.listdir(self.path("ck/attempt-0001"))), ["lineage.json", "step-00000010"])
        self.assertTrue(checkpoint.save(40, extra=big))

    def test_a_name_that_was_not_saved(self):
        checkpoint.save(10, model={"a": 1})
        self.attempt(2)
        with self.assertRaisesRegex(Refused, "no 'net' .it has model"):
            checkpoint.restore(net={})

    def test_ranks_without_a_process_group_are_told(self):
        os.environ["WORLD_SIZE"] = "4"
        with self.assertRaisesRegex(RuntimeError, "init_process_group"):
            checkpoint.restore()

    def test_the_command_line(self):
        checkpoint.save(10, extra={})
        for command, status in (("list", 0), ("verify", 0)):
            stream = io.StringIO()
            with contextlib.redirect_stdout(stream):
                self.assertEqual(checkpoint._main([command, self.path("ck"), "--json"]), status)
            self.assertEqual(json.loads(stream.getvalue())[0]["step"], 10)
        os.truncate(self.path("ck/attempt-0001/step-00000010/rank-0000.pt"), 3)
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(checkpoint._main(["verify", self.path("ck")]), 1)


@support.needs_torch
class RanksTest(support.Folder):
    """Real ranks over gloo, forked from the warm process."""

    PROGRAM = """
import errno, os, torch, torch.distributed as dist
from holdfast import checkpoint, _store
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
dist.init_process_group("gloo", init_method="file://" + os.environ["MEET"], rank=rank, world_size=world)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
mine = {"rank": rank, "fresh": True}
start = checkpoint.restore(per_rank={"mine": mine}, model=model)
print("start", start, mine["rank"], mine["fresh"])
if os.environ.get("FULL") == os.environ["RANK"]:
    def write_file(*args): raise OSError(errno.ENOSPC, "No space left on device")
    _store.write_file = write_file
mine["fresh"] = False
print("saved", checkpoint.save(start + 1, per_rank={"mine": mine}, model=model))
"""

    def job(self, world, attempt, **more):
        self.write("program.py", self.PROGRAM)
        pids = [self.start("program", log=self.path("log-%d-%d" % (attempt, rank)), env=self.rank_env(
            RANK=str(rank), WORLD_SIZE=str(world), MEET=self.path("meet-%d" % attempt),
            HOLDFAST_PROGRESS_PAGE=self.new_page("page-%d" % rank), HOLDFAST_ATTEMPT=str(attempt),
            HOLDFAST_CHECKPOINT_DIR=self.path("ck"), **more)) for rank in range(world)]
        statuses = [support.reap(pid) for pid in pids]
        logs = [self.read("log-%d-%d" % (attempt, rank)) for rank in range(world)]
        self.assertEqual(statuses, [0] * world, logs)
        return ["".join(l + "|" for l in log.splitlines() if not l.startswith("holdfast")) for log in logs]

    def test_all_ranks_agree(self):
        self.assertEqual(self.job(2, 1), ["start 0 0 True|saved True|", "start 0 1 True|saved True|"])
        self.assertEqual(self.job(2, 2, FULL="1"),
                         ["start 1 0 False|saved False|", "start 1 1 False|saved False|"])
        self.assertEqual([support.read_page(self.path("page-%d" % r))["errno"] for r in (0, 1)], [28, 28])
        self.assertFalse(os.path.exists(self.path("ck/attempt-0002/step-00000002")))
        self.assertEqual(self.job(3, 3), ["start 1 0 False|saved True|", "start 1 1 False|saved True|",
                                          "start 1 2 True|saved True|"])
        self.assertEqual(self.job(1, 4), ["start 2 0 False|saved True|"])


if __name__ == "__main__":
    unittest.main()
