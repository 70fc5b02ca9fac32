"""What the benches share: the machine's description, the processes on it, medians."""
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time

PYTHON = "/usr/bin/python3"  # Debian's own: the first on PATH may be one without torch

IMPORT_AND_FORK = """
import os, time
began = time.monotonic()
import torch
imported = time.monotonic()
forks = []
for _ in range(20):
    at = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    forks.append(time.monotonic() - at)
print(imported - began, sorted(forks)[10])
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def percentile(values, percent):
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def describe():
    model = "unknown CPU"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return "%d cores, %s, Linux %s, load %.1f before" % (
        os.cpu_count(), model, platform.release(), os.getloadavg()[0])


def torch_ceilings():
    """Seconds of `import torch`, and of a fork with its wait in a process that has it; medians."""
    runs = [subprocess.run([PYTHON, "-c", IMPORT_AND_FORK], stdout=subprocess.PIPE, check=True,
                           universal_newlines=True).stdout.split() for _ in range(3)]
    return [statistics.median(float(run[i]) for run in runs) for i in (0, 1)]


def wait_for(condition, what, deadline_s):
    """Until condition() is true; returns what it gave."""
    end = time.monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise RuntimeError("not within %s s: %s" % (deadline_s, what))
        # tidy: allow sleep, because a benchmark samples over time
        time.sleep(0.02)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_listening(port):
    for table in ("tcp", "tcp6"):
        for line in _proc("net", table).splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == b"0A" and int(address.rpartition(b":")[2], 16) == port:
                return True
    return False


def _proc(pid, name):
    try:
        with open("/proc/%s/%s" % (pid, name), "rb") as file:
            return file.read()
    except OSError:
        return b""


def _pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def tree(root):
    """A process and all that descends from it."""
    children = {}
    for pid in _pids():
        stat = _proc(pid, "stat")
        if stat:
            children.setdefault(int(stat.rpartition(b")")[2].split()[1]), []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def kill_tree(root):
    """SIGKILL to a process and all that descends from it, as when their machine loses power. Returns
    the moment."""
    found = tree(root)
    at = time.monotonic()
    for pid in found:
        kill(pid)
    return at


def kill_all_of(folder):
    """SIGKILL to every process that was started with `folder` in its arguments or environment."""
    for pid in _pids():
        if pid != os.getpid() and folder.encode() in _proc(pid, "cmdline") + _proc(pid, "environ"):
            kill(pid)
