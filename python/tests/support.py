"""What the tests share: the package on the path, a page's reader, and an agent in small."""
import atexit
import ctypes
import functools
import glob
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

PYTHON_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if PYTHON_DIR not in sys.path:
    sys.path.insert(0, PYTHON_DIR)

# What ctest names; else the newest that was built here.
LIBRARY = os.environ.setdefault("HOLDFAST_CHECKPOINT_LIBRARY", max(
    glob.glob(os.path.join(os.path.dirname(PYTHON_DIR), "build/*/libholdfast_checkpoint.so")),
    key=os.path.getmtime, default="not built"))

try:
    import torch
except ImportError:
    torch = None

needs_torch = unittest.skipIf(torch is None, "torch is not installed")


def clean_env(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
    env.update(PYTHONPATH=PYTHON_DIR, HOLDFAST_CHECKPOINT_LIBRARY=LIBRARY, PYTHONUNBUFFERED="1", OMP_NUM_THREADS="1")
    env.update(more)
    return env


def become_subreaper():
    """As the agent does: orphans below this process become its children."""
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER


class Folder(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="holdfast-test-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def read(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def new_page(self, name="page"):
        with open(self.path(name), "wb") as file:
            file.write(bytes(4096))
        return self.path(name)

    def rank_env(self, **more):
        more.setdefault("HOLDFAST_PROGRESS_PAGE", self.new_page())
        return clean_env(**dict(dict(RANK="0", HOLDFAST_ERROR_FILE=self.path("error.json")), **more))

    def cold(self, *command, **more):
        """Run `python3 command` as a cold rank; returns (status, output)."""
        done = subprocess.run([sys.executable, *command], cwd=self.dir, env=self.rank_env(**more),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, timeout=120)
        return done.returncode, done.stdout

    def request(self, name, kind="script", args=(), **more):
        request = dict(start=name, kind=kind, target=name if kind == "module" else name + ".py",
                       args=list(args), env=self.rank_env(), cwd=self.dir, log=self.path("log"),
                       parent=os.getpid(), cgroup_procs=[self.path("cgroup.procs"), "/nonexistent/x"])
        request.update(more)
        return request

    def start(self, name, *args, **more):
        """Start a warm rank; returns its pid."""
        reply = shared_warm().ask(**self.request(name, *args, **more))
        self.assertEqual(reply.get("started"), name, reply)
        return reply["pid"]

    def warm(self, name, *args, **more):
        """Run a warm rank; (status, output) as cold() gives them."""
        if os.path.exists(self.path("log")):
            os.unlink(self.path("log"))
        return reap(self.start(name, *args, **more)), self.read("log")

    def error(self):
        return json.loads(self.read("error.json"))


def reap(pid):
    """A rank's exit status. Fails unless the rank is our own child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def read_page(path):
    """The page as the C++ reader sees it: by offsets, not by the writer's constants."""
    with open(path, "rb") as file:
        raw = file.read()
    def u64(at):
        return struct.unpack_from("<Q", raw, at)[0]
    length = struct.unpack_from("<I", raw, 504)[0]
    return {"magic": raw[:8], "step": u64(8), "steps": u64(16), "last_ns": u64(24),
            "loss": struct.unpack_from("<d", raw, 32)[0], "tokens": u64(40), "restored": u64(48),
            "restored_ns": u64(56), "committed": u64(64), "committed_ns": u64(72),
            "failures": u64(80), "errno": u64(88), "median_ns": u64(96), "first_ns": u64(104),
            "pid": u64(112), "stall_ns": u64(120), "flags": u64(128), "free": u64(136),
            "text": raw[508:508 + length].decode("utf-8")}


class Warm:
    """The agent's side of a warm process."""

    def __init__(self, env):
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(120)
        env = dict(env, HOLDFAST_WARM_FD=str(theirs.fileno()))
        self.process = subprocess.Popen([sys.executable, "-m", "holdfast.warm"], env=env, cwd="/",
                                        pass_fds=[theirs.fileno()])
        theirs.close()
        self.lines = self.socket.makefile("r")
        self.ready = self.receive()

    def receive(self):
        return json.loads(self.lines.readline())

    def ask(self, **request):
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        return self.receive()

    def close(self):
        self.lines.close()
        self.socket.close()
        return self.process.wait(60)


@functools.lru_cache(None)
def shared_warm():
    """One warm process for all tests: torch is imported once."""
    become_subreaper()
    warm = Warm(clean_env())
    atexit.register(warm.close)
    return warm
