"""Checkpoints as a program sees them. What survives a power cut, a torn file or a fenced attempt is
tested where it is decided, in src/engine/checkpoint."""
import collections
import contextlib
import errno
import io
import json
import os
import pickle
import random
import threading
import time
import unittest
from unittest import mock

import support
from holdfast import _state, checkpoint, page
from holdfast._engine import Damaged, Engine, Fenced, Refused, Shard


class Process(support.Folder):
    """One process of a job, no process group."""

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
        checkpoint.wait(30)
        os.environ["HOLDFAST_ATTEMPT"] = str(number)
        checkpoint._engine = checkpoint._behind = checkpoint._last_step = None
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


@support.needs_torch
class FaceTest(Process):
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
        self.assertTrue(checkpoint.wait(30))
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

    def test_what_is_in_memory_is_read_into_the_tensors_that_are_there(self):
        torch = support.torch
        model, batch = torch.nn.Linear(3, 2), {"x": torch.arange(1 << 19), "other": torch.zeros(2)}
        saved = {name: value.clone() for name, value in model.state_dict().items()}
        checkpoint.save(7, per_rank={"batch": batch}, model=model)
        tensor = batch["x"]
        with torch.no_grad():
            model.weight.zero_()
            tensor.zero_()
        batch["other"] = torch.zeros(3)  # another shape: not the one that was saved
        checkpoint._last_step = None
        self.assertEqual(checkpoint.restore(per_rank={"batch": batch}, model=model), 7)
        self.assertIs(batch["x"], tensor)
        self.assertTrue(torch.equal(tensor, torch.arange(1 << 19)))
        self.assertEqual(batch["other"].tolist(), [0, 0])
        for name, value in saved.items():
            self.assertTrue(torch.equal(value, model.state_dict()[name]))

    def test_what_is_in_the_folder_is_read_into_the_tensors_that_are_there(self):
        torch = support.torch
        state = {"x": torch.arange(1 << 19), "other": torch.zeros(2)}
        checkpoint.save(7, state=state)
        self.attempt(2)
        there = {"x": torch.zeros(1 << 19, dtype=torch.int64), "other": torch.zeros(3)}
        tensor = there["x"]
        self.assertEqual(checkpoint.restore(state=there), 7)
        self.assertIs(there["x"], tensor)
        self.assertTrue(torch.equal(tensor, torch.arange(1 << 19)))
        self.assertEqual(there["other"].tolist(), [0, 0])

    def damage(self, step, at):
        name = self.path("ck/attempt-0001/step-%08d/rank-0000.shard" % step)
        with open(name, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))

    def test_no_mixture_of_two_states_is_trained_on(self):
        torch = support.torch
        for step in (1, 2):
            checkpoint.save(step, state={"x": torch.full((1 << 20,), step), "y": torch.full((1 << 20,), float(step))})
            self.assertTrue(checkpoint.wait(30))
        self.damage(2, 11 << 20)  # in y, after all of x
        self.attempt(2)
        there = {"x": torch.zeros(1 << 20, dtype=torch.int64), "y": torch.zeros(1 << 20)}
        x, y = there["x"], there["y"]
        step, text = self.said(lambda: checkpoint.restore(state=there))
        self.assertEqual((step, "step 2 is left out" in text), (1, True))
        self.assertEqual((bool((x == 1).all()), bool((y == 1).all())), (True, True))
        self.damage(1, 11 << 20)
        self.attempt(3)
        with self.assertRaises(Refused):
            self.said(lambda: checkpoint.restore(state=there))
        self.assertEqual((bool(y.isnan().all()), bool((x == torch.iinfo(x.dtype).max).all())), (True, True))

    def test_a_store_that_has_another_copy_is_asked_once_more(self):
        checkpoint.save(3, state={"x": 1})
        self.assertTrue(checkpoint.wait(30))
        checkpoint.save(7, state={"x": support.torch.ones(1 << 19)})
        self.assertTrue(checkpoint.wait(30))
        for in_store, bad, expected in ((False, 1, 3), (True, 1, 7), (True, 2, 3)):
            self.attempt(2)
            state, bad_reads, read = {"x": 0}, [bad], Shard.read

            def damaged(shard, *arguments):
                read(shard, *arguments)
                if arguments[1] and bad_reads[0]:
                    bad_reads[0] -= 1
                    raise Damaged("block 0 has changed")
            with mock.patch.object(Shard, "read", damaged), \
                    mock.patch.object(checkpoint, "_is_in_store", lambda folder: in_store):
                step, text = self.said(lambda: checkpoint.restore(state=state))
            self.assertEqual((step, "once more" in text), (expected, in_store), (in_store, bad))

    def test_tensors_are_left_alone_where_the_memory_does_not_verify(self):
        torch = support.torch
        state = {"x": torch.ones(1 << 19)}
        with mock.patch.object(Engine, "persist", side_effect=OSError(errno.ENOSPC, "no room")):
            self.said(lambda: (checkpoint.save(7, state=state), checkpoint.wait(30)))
        state["x"].fill_(5)
        checkpoint._last_step = None
        real = Shard.read

        def damaged(shard, places, pointers, lengths, threads):
            real(shard, places, pointers, lengths, threads)
            raise Damaged("block 0 has changed")
        with mock.patch.object(Shard, "read", damaged):
            step, text = self.said(lambda: checkpoint.restore(state=state))
        self.assertEqual(step, 0)
        self.assertIn("block 0 has changed", text)
        self.assertTrue(bool((state["x"] == 5).all()))

    def test_wrappers_leave_no_trace(self):
        torch = support.torch
        checkpoint.save(1, model=torch.nn.DataParallel(torch.nn.Linear(1, 1)))
        self.attempt(2)
        self.assertEqual(checkpoint.restore(model=torch.nn.Linear(1, 1)), 1)

    def test_without_a_folder_nothing_happens(self):
        del os.environ["HOLDFAST_CHECKPOINT_DIR"]
        self.assertEqual((checkpoint.restore(), checkpoint.save(1), checkpoint.wait()), (0, False, True))
        self.assertEqual(os.listdir(self.dir), ["page"])

    def test_due(self):
        self.assertFalse(checkpoint.due(20))
        os.environ["HOLDFAST_CHECKPOINT_INTERVAL"] = "10"
        self.assertEqual([s for s in range(31) if checkpoint.due(s)], [10, 20, 30])

    def test_a_damaged_checkpoint_is_passed_over_and_said(self):
        for step in (10, 20):
            checkpoint.save(step, extra={"step": step})
            checkpoint.wait(30)
        self.attempt(2)
        path = self.path("ck/attempt-0001/step-00000020/rank-0000.shard")
        os.truncate(path, os.path.getsize(path) - 1)
        extra = {}
        step, text = self.said(lambda: checkpoint.restore(extra=extra))
        self.assertEqual((step, extra), (10, {"step": 10}))
        self.assertRegex(text, "^holdfast: checkpoint of attempt 1, step 20 is left out: .*bytes.*\n$")

    def test_no_start_from_scratch_over_damaged_checkpoints(self):
        checkpoint.save(10, extra={})
        self.attempt(2)
        os.truncate(self.path("ck/attempt-0001/step-00000010/rank-0000.shard"), 3)
        with self.assertRaisesRegex(Refused, "move the folder away"):
            self.said(lambda: checkpoint.restore(extra={}))

    def test_a_fenced_attempt_gets_false(self):
        checkpoint.save(10, extra={})
        checkpoint.wait(30)
        old = checkpoint._engine, checkpoint._behind
        self.attempt(2)
        checkpoint.restore(extra={})
        self.attempt(1)
        checkpoint._engine, checkpoint._behind = old
        page.current()
        (taken, durable, again), text = self.said(lambda: (
            checkpoint.save(20, extra={}), checkpoint.wait(30), checkpoint.save(30, extra={})))
        self.assertEqual((taken, durable, again), (True, False, False))
        self.assertIn("fenced: attempt 2 of this job has begun", text)
        self.assertEqual((self.seen()["failures"], self.seen()["errno"]), (2, errno.ESTALE))
        self.assertTrue(self.seen()["text"].startswith("fenced"))
        with self.assertRaises(Fenced):
            checkpoint.restore(extra={})

    def test_a_full_disk_does_not_stop_training(self):
        checkpoint.save(10, extra={})
        checkpoint.wait(30)
        full = OSError(errno.ENOSPC, "cannot make room for x: No space left on device")
        with mock.patch.object(Engine, "persist", side_effect=full):
            saved, text = self.said(lambda: [(checkpoint.save(step, extra={}), checkpoint.wait(30))
                                             for step in (20, 30)])
        self.assertEqual(saved, [(True, False)] * 2)
        self.assertEqual(text.count("\n"), 1, text)  # said once
        self.assertIn("No space left on device", text)
        self.assertIn("free space", text)
        seen = self.seen()
        self.assertEqual((seen["failures"], seen["errno"], seen["committed"]), (2, errno.ENOSPC, 11))
        self.assertGreater(seen["free"], 0)
        self.assertTrue(checkpoint.save(40, extra={}))
        self.assertTrue(checkpoint.wait(30))
        self.assertEqual(self.seen()["committed"], 41)

    def test_while_the_disk_is_behind_saves_stay_in_memory_and_the_last_is_written(self):
        go, real = threading.Event(), Engine.persist

        def slow(*arguments):
            self.assertTrue(go.wait(30))
            return real(*arguments)

        with mock.patch.object(Engine, "persist", slow):
            _, text = self.said(lambda: [checkpoint.save(step, extra={"step": step})
                                         for step in (10, 20, 30, 40)])
            go.set()
            self.assertTrue(checkpoint.wait(30))
        self.assertEqual(text.count("kept in memory only"), 1)
        self.assertEqual(sorted(os.listdir(self.path("ck/attempt-0001"))),
                         ["lineage.json", "step-00000010", "step-00000040"])

    def test_where_memory_outlives_the_rank_not_every_quick_save_goes_to_the_disk(self):
        def steps():
            return sorted(name for name in os.listdir(self.path("ck/attempt-0001")) if name.startswith("step-"))

        with mock.patch("holdfast._behind._PACE_S", 3600):
            for outlives, written in ((False, ["step-00000010", "step-00000020"]),
                                      (True, ["step-00000010", "step-00000020", "step-00000030"])):
                for step in (10, 20) if not outlives else (30, 40, 50):
                    checkpoint.save(step, extra={"step": step})
                    checkpoint._engine.outlives_us = outlives
                    self.assertTrue(checkpoint._behind._idle(time.monotonic() + 30))
                with self.subTest(outlives=outlives):
                    self.assertEqual(steps(), written)
            self.assertTrue(checkpoint.wait(30))
        self.assertEqual(steps(), ["step-00000020", "step-00000030", "step-00000050"])
        extra = {}
        self.attempt(2)
        self.assertEqual(checkpoint.restore(extra=extra), 50)

    def test_what_a_checkpoint_cannot_hold_is_said_when_it_is_saved(self):
        class Mine:
            pass
        for bad in (Mine(), Mine, os.system, lambda: 1, support.torch.ones(2).to_sparse()):
            with self.assertRaisesRegex(TypeError, "a checkpoint"):
                checkpoint.save(10, extra={"x": bad})
        numpy = __import__("numpy")
        good = {"a": numpy.arange(5.0), "b": numpy.float32(3), "c": {1, 2}, "d": b"x" * 5000, "e": None,
                "f": support.torch.float16, "g": support.torch.Size([1, 2]), "h": [1, (2, "x")], "i": 3 + 4j,
                "j": collections.OrderedDict(a=1), "k": support.torch.device("cpu"), "l": float("inf")}
        self.assertTrue(checkpoint.save(10, extra=good))
        self.attempt(2)
        back = {}
        checkpoint.restore(extra=back)
        self.assertEqual(repr(back), repr(good))

    def test_a_skeleton_cannot_run_anything(self):
        class Attack:
            def __reduce__(self):
                return os.system, ("touch " + self.path,)
        Attack.path = self.path("ran")
        with self.assertRaisesRegex(Refused, "(posix|nt).system"):
            _state.put_together(pickle.dumps(Attack()), [])
        self.assertFalse(os.path.exists(Attack.path))

    def test_a_save_does_not_walk_through_the_numbers_of_a_generator(self):
        class Numbers(tuple):
            def __iter__(self):
                raise AssertionError("walked through")
        with mock.patch.object(random, "getstate", lambda: Numbers((1,))):
            state = checkpoint._state({}, {"model": support.torch.nn.Linear(3, 2)})
        names = [name for name, _ in _state._named(state, 3).values()]
        self.assertEqual(names[:3], ["model.weight", "model.bias", "random.torch"])  # a GPU's may follow

    def test_a_tensor_that_stays_as_it_is_is_described_once(self):
        tensor = support.torch.rand(4, 6)
        first, second = (_state.take_apart({"objects": {"x": tensor}})[2] for _ in range(2))
        self.assertEqual(first, [{"name": "x", "dtype": "float32", "shape": [4, 6], "bytes": 96}])
        self.assertIs(first[0], second[0])

    def test_tensors_of_every_kind_come_back(self):
        torch = support.torch
        kinds = {d: (torch.rand(3, 5) * 50).to(getattr(torch, d)) for d in _state._DTYPES}
        tied = torch.rand(4)
        given = dict(kinds, empty=torch.empty(0, 3), scalar=torch.tensor(2.5), turned=torch.rand(4, 6).t(),
                     slice=torch.rand(10)[2:5], tied=tied, again=tied, large=torch.rand(3 << 20))
        checkpoint.save(10, extra=given)
        self.attempt(2)
        back = {}
        checkpoint.restore(extra=back)
        for name, tensor in given.items():
            self.assertEqual(back[name].dtype, tensor.dtype)
            self.assertTrue(torch.equal(back[name], tensor), name)
        self.assertIs(back["tied"], back["again"])

    def test_a_flipped_bit_anywhere_is_found(self):
        for step in (10, 20):
            checkpoint.save(step, extra={"x": support.torch.full((1 << 19,), float(step))})
            checkpoint.wait(30)
        folder = self.path("ck/attempt-0001/step-00000020")
        for name in ("rank-0000.shard", "manifest.json"):
            size = os.path.getsize(os.path.join(folder, name))
            for at in sorted({0, 9, size // 3, size // 2, size * 3 // 4}):
                with open(os.path.join(folder, name), "r+b") as file:
                    file.seek(at)
                    byte = file.read(1)[0]
                    file.seek(at)
                    file.write(bytes([byte ^ 4]))
                    file.flush()
                    self.attempt(2)
                    back = {}
                    try:
                        step, text = self.said(lambda: checkpoint.restore(extra=back))
                    except Refused:  # of a manifest: another format, job or place
                        self.assertEqual(name, "manifest.json")
                    else:
                        self.assertEqual((name, at, step), (name, at, 10))
                        self.assertIn("is left out", text)
                        self.assertTrue(bool((back["x"] == 10).all()))
                    file.seek(at)
                    file.write(bytes([byte]))
        self.attempt(3)
        self.assertEqual(checkpoint.restore(extra={}), 20)

    def test_a_checkpoint_of_another_job_or_release_is_refused(self):
        checkpoint.save(10, extra={})
        checkpoint.wait(30)
        path = "ck/attempt-0001/step-00000010/manifest.json"
        manifest = json.loads(self.read(path))
        for field, value, text in (("version", 3, "reads version 2"), ("version", 1, "reads version 2"),
                                   ("job", "theirs", "job is theirs and this job is job")):
            self.write(path, json.dumps(dict(manifest, **{field: value})))
            self.attempt(2)
            with self.assertRaisesRegex(Refused, text):
                checkpoint.restore(extra={})

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
        checkpoint.wait(30)
        for command, status in (("list", 0), ("verify", 0)):
            stream = io.StringIO()
            with contextlib.redirect_stdout(stream):
                self.assertEqual(checkpoint._main([command, self.path("ck"), "--json"]), status)
            self.assertEqual(json.loads(stream.getvalue())[0]["step"], 10)
        os.truncate(self.path("ck/attempt-0001/step-00000010/rank-0000.shard"), 3)
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(checkpoint._main(["verify", self.path("ck")]), 1)


@support.needs_torch
class RanksTest(support.Folder):
    """Real ranks over gloo, forked from the warm process."""

    PROGRAM = """
import errno, os, torch, torch.distributed as dist
from holdfast import checkpoint, _agree, _engine
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
dist.init_process_group("gloo", init_method="file://" + os.environ["MEET"], rank=rank, world_size=world)
long = [str(other) * (1 + 5000 * other) for other in range(world)]
assert _agree.gather(long[rank]) == long
assert _agree.from_rank_zero(long[-1] if rank == 0 else None) == long[-1]
assert _agree.most(rank) == world - 1
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
mine = {"rank": rank, "fresh": True}
start = checkpoint.restore(per_rank={"mine": mine}, model=model)
print("start", start, mine["rank"], mine["fresh"])
if os.environ.get("FULL") == os.environ["RANK"]:
    def take(*args): raise OSError(errno.ENOSPC, "No space left on device")
    _engine.Engine.take = take
mine["fresh"] = False
print("saved", checkpoint.save(start + 1, per_rank={"mine": mine}, model=model), checkpoint.wait(30))
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
        self.assertEqual(self.job(2, 1), ["start 0 0 True|saved True True|", "start 0 1 True|saved True True|"])
        self.assertEqual(self.job(2, 2, FULL="1"),
                         ["start 1 0 False|saved True False|", "start 1 1 False|saved False False|"])
        self.assertEqual([support.read_page(self.path("page-%d" % r))["errno"] for r in (0, 1)], [28, 28])
        self.assertEqual([n for n in os.listdir(self.path("ck/attempt-0002/step-00000002"))
                          if not n.endswith(".json")], [])
        self.assertEqual(self.job(3, 3), ["start 1 0 False|saved True True|", "start 1 1 False|saved True True|",
                                          "start 1 2 True|saved True True|"])
        self.assertEqual(self.job(1, 4), ["start 2 0 False|saved True True|"])


if __name__ == "__main__":
    unittest.main()
