"""The hooks as a cold rank gets them (through sitecustomize), and the page that they write."""
import datetime
import math
import os
import signal
import socket
import subprocess
import sys
import types
import unittest
from unittest import mock

import support
from holdfast import _hooks, page

MODEL = ("import torch, holdfast\n"
         "def parameter():\n"
         "    p = torch.nn.Parameter(torch.ones(1)); p.grad = torch.ones(1); return p\n")


class PageTest(support.Folder):
    def page(self):
        return page.ProgressPage(self.new_page())

    def seen(self):
        return support.read_page(self.path("page"))

    def test_what_the_agent_reads(self):
        mine = self.page()
        mine.user_step(1200, None, None)
        seen = self.seen()
        self.assertEqual((seen["magic"], seen["pid"]), (b"HFPROG01", os.getpid()))
        self.assertTrue(math.isnan(seen["loss"]))
        mine.user_step(1201, 2.5, 100)
        mine.user_step(1202, 2.25, 50)
        mine.restored(1199)
        mine.committed(1202)
        mine.stalled(77)
        mine.stalled(3)
        mine.checkpoint_failed(28, "no space: " + "ä" * 600, 4096)
        mine.ended()
        seen = self.seen()
        self.assertEqual((seen["step"], seen["steps"], seen["loss"], seen["tokens"]), (1202, 3, 2.25, 150))
        self.assertEqual((seen["restored"], seen["committed"], seen["stall_ns"]), (1200, 1203, 80))
        self.assertEqual((seen["failures"], seen["errno"], seen["free"], seen["flags"]), (1, 28, 4096, 3))
        self.assertTrue(seen["text"].startswith("no space: ää"))
        self.assertLessEqual(len(seen["text"].encode()), 1024 - 508)
        self.assertTrue(0 < seen["first_ns"] < seen["last_ns"])
        self.assertTrue(0 < seen["median_ns"] < 10 ** 10)

    def test_only_one_live_process_writes(self):
        self.page()
        script = ("import sys; sys.path.insert(0, %r)\nfrom holdfast import page\n"
                  "try: page.ProgressPage(%r); print('claimed')\n"
                  "except BlockingIOError: print('refused')\n" % (support.PYTHON_DIR, self.path("page")))
        run = [sys.executable, "-c", script]
        self.assertEqual(subprocess.check_output(run), b"refused\n")
        self.new_page()
        self.assertEqual(subprocess.check_output(run), b"claimed\n")
        self.assertEqual(subprocess.check_output(run), b"claimed\n")  # the first is dead

    def test_optimizer_steps_and_user_steps_are_one_count(self):
        mine = self.page()
        optimizer = type("O", (), {"state": {}})()
        for step in (41, 42, 43):  # in either order within the loop's body
            mine.user_step(step, None, None)
            mine.optimizer_step(optimizer)
        self.assertEqual((self.seen()["step"], self.seen()["steps"]), (43, 3))

    def test_where_the_count_begins(self):
        optimizer = type("O", (), {"state": {"p": {"step": 31}}})()
        mine = self.page()
        mine.optimizer_step(optimizer)
        mine.optimizer_step(optimizer)
        self.assertEqual((self.seen()["step"], self.seen()["steps"]), (32, 2))
        mine = self.page()
        mine.restored(20)
        mine.optimizer_step(optimizer)
        self.assertEqual(self.seen()["step"], 21)


class StepCounterTest(unittest.TestCase):
    class Optimizer:
        pass

    def test_the_first_of_two_counts(self):
        steps = []
        count = _hooks.StepCounter(steps.append)
        one, two = self.Optimizer(), self.Optimizer()
        for _ in range(10):
            for optimizer in (one, two, two, two):
                count(optimizer)
        self.assertEqual(steps, [one] * 10)

    def test_another_takes_over(self):
        steps = []
        count = _hooks.StepCounter(lambda optimizer: steps.append(1))
        one, two, three = (self.Optimizer() for _ in range(3))
        count(one)
        del one
        count(two)
        self.assertEqual(len(steps), 2)
        for _ in range(70):
            count(three)
        self.assertEqual(len(steps), 2 + 70 - 64)


