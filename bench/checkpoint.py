"""Checkpoints, beside what a program could do instead, on this machine: `./dev bench checkpoint [--json]`.

One process trains nothing: it holds a state of --mib MiB and saves it. In each round, one after the
other: a memcpy of the state, a save with the engine and its way to the disk, torch.save with fsync, the
disk alone (same blocks, flags and threads), a restore from the node's memory and one from the folder.
Ratios are of medians. Last line with --json: {"stall_over_memcpy": ..., ...}."""
import argparse
import ctypes
import json
import mmap
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import machine

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build/release")
BLOCK = 4 << 20  # persist.cc writes and shard_reader.cc reads so
BARS = {"stall_over_memcpy": ("<=", 1.5), "stall_over_torch_save": ("<=", 0.15),
        "persist_over_disk": (">=", 0.9), "restore_over_disk": (">=", 0.8),
        "restore_memory_over_memcpy": (">=", 0.5)}


def seconds(action):
    began = time.monotonic()
    action()
    return time.monotonic() - began


class Disk:
    """What the disk does: O_DIRECT in blocks of 4 MiB, from as many threads as the engine has."""

    def __init__(self, path, size, threads):
        self.path, self.size, self.threads = path, size // BLOCK * BLOCK, threads
        self.buffers = [mmap.mmap(-1, BLOCK) for _ in range(threads)]
        for buffer in self.buffers:
            buffer.write(os.urandom(1 << 20) * (BLOCK >> 20))

    def _each(self, descriptor, action):
        def work(thread):
            for at in range(thread * BLOCK, self.size, self.threads * BLOCK):
                action(descriptor, [self.buffers[thread]], at)
        others = [threading.Thread(target=work, args=(i,)) for i in range(self.threads)]
        for other in others:
            other.start()
        for other in others:
            other.join()

    def write(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        os.posix_fallocate(descriptor, 0, self.size)
        self._each(descriptor, os.pwritev)
        os.fdatasync(descriptor)
        os.close(descriptor)

    def read(self):
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECT)
        self._each(descriptor, os.preadv)
        os.close(descriptor)


def snapshot_server(folder):
    """The node's, as its agent starts it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.environ["HOLDFAST_SNAPSHOT_SERVER"] = os.path.join(folder, "snapshots.sock")
    os.environ["HOLDFAST_JOB_ID"] = "j1"
    listener.bind(os.environ["HOLDFAST_SNAPSHOT_SERVER"])
    listener.listen()
    return subprocess.Popen([os.path.join(BUILD, "holdfast"), "checkpoint", "serve", "--fd",
                             str(listener.fileno())], pass_fds=[listener.fileno()])


class Rounds:
    def __init__(self, folder, mib):
        import torch
        from holdfast import checkpoint
        self.torch, self.checkpoint = torch, checkpoint
        tensors = max(1, mib // 16)
        self.state = {str(i): torch.rand(mib * (1 << 18) // tensors) for i in range(tensors)}
        self.bytes = sum(t.numel() * 4 for t in self.state.values())
        self.folder, self.step = folder, 0
        self.copies = {name: t.clone() for name, t in self.state.items()}
        self.disk = Disk(os.path.join(folder, "disk"), self.bytes, checkpoint._threads())
        self.times = {}

    def note(self, name, value):
        self.times.setdefault(name, []).append(value)

    def memcpy(self):
        for name, tensor in self.state.items():
            ctypes.memmove(self.copies[name].data_ptr(), tensor.data_ptr(), tensor.numel() * 4)

    def torch_save(self):
        with open(os.path.join(self.folder, "torch.pt"), "wb") as file:
            self.torch.save(self.state, file)
            file.flush()
            os.fsync(file.fileno())

    def save(self):
        self.step += 1
        if not self.checkpoint.save(self.step, model=self.state):
            raise SystemExit("the save failed")

    def wait(self):
        if not self.checkpoint.wait(120):
            raise SystemExit("the save did not become durable")

    def restore(self, from_memory):
        """As the next process of the job would."""
        ours = self.checkpoint._engine, self.checkpoint._behind
        self.checkpoint._engine = self.checkpoint._last_step = None
        if not from_memory:
            os.environ.pop("HOLDFAST_SNAPSHOT_SERVER")
        try:
            back = {}
            took = seconds(lambda: self.checkpoint.restore(model=back))
        finally:
            os.environ["HOLDFAST_SNAPSHOT_SERVER"] = os.path.join(self.folder, "snapshots.sock")
            self.checkpoint._engine, self.checkpoint._behind = ours
        last = str(len(back) - 1)
        if not self.torch.equal(back[last], self.state[last]):
            raise SystemExit("the restored state differs")
        return took

    def one(self, counts):
        results = {"memcpy": seconds(self.memcpy), "save": seconds(self.save),
                   "persist": seconds(self.wait), "torch_save": seconds(self.torch_save),
                   "disk_write": seconds(self.disk.write), "disk_read": seconds(self.disk.read),
                   "restore_folder": self.restore(False), "restore_memory": self.restore(True)}
        for name, took in results.items() if counts else ():
            self.note(name, took)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="on the disk to measure (default: a temporary one)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, os.path.join(TOP, "python"))
    os.environ.setdefault("HOLDFAST_CHECKPOINT_LIBRARY", os.path.join(BUILD, "libholdfast_checkpoint.so"))
    folder = tempfile.mkdtemp(prefix="holdfast-bench-", dir=options.folder)
    os.environ["HOLDFAST_CHECKPOINT_DIR"] = os.path.join(folder, "checkpoints")
    os.environ["HOLDFAST_CHECKPOINT_KEEP"] = "2"
    machine.say(machine.describe())
    server = snapshot_server(folder)
    try:
        rounds = Rounds(folder, options.mib)
        for number in range(options.rounds + 2):
            rounds.one(number >= 2)  # the first two make their memory
            machine.say("round %d of %d" % (number + 1, options.rounds + 2))
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
    report(rounds, options)


def report(rounds, options):
    took = {name: statistics.median(times) for name, times in rounds.times.items()}
    gib = rounds.bytes / (1 << 30)
    print("%-16s %8s %8s %8s   of %d MiB, median of %d" % ("", "s", "GiB/s", "spread", rounds.bytes >> 20,
                                                          options.rounds))
    for name, median in took.items():
        print("%-16s %8.3f %8.2f %7.0f%%" % (name, median, gib / median, 100 * (
            max(rounds.times[name]) - min(rounds.times[name])) / median))
    ratios = {"stall_over_memcpy": took["save"] / took["memcpy"],
              "stall_over_torch_save": took["save"] / took["torch_save"],
              "persist_over_disk": took["disk_write"] / took["persist"],
              "restore_over_disk": took["disk_read"] / took["restore_folder"],
              "restore_memory_over_memcpy": took["memcpy"] / took["restore_memory"]}
    for name, ratio in ratios.items():
        print("%-28s %6.2f   bar %s %.2f" % ((name, ratio) + BARS[name]))
    if options.json:
        print(json.dumps(dict({name: round(ratio, 3) for name, ratio in ratios.items()},
                              seconds={name: round(value, 4) for name, value in took.items()},
                              bytes=rounds.bytes)))


if __name__ == "__main__":
    main()
