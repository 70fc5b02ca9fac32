"""Jobs that nobody wrote for Holdfast: every way to launch a Python program, and every way to
misbehave in one. See zoo.py for the ways."""
import contextlib
import glob
import json
import os
import shutil
import unittest

from cluster import ENDED, HERE, PYTHON, ZOO, Cluster, ClusterTest, wait_for

DAEMONS = (b"sleep\0003600\0", b"sleep\0003601\0")  # those of zoo.py
SPAWN = """
import os, runpy, sys
import torch.multiprocessing as mp

def work(index):
    os.environ.update(RANK=str(int(os.environ["GROUP_RANK"]) * 2 + index),
                      WORLD_SIZE=str(int(os.environ["GROUP_WORLD_SIZE"]) * 2))
    sys.argv = ["zoo.py"] + os.environ["ZOO"].split()
    runpy.run_path(%r, run_name="__main__")

if __name__ == "__main__":
    mp.spawn(work, nprocs=2)
""" % ZOO
LOADER = """
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, TensorDataset
dist.init_process_group("gloo")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
optimizer = torch.optim.AdamW(model.parameters())
loader = DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=8, num_workers=2)
for epoch in range(3):
    for (batch,) in loader:
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()
print("done", dist.get_rank())
"""


class JobsTest(ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(2, 0).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.cluster.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def run_job(self, name, states=ENDED, deadline_s=90, **spec):
        """To its end, which leaves no process behind."""
        spec.setdefault("nodes", 2)
        spec.setdefault("checkpoint", False)
        spec.setdefault("retry", {"attempts_without_progress_max": 1})
        self.cluster.submit(name, **spec)
        job = self.cluster.wait_job(name, states, deadline_s)
        self.cluster.assert_nothing_left("HOLDFAST_JOB=" + name)
        return job


class Launch(JobsTest):
    def succeeds(self, name, command, steps=12, **spec):
        job = self.run_job(name, command=command, **spec)
        log = self.cluster.log(name)
        self.assertEqual(job["state"], "succeeded", log)
        self.assertEqual(job["step"], steps, "steps are counted")
        return log

    def test_every_way_to_start_python(self):
        run = "%s %s nothing" % (PYTHON, ZOO)
        self.write("pkg/__init__.py", "")
        with open(ZOO) as zoo:
            program = zoo.read()
        self.write("pkg/__main__.py", program)
        shutil.copy(ZOO, os.path.join(self.cluster.folder, "zoo.py"))
        inline = "import sys; sys.path.insert(0, %r); sys.argv = ['z', 'nothing']; import zoo; zoo.main()"
        for name, command in {
            "sh-exec": ["/bin/sh", "-c", "exec " + run],
            "sh": ["/bin/sh", "-c", run + "; echo after"],
            "module": [PYTHON, "-m", "pkg", "nothing"],
            "unbuffered": [PYTHON, "-u", ZOO, "nothing"],
            "options": [PYTHON, "-B", "-W", "ignore", ZOO, "nothing"],
            "inline": [PYTHON, "-c", inline % HERE],
            "env": ["env", "X=1", PYTHON, ZOO, "nothing"],
            "nice": ["nice", PYTHON, ZOO, "nothing"],
            "shebang": [self.write("bare", program, 0o755), "nothing"],
            "relative": [PYTHON, "zoo.py", "nothing"],
        }.items():
            with self.subTest(name):
                self.assertIn("done 0", self.succeeds(name, command))

    def test_launchers_of_their_own(self):
        torchrun = [PYTHON, "-m", "torch.distributed.run", "-r", "1", "-t", "1"]
        there = "--nnodes $GROUP_WORLD_SIZE --node_rank $GROUP_RANK --master_addr $MASTER_ADDR " \
                "--master_port $MASTER_PORT --nproc_per_node 2 %s nothing" % ZOO
        self.succeeds("torchrun", torchrun + ["--nproc_per_node", "2", ZOO, "nothing"], nodes=1)
        self.succeeds("torchrun2", ["/bin/sh", "-c", " ".join(torchrun) + " " + there])
        self.succeeds("spawn", [PYTHON, self.write("spawn.py", SPAWN)], environment={"ZOO": "nothing"})

    def test_a_worker_of_a_launcher_is_named_by_its_own_failure(self):
        fails = {"ZOO": "non_ascii --rank 1"}
        job = self.run_job("spawn-fails", command=[PYTHON, self.write("spawn.py", SPAWN)], nodes=1,
                           environment=fails)
        self.assertIn("ValueError: Größe", job["last_verdict"]["summary"])
        job = self.run_job("torchrun-fails", nodes=1, command=[
            PYTHON, "-m", "torch.distributed.run", "-r", "1", "-t", "1", "--nproc_per_node", "2",
            ZOO, "non_ascii", "--rank", "1"])
        self.assertIn("ValueError: Größe", job["last_verdict"]["summary"])

    def test_data_loader_workers(self):
        self.assertIn("done 0", self.succeeds("loader", [PYTHON, self.write("loader.py", LOADER)], 24))

    def test_no_steps_and_one_rank(self):
        self.succeeds("no-steps", [PYTHON, ZOO, "nothing", "--steps", "0"], steps=0)
        self.succeeds("one-rank", [PYTHON, ZOO, "nothing"], nodes=1)


class Misbehaviour(JobsTest):
    def zoo(self, how, *arguments, **spec):
        name = how.replace("_", "-")
        spec.setdefault("name", name)
        return self.run_job(spec.pop("name"), command=[PYTHON, ZOO, how] + [str(a) for a in arguments],
                            **spec)

    def fails(self, how, cause, said, exit_code=1, rank=1, **spec):
        with self.subTest(how):
            job = self.zoo(how, **spec)
            verdict = job["last_verdict"]
            self.assertEqual((job["state"], job["exit_code"]), ("failed", exit_code), verdict)
            self.assertEqual((verdict["cause"], verdict["action"]), (cause, "stop_job"), verdict)
            self.assertEqual((verdict["ranks"], verdict["nodes"]), ([rank], ["n%d" % (rank + 1)]), verdict)
            self.assertIn(said, verdict["summary"])
            self.assertLess(len(verdict["summary"]), 1000)
            self.assertTrue(verdict["evidence"])
            return job

    def test_what_a_program_dies_of(self):
        self.fails("exit_one", "application", "rank 1 on n2 exited with status 1")
        self.fails("exit_text", "application", "the tokenizer file is missing: vocab.json")
        self.fails("os_exit", "application", "exited with status 41", 41)
        self.fails("segfault", "application", "ended by SIGSEGV", 139)
        self.fails("segfault_at_exit", "application", "ended by SIGSEGV", 139)
        self.fails("abort", "application", "ended by SIGABRT", 134)
        self.fails("non_ascii", "application", "ValueError: Größe ≠ erwartet: 日本語 \\udcff")
        self.fails("huge_traceback", "application", "raised ValueError: xxx")
        self.fails("keyboard_interrupt", "application", "ended by SIGINT", 130)
        self.fails("recursion", "application", "RecursionError")
        self.fails("clear_environment", "application", "after the environment was cleared")
        self.fails("subprocess_dies", "application", "CalledProcessError")
        self.fails("memory_error", "out_of_memory", "rank 1 on n2 ran out of memory")

    def test_one_that_ends_too_early_is_named_and_not_its_victims(self):
        for how in ("exit_zero_early", "exit_zero_late"):
            self.fails(how, "application", "rank 1 on n2 exited with status 0 while others")

    def test_a_shell_around_it_hides_nothing(self):
        c = self.cluster
        c.submit("wrapped", nodes=2, checkpoint=False, command=[
            "/bin/sh", "-c", "%s %s nothing --steps 100; exit $?" % (PYTHON, ZOO)])
        c.wait_step("wrapped", 5)
        c.cli("chaos", "rank-kill", "wrapped", "--rank", "1")
        job = c.wait_job("wrapped", "succeeded")
        verdict = c.incidents_of("wrapped")[0]["verdicts"][0]
        self.assertEqual((job["attempt"]["number"], verdict["cause"], verdict["ranks"]),
                         ("a2", "unknown", [1]))
        self.assertIn("a process that it waited for was ended by SIGKILL", verdict["summary"])

    def test_a_hang_is_found_wherever_it_is(self):
        for how in ("hang", "deadlock", "stop_itself"):
            with self.subTest(how):
                job = self.zoo(how, "--once", name="once-" + how.replace("_", "-"), hang={"stall_s": 3})
                self.assertEqual((job["state"], job["attempt"]["number"]), ("succeeded", "a2"))
                verdict = self.cluster.incidents_of("once-" + how.replace("_", "-"))[0]["verdicts"][0]
                self.assertEqual((verdict["ranks"], verdict["nodes"]), ([1], ["n2"]))
                self.assertIn("T (stopped)" if how == "stop_itself" else "zoo.py", verdict["summary"])

    def test_what_is_no_trouble(self):
        for how in ("raise_in_thread", "not_utf8", "many_lines", "close_stdout", "change_folder",
                    "ignore_sigterm", "daemon", "clean_daemon", "zombies", "fork_workers", "nan", "slow"):
            with self.subTest(how):
                job = self.zoo(how)
                self.assertEqual((job["state"], job["step"], job["incidents"]), ("succeeded", 12, []))
                self.cluster.log(how.replace("_", "-"), 1)
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                self.assertNotIn(file.read(), DAEMONS)

    def test_one_that_ignores_sigterm_is_stopped_all_the_same(self):
        c = self.cluster
        c.submit("stubborn", "ignore_sigterm", "--at", 2, "--rank", -1, "--steps", 100000, script=ZOO,
                 nodes=2, checkpoint=False)
        c.wait_step("stubborn", 4)
        c.cli("job", "stop", "stubborn")
        c.wait_job("stubborn", "stopped", 40)
        c.assert_nothing_left("HOLDFAST_JOB=stubborn")

    def test_a_deleted_checkpoint_folder_costs_only_what_was_in_it(self):
        c = self.cluster
        c.submit("deleted", "remove_checkpoints", "--rank", 0, "--steps", 60, "--once", script=ZOO, nodes=2)
        c.wait_step("deleted", 20)
        c.cli("chaos", "rank-kill", "deleted", "--rank", "1")
        job = c.wait_job("deleted", "succeeded")
        incident = c.incidents_of("deleted")[0]
        self.assertGreaterEqual(incident["restored_step"], 18, incident)
        self.assertEqual(job["attempt"]["number"], "a2")

    def test_logs_of_any_bytes_are_kept_and_readable(self):
        c = self.cluster
        self.zoo("not_utf8", name="bytes")
        job = json.loads(c.cli("job", "describe", "bytes", "--json"))
        self.assertEqual(job["state"], "succeeded")
        self.assertIn("done 1", wait_for(lambda: c.log("bytes", 1), "the log"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