class HookTest(support.Folder):
    def run_cold(self, text, **more):
        self.write("program.py", text)
        return self.cold("program.py", **more)

    def steps(self, text, run=None):
        self.write("program.py", MODEL + text)
        self.assertEqual((run or self.warm)("program"), (0, ""))
        return support.read_page(self.path("page"))

    @support.needs_torch
    def test_optimizer_steps_are_counted(self):
        seen = self.steps("o = torch.optim.Adam([parameter()])\nfor _ in range(5): o.step()\n",
                          lambda name: self.cold(name + ".py"))
        self.assertEqual((seen["steps"], seen["step"], seen["flags"]), (5, 5, 2))

    @support.needs_torch
    def test_a_subclass_and_a_wrapper_make_one_step(self):
        seen = self.steps(
            "class Mine(torch.optim.SGD):\n"
            "    def step(self, closure=None): return super().step(closure)\n"
            "class Around(torch.optim.Optimizer):\n"
            "    def __init__(self, inner): super().__init__(inner.param_groups, {}); self.inner = inner\n"
            "    def step(self): self.inner.step(); self.inner.step()\n"
            "torch.optim.SGD([parameter()], 0.1)\n"  # hooks SGD.step itself, so super().step() is hooked
            "o = Around(Mine([parameter()], 0.1))\nfor _ in range(3): o.step()\n")
        self.assertEqual(seen["steps"], 3)

    @support.needs_torch
    def test_a_step_that_raised_does_not_stop_the_count(self):
        seen = self.steps(
            "class Mine(torch.optim.SGD):\n"
            "    def step(self, fail): super().step(); fail and 1/0\n"
            "torch.optim.SGD([parameter()], 0.1)\no = Mine([parameter()], 0.1)\n"
            "for i in range(3):\n"
            "    try: o.step(i == 0)\n"
            "    except ZeroDivisionError: pass\n")
        self.assertEqual(seen["steps"], 2)

    @support.needs_torch
    def test_grad_scaler_and_scheduler(self):
        seen = self.steps("o = torch.optim.SGD([parameter()], 0.1)\n"
                          "s = torch.optim.lr_scheduler.LambdaLR(o, lambda e: 1.0)\n"
                          "g = getattr(torch.amp, \"GradScaler\", torch.cuda.amp.GradScaler)(enabled=False)\n"
                          "for _ in range(4): g.step(o); g.update(); s.step()\n")
        self.assertEqual(seen["steps"], 4)

    @support.needs_torch
    def test_a_child_process_does_not_write_the_page(self):
        seen = self.steps("import os\n"
                          "o = torch.optim.SGD([parameter()], 0.1)\no.step()\n"
                          "if os.fork() == 0: o.step(); holdfast.progress(99); os._exit(0)\n"
                          "os.wait()\n")
        self.assertEqual((seen["steps"], seen["step"]), (1, 1))

    def test_an_uncaught_exception_is_recorded(self):
        status, output = self.run_cold("def f(): raise ValueError('bäd')\nf()\n", RANK="3")
        record = self.error()
        self.assertEqual((status, record["type"], record["message"], record["rank"]),
                         (1, "ValueError", "bäd", 3))
        self.assertEqual(record["traceback"], output)
        self.assertEqual(set(record), {"type", "message", "traceback", "rank", "pid", "restart",
                                       "time_unix_s"})
        self.assertEqual(sorted(os.listdir(self.dir)), ["error.json", "page", "program.py"])

    def test_a_replaced_excepthook_hides_nothing(self):
        self.run_cold("import sys\nsys.excepthook = lambda *a: None\n1/0\n")
        self.assertEqual(self.error()["type"], "ZeroDivisionError")

    def test_what_is_not_fatal_is_not_recorded(self):
        self.run_cold("import threading, sys\n"
                      "t = threading.Thread(target=lambda: 1/0); t.start(); t.join()\nsys.exit(3)\n")
        self.assertFalse(os.path.exists(self.path("error.json")))

    def test_a_helpers_exception_is_not_the_ranks(self):
        self.run_cold("import holdfast, subprocess, sys\nholdfast.progress(1)\n"
                      "subprocess.call([sys.executable, '-c', '1/0'])\n")
        self.assertFalse(os.path.exists(self.path("error.json")))
        self.assertTrue(os.path.exists(self.path("error.json.other")))

    def test_a_nested_launcher_keeps_the_cause(self):
        self.run_cold("import subprocess, sys\n"
                      "subprocess.call([sys.executable, '-c', '1/0'])\nraise OSError('child failed')\n")
        self.assertEqual((self.error()["type"], self.error()["earlier"]["type"]),
                         ("OSError", "ZeroDivisionError"))

    def test_a_launcher_that_ends_for_a_worker_tells_the_workers_failure(self):
        # The worker that fails is not the one that holds the page.
        self.run_cold(
            "import holdfast, subprocess, sys\n"
            "class ChildFailedError(Exception): pass\n"
            "holds = 'import holdfast, sys; holdfast.progress(1); print(1, flush=True); sys.stdin.read()'\n"
            "holder = subprocess.Popen([sys.executable, '-c', holds], stdin=-1, stdout=-1)\n"
            "holder.stdout.readline()\n"
            "subprocess.call([sys.executable, '-c', '1/0'])\n"
            "holder.communicate()\n"
            "raise ChildFailedError('worker 1')\n")
        record = self.error()
        self.assertEqual(record["type"], "ZeroDivisionError")
        self.assertIn("ChildFailedError: worker 1", record["traceback"])

    def test_of_a_launchers_workers_the_first_that_failed_is_told(self):
        fails = "'import os\\n%sraise %s'"
        claims = "import holdfast; holdfast.progress(1)\\n"  # it holds the page, and fails in consequence
        for first, then in ((fails % ("", "KeyError"), fails % ("", "OSError")),
                            (fails % ("", "KeyError"), fails % (claims, "OSError")),
                            ("'1/0'", fails % ("", "OSError"))):
            for path in ("error.json", "error.json.other", "page"):
                if os.path.exists(self.path(path)):
                    os.unlink(self.path(path))
            self.run_cold(
                "import os, subprocess, sys\n"
                "class ChildFailedError(Exception): pass\n"
                "def worker(code, restart):\n"
                "    subprocess.call([sys.executable, '-c', code],\n"
                "                    env=dict(os.environ, TORCHELASTIC_RESTART_COUNT=restart))\n"
                "worker('raise IndexError', '0')\n"
                "worker(%s, '1')\nworker(%s, '1')\nworker('raise OSError', '1')\n"
                "raise ChildFailedError('worker 1')\n" % (first, then))
            self.assertEqual(self.error()["type"], "ZeroDivisionError" if "1/0" in first else "KeyError")

    def test_texts_that_no_file_could_hold(self):
        self.run_cold("class Bad(Exception):\n    def __str__(self): raise OSError\nraise Bad\n")
        self.assertEqual((self.error()["type"], self.error()["message"]), ("Bad", "(its text cannot be had)"))
        self.run_cold("raise ValueError('\\udcff 日本')\n")
        self.assertEqual(self.error()["message"], "\\udcff 日本")
        self.run_cold("raise ValueError('first' + 'x' * 5000000 + 'last')\n")
        record = self.error()
        self.assertLess(len(record["message"]) + len(record["traceback"]), 21000)
        self.assertTrue(record["message"].startswith("first") and record["message"].endswith("last"))

    @support.needs_torch
    def test_a_program_that_clears_its_environment_is_still_watched(self):
        seen = self.steps("import os\nos.environ.clear()\n"
                          "o = torch.optim.SGD([parameter()], 0.1)\no.step()\n")
        self.assertEqual(seen["steps"], 1)
        self.run_cold("import os\nos.environ.clear()\n1/0\n")
        self.assertEqual(self.error()["type"], "ZeroDivisionError")

    def test_a_rank_asks_for_the_store_when_rank_zero_listens(self):
        seen = []

        class Store:
            def __init__(self, *args, **kwargs):
                seen.append("store")

        def connect(address, timeout):
            seen.append("refused" if len(seen) < 2 else "there")
            if seen[-1] == "refused":
                raise ConnectionRefusedError
            return socket.socket()

        module = types.SimpleNamespace(TCPStore=Store)
        _hooks._hook_rendezvous(module)
        with mock.patch("socket.create_connection", connect):
            module.TCPStore("localhost", 1, 2, True)
            self.assertEqual(seen, ["store"])
            del seen[:]
            module.TCPStore("localhost", 1, 2, is_master=False)
            self.assertEqual(seen, ["refused", "refused", "there", "store"])
            del seen[:]
            module.TCPStore("localhost", 1, 2, timeout=datetime.timedelta(0))
            self.assertEqual(seen, ["store"])  # whose own error is the one to be seen

    @support.needs_torch
    def test_torch_itself_goes_through_it(self):
        text = ("import os, sys, torch.distributed as d\n"
                "os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT='0', RANK='0', WORLD_SIZE='1')\n"
                "d.init_process_group('gloo')\n"
                "print(sys.modules['torch.distributed.rendezvous'].TCPStore.__module__)\n")
        self.assertEqual(self.run_cold(text), (0, "holdfast._hooks\n"))

    def test_stacks_of_all_threads_on_a_signal(self):
        status, output = self.run_cold(
            "import os, threading\nstop = threading.Event()\n"
            "def waits_here(): stop.wait()\n"
            "threading.Thread(target=waits_here).start()\n"
            "os.kill(os.getpid(), %d)\nstop.set()\n" % signal.SIGUSR2,
            HOLDFAST_STACKS_FILE=self.path("stacks"), HOLDFAST_STACKS_SIGNAL=str(int(signal.SIGUSR2)))
        self.assertEqual((status, output), (0, ""))
        self.assertIn("waits_here", self.read("stacks"))
        self.assertIn("<module>", self.read("stacks"))

    def test_sitecustomize_steps_aside(self):
        os.mkdir(self.path("site"))
        self.write("site/sitecustomize.py", "import sys\nsys.marker = __file__\n")
        text = "import sys; print(sys.marker, '_hooks' in str(list(sys.modules)), 'torch' in sys.modules)\n"
        path = support.PYTHON_DIR + os.pathsep + self.path("site")
        marker = self.path("site", "sitecustomize.py")
        self.assertEqual(self.run_cold(text, PYTHONPATH=path), (0, marker + " True False\n"))
        self.assertEqual(self.run_cold(text, PYTHONPATH=path, HOLDFAST_PROGRESS_PAGE=""),
                         (0, marker + " False False\n"))

    def test_nothing_breaks_without_the_files(self):
        status, output = self.run_cold("import holdfast; holdfast.progress(1); print('ran')\n",
                                       HOLDFAST_PROGRESS_PAGE="/nonexistent/page",
                                       HOLDFAST_STACKS_FILE="/nonexistent/f", HOLDFAST_STACKS_SIGNAL="12")
        self.assertEqual(status, 0)
        self.assertTrue(output.endswith("ran\n"), output)


if __name__ == "__main__":
    unittest.main()
