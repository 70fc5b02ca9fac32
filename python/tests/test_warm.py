"""The warm process, driven as the agent drives it, against plain `python3` runs of the same programs."""
import os
import signal
import subprocess
import sys
import unittest

import support

PROGRAMS = {
    "returns": "print('hello')",
    "exits_3": "import sys; print('x', end=''); sys.exit(3)",
    "exits_text": "raise SystemExit('no good')",
    "raises": "def f():\n    {}['k']\ntry:\n    f()\nexcept KeyError as e:\n    raise ValueError('bad') from e",
    "syntax": "x = = 1",
    "interrupted": "raise KeyboardInterrupt",
    "aborts": "import os; os.abort()",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "atexit": "import atexit\natexit.register(print, 'at exit')\nraise RuntimeError",
    "own_hook": "import sys\nsys.excepthook = lambda *a: print('mine', a[0], a[2].tb_lineno)\n1/0",
    "thread": "import threading\nthreading.Thread(target=lambda: print(threading.active_count())).start()",
    "identity": ("import sys, os, signal\n"
                 "print(__name__, __file__, __spec__ and __spec__.name, __package__, sys.argv, sys.path,\n"
                 "      sys.orig_argv[1:], sorted(globals()), os.getcwd(), sys.stdin.read(),\n"
                 "      sys.stdout, sys.stdout.buffer, sys.stderr, sys.stdin, sys.flags)\n"
                 "print([(s, signal.getsignal(s)) for s in signal.valid_signals()\n"
                 "       if 'default_int' not in str(signal.getsignal(s))], signal.pthread_sigmask(0, []))\n"
                 "print(sorted(os.listdir('/proc/self/fd')), sys.gettrace(), "
                 "sys.modules['__main__'].__dict__ is globals())"),
    "spawn": ("import multiprocessing, pickle\n"
              "class Thing:\n    x = 7\n"
              "def work(thing): print('worker', thing.x, __name__); return thing\n"
              "if __name__ == '__main__':\n"
              "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
              "        print(type(pool.map(work, [pickle.loads(pickle.dumps(Thing()))])[0]) is Thing)"),
    "missing_module": "import nothing_of_this_name",
}


class WarmTest(support.Folder):
    def test_ranks_behave_as_plain_python(self):
        for name, text in PROGRAMS.items():
            self.write(name + ".py", text + "\n")
            for kind in ("script", "module"):
                with self.subTest(program=name, kind=kind):
                    command = (name + ".py",) if kind == "script" else ("-m", name)
                    expected = self.cold(*command, "a", "--b")
                    self.assertEqual(self.warm(name, kind, ["a", "--b"]), expected)

    def test_missing_targets_read_as_plain_python(self):
        self.assertEqual(self.warm("absent"), self.cold("absent.py"))
        self.assertEqual(self.warm("absent", "module"), self.cold("-m", "absent"))

    def test_a_folder_is_a_program_too(self):
        os.mkdir(self.path("app"))
        self.write("app/__main__.py", "import sys; print(__name__, __file__, sys.argv, sys.path[0])\n")
        self.assertEqual(self.warm("app", target="app"), self.cold("app"))

    def test_the_rank_is_the_agents_child_in_its_own_session(self):
        self.write("who.py", "import os\nprint(os.getppid(), os.getpid(), os.getsid(0), os.getpgid(0))\n")
        status, output = self.warm("who")
        parent, pid, session, group = map(int, output.split())
        self.assertEqual((parent, session, group), (os.getpid(), pid, pid))
        self.assertEqual(self.read("cgroup.procs"), str(pid))

    def test_the_rank_dies_with_the_agent(self):
        # An agent of its own, so that it can be killed: it starts a rank, tells its pid, and waits.
        self.write("sleeps.py", "import signal; print('up', flush=True); signal.pause()\n")
        log, end = os.pipe()
        log = os.fdopen(log)
        support.shared_warm()  # makes this process the subreaper above
        agent = self.write("agent.py", (
            "import os, sys, time; sys.path.insert(0, %r); import support\n"
            "support.become_subreaper()\n"
            "warm = support.Warm(dict(os.environ))\n"
            "reply = warm.ask(start='1', kind='script', target='sleeps.py', args=[], env=dict(os.environ),\n"
            "                 cwd=%r, log=%r, parent=os.getpid())\n"
            "print(reply['pid'], flush=True); sys.stdin.read()\n")
            % (os.path.dirname(support.__file__), self.dir, "/proc/%d/fd/%d" % (os.getpid(), end)))
        with subprocess.Popen([sys.executable, agent], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=self.rank_env()) as process:
            pid = int(process.stdout.readline())
            os.close(end)
            self.assertEqual(log.readline(), "up\n")
            process.kill()
        with log:
            self.assertEqual(log.read(), "")  # ends when nobody can write to it any more
        # This process is the next subreaper up, so the dead rank is ours to reap.
        self.assertEqual(support.reap(pid), -signal.SIGKILL)

    def test_a_rank_of_another_parent_does_not_start(self):
        self.write("returns.py", "print('must not run')\n")
        self.assertEqual(self.warm("returns", parent=1), (1, ""))

    def test_environment_and_path_are_the_ranks(self):
        os.mkdir(self.path("lib"))
        self.write("lib/only_there.py", "")
        self.write("env.py", ("import os, sys, ctypes, only_there\n"
                              "get = ctypes.CDLL(None).getenv; get.restype = ctypes.c_char_p\n"
                              "print(get(b'RANK'), get(b'HOLDFAST_WARM_FD'), sorted(os.environ), sys.path)\n"))
        more = {"PYTHONPATH": support.PYTHON_DIR + os.pathsep + self.path("lib"), "RANK": "3"}
        expected = self.cold("env.py", **more)
        self.assertEqual(expected[0], 0, expected)
        self.assertEqual(self.warm("env", env=self.rank_env(**more)), expected)

    def test_what_a_fork_cannot_give_is_refused(self):
        reply = support.shared_warm().ask(**self.request("x", env=self.rank_env(OMP_NUM_THREADS="7")))
        self.assertEqual(reply["failed"], "x")
        self.assertIn("OMP_NUM_THREADS is '7'", reply["error"])
        reply = support.shared_warm().ask(**self.request("x", log="/nonexistent/log"))
        self.assertIn("/nonexistent/log", reply["error"])
        self.assertIn("KeyError", support.shared_warm().ask(start="y")["error"])
        self.write("returns.py", "print(1)\n")
        self.assertEqual(self.warm("returns"), (0, "1\n"))  # and it goes on serving

    def test_a_missing_folder_is_a_line_in_the_log(self):
        status, output = self.warm("returns", cwd="/nonexistent/folder")
        self.assertEqual(status, 1)
        self.assertIn("/nonexistent/folder", output)

    @support.needs_torch
    def test_random_numbers_are_as_in_plain_python(self):
        self.write("dice.py", ("import random, numpy, torch\n"
                               "print(random.random(), numpy.random.rand(), torch.rand(1).item())\n"))
        rolls = [self.warm("dice")[1].split() for _ in range(2)] + [self.cold("dice.py")[1].split()]
        for generator in zip(*rolls):
            self.assertEqual(len(set(generator)), 3, rolls)

    @support.needs_torch
    def test_a_warm_rank_has_the_hooks(self):
        self.assertEqual(support.shared_warm().ready["torch"], str(support.torch.__version__))
        self.write("step.py", ("import torch\np = torch.nn.Parameter(torch.ones(1)); p.grad = torch.ones(1)\n"
                               "o = torch.optim.SGD([p], 0.1)\no.step(); o.step()\nraise ValueError('end')\n"))
        status, output = self.warm("step")
        self.assertEqual(status, 1, output)
        self.assertEqual(support.read_page(self.path("page"))["steps"], 2)
        self.assertEqual((self.error()["type"], self.error()["message"]), ("ValueError", "end"))
        self.assertNotIn("warm.py", self.error()["traceback"])

    def test_end_of_stream_and_interrupts(self):
        warm = support.Warm(support.clean_env())
        warm.process.send_signal(signal.SIGINT)
        self.assertIn("failed", warm.ask(start="x"))
        self.assertEqual(warm.close(), 0)


if __name__ == "__main__":
    unittest.main()
