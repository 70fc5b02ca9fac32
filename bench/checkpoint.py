"""Checkpoints, beside what a program could do instead, on this machine.

    ./dev bench checkpoint [--json] [--mib 256,1024] [--ranks 1,4] [--rounds 5] [--trials 20] [--gpu]

Ranks that train nothing hold a state of --mib MiB together and save it. In each round, one after the
other: a memcpy of the state, a save with the engine and its way to the disk, torch.save with fsync, the
disk alone (same blocks, flags and threads), a restore from the node's memory and one from the folder, into
tensors that are there.
A time is that of the slowest rank; ratios are of medians.

Then, where the full tests have left PyTorch 2 in build/release/venv-torch2, PyTorch's
distributed.checkpoint.async_save, alternating with ours. Then the demo's GPT, which saves after every
step: a node that was drawn is killed, --trials times; how many steps are lost, and how fast it trains
beside the same without saves. --gpu: only what bench/checkpoint_gpu.py says.
Last line with --json: {"stall_over_memcpy": ..., ...}, of several sizes the worst.
"""
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

import lost_steps
import machine
from checkpoint_gpu import Gpu  # noqa: F401: by name

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build/release")
BLOCK = 4 << 20  # persist.cc writes so
TORCH2 = os.path.join(BUILD, "venv-torch2/bin/python")
BARS = {"stall_over_memcpy": ("<=", 1.5), "stall_over_torch_save": ("<=", 0.15),
        "stall_over_dcp_async": ("<=", 0.5), "persist_over_disk": (">=", 0.9),
        "restore_over_disk": (">=", 0.8), "restore_memory_over_memcpy": (">=", 0.5),
        "steps_lost": ("<=", 1), "speed_with_saves": (">=", 0.95)}
GPU_RATIOS = {"stall_over_memcpy": ("save", "memcpy"), "stall_over_torch_save": ("save", "torch_save"),
              "stall_over_dcp_async": ("save", "async_save"), "speed_with_saves": ("steps", "steps_saved")}
RATIOS = {"stall_over_memcpy": ("save", "memcpy"), "stall_over_torch_save": ("save", "torch_save"),
          "stall_over_dcp_async": ("save", "async_save"), "persist_over_disk": ("disk_write", "persist"),
          "restore_over_disk": ("disk_read", "restore_folder"),
          "restore_memory_over_memcpy": ("memcpy", "restore_memory")}


def seconds(action):
    began = time.monotonic()
    action()
    return time.monotonic() - began


class Disk:
    """What the disk does: O_DIRECT in blocks of 4 MiB, from as many threads as the engine has."""

    def __init__(self, path, size, threads):
        self.path, self.size, self.threads = path, size // BLOCK * BLOCK, threads
        self.buffers = [mmap.mmap(-1, BLOCK, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(threads)]
        for buffer in self.buffers:
            buffer.madvise(mmap.MADV_HUGEPAGE)  # small pages cost a direct read more than the disk does
            buffer.write(os.urandom(1 << 20) * (BLOCK >> 20))

    def _each(self, descriptor, action, size=None):
        def work(thread):
            for at in range(thread * BLOCK, size or self.size, self.threads * BLOCK):
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

    def read(self, paths):
        """These files of nearly its size together: what lies under the disk keeps the newest at hand, so it is
        the checkpoint's own bytes that are read, before its restore and after it by turns."""
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
            self._each(descriptor, os.preadv, os.path.getsize(path))
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
    """Of one rank; `world` of them hold the state together."""

    def __init__(self, folder, mib, rank, world):
        import torch
        from holdfast import checkpoint
        self.torch, self.checkpoint, self.rank, self.world = torch, checkpoint, rank, world
        mine = mib // world
        tensors = max(1, mine // 16)
        self.state = {str(i): torch.rand(mine * (1 << 18) // tensors) for i in range(tensors)}
        self.bytes = sum(t.numel() * 4 for t in self.state.values()) * world
        self.folder, self.step = folder, 0
        self.copies = {name: t.clone() for name, t in self.state.items()}
        if rank == 0:
            self.disk = Disk(os.path.join(folder, "disk"), self.bytes, checkpoint._threads() * world)

    def together(self, action):
        """Seconds until all ranks have done it."""
        if self.world == 1:
            return seconds(action)
        self.torch.distributed.barrier()
        took = [None] * self.world
        self.torch.distributed.all_gather_object(took, seconds(action))
        return max(took)

    def alone(self, action):
        return self.together(action if self.rank == 0 else lambda: None)

    def memcpy(self):
        for name, tensor in self.state.items():
            ctypes.memmove(self.copies[name].data_ptr(), tensor.data_ptr(), tensor.numel() * 4)

    def torch_save(self):
        with open(os.path.join(self.folder, "torch-%d.pt" % self.rank), "wb") as file:
            self.torch.save(self.state, file)
            file.flush()
            os.fsync(file.fileno())

    def objects(self, state):
        return {"model": state} if self.world == 1 else {"per_rank": {"model": state}}

    def save(self):
        self.step += 1
        if not self.checkpoint.save(self.step, **self.objects(self.state)):
            raise SystemExit("the save failed")

    def wait(self):
        if not self.checkpoint.wait(300):
            raise SystemExit("the save did not become durable")

    def restore(self, from_memory):
        """As the next process of the job would."""
        ours = self.checkpoint._engine, self.checkpoint._behind
        self.checkpoint._engine = self.checkpoint._last_step = None
        if not from_memory:
            os.environ.pop("HOLDFAST_SNAPSHOT_SERVER")
        back = dict(self.copies)  # a program has its tensors by then
        last = str(len(back) - 1)
        back[last].zero_()
        try:
            took = self.together(lambda: self.checkpoint.restore(**self.objects(back)))
        finally:
            os.environ["HOLDFAST_SNAPSHOT_SERVER"] = os.path.join(self.folder, "snapshots.sock")
            self.checkpoint._engine, self.checkpoint._behind = ours
        if not self.torch.equal(back[last], self.state[last]):
            raise SystemExit("the restored state differs")
        return took

    def one(self):
        times = {"memcpy": self.together(self.memcpy), "save": self.together(self.save),
                 "persist": self.together(self.wait), "torch_save": self.together(self.torch_save),
                 "disk_write": self.alone(lambda: self.disk.write())}
        reads = [("disk_read", lambda: self.alone(lambda: self.disk.read(self.shards()))),
                 ("restore_folder", lambda: self.restore(False))]
        for name, read in reads if self.step % 2 else reads[::-1]:
            times[name] = read()
        times["restore_memory"] = self.restore(True)
        return times

    def shards(self):
        folder = os.path.join(os.environ["HOLDFAST_CHECKPOINT_DIR"], "attempt-0001/step-%08d" % self.step)
        return [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".shard")]


class AsyncSave:
    """PyTorch 2's, of the same state; the time until it lets training go on."""

    def __init__(self, folder, mib, *_):
        import torch
        import torch.distributed.checkpoint as dcp
        from holdfast import checkpoint
        self.checkpoint, self.dcp, self.folder, self.step = checkpoint, dcp, folder, 0
        self.state = {str(i): torch.rand(mib * (1 << 18) // 16) for i in range(16)}
        self.bytes = sum(t.numel() * 4 for t in self.state.values())

    def ours(self):
        self.step += 1
        if not self.checkpoint.save(self.step, model=self.state):
            raise SystemExit("the save failed")

    def theirs(self):
        self.written = self.dcp.async_save(self.state, checkpoint_id=os.path.join(self.folder, "dcp"))

    def one(self):
        took = {"save": seconds(self.ours)}
        self.checkpoint.wait(300)
        took["async_save"] = seconds(self.theirs)
        self.written.result()
        return took


def work(options):
    """One rank."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    folder, mib = os.environ["BENCH_FOLDER"], int(options.mib)
    if world > 1 or options.worker in ("AsyncSave", "Gpu"):
        import torch.distributed
        torch.distributed.init_process_group("gloo")
    rounds = globals()[options.worker](folder, mib, rank, world)
    times = []
    for number in range(options.rounds + 2):
        times.append(rounds.one())
        if rank == 0:
            machine.say("%s, %d MiB, %d ranks: round %d of %d" % (options.worker, mib, world, number + 1,
                                                                options.rounds + 2))
    if rank == 0:
        with open(os.path.join(folder, "times.json"), "w") as file:
            json.dump({"bytes": rounds.bytes, "times": times[2:]}, file)  # the first two make their memory
    # What is written behind is not waited for.
    os._exit(0)


def measure(options, kind, mib, ranks, python=machine.PYTHON):
    """({what: [seconds]}, bytes)"""
    folder = tempfile.mkdtemp(prefix="holdfast-bench-", dir=options.folder)
    server = snapshot_server(folder)
    environment = dict(os.environ, BENCH_FOLDER=folder, HOLDFAST_CHECKPOINT_KEEP="2",
                       HOLDFAST_CHECKPOINT_DIR=os.path.join(folder, "checkpoints"),
                       PYTHONPATH=os.path.join(TOP, "python"), WORLD_SIZE=str(ranks),
                       LOCAL_WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1",
                       MASTER_PORT=str(machine.free_port()))
    try:
        workers = [subprocess.Popen([python, __file__, "--worker", kind, "--mib", str(mib), "--rounds",
                                     str(options.rounds)], env=dict(environment, RANK=str(rank)))
                   for rank in range(ranks)]
        if any([worker.wait() for worker in workers]):
            raise SystemExit("a worker failed")
        with open(os.path.join(folder, "times.json")) as file:
            found = json.load(file)
        return {name: [times[name] for times in found["times"]] for name in found["times"][0]}, \
            found["bytes"]
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def report(times, size, title, of=RATIOS):
    took = {name: statistics.median(values) for name, values in times.items()}
    print("%-16s %8s %8s %8s   %s, median of %d" % ("", "s", "GiB/s", "spread", title,
                                                   len(times["save"])))
    for name, median in took.items():
        print("%-16s %8.3f %8.2f %7.0f%%" % (name, median, size / (1 << 30) / median, 100 * (
            max(times[name]) - min(times[name])) / median))
    ratios = {name: took[over] / took[under] for name, (over, under) in of.items()
              if over in took and under in took}
    tell(ratios)
    return ratios


def tell(ratios):
    for name, ratio in ratios.items():
        side, bar = BARS[name]
        is_met = ratio <= bar if side == "<=" else ratio >= bar
        print("%-28s %6.2f   bar %s %.2f   %s" % (name, ratio, side, bar, "" if is_met else "MISSED"))
    sys.stdout.flush()


def worst(several):
    return {name: (max if BARS[name][0] == "<=" else min)(ratios[name] for ratios in several if name in ratios)
            for name in BARS if any(name in ratios for ratios in several)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", default="256,1024", help="of state, sizes; default: %(default)s")
    parser.add_argument("--ranks", default="1,4", help="how many hold it; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=20, help="nodes killed; 0 leaves that part out")
    parser.add_argument("--gpu", action="store_true", help="of this machine, with PyTorch 2 in this python3")
    parser.add_argument("--folder", help="on the disk to measure (default: a temporary one)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("HOLDFAST_CHECKPOINT_LIBRARY", os.path.join(BUILD, "libholdfast_checkpoint.so"))
    if options.worker:
        return work(options)
    machine.say(machine.describe())
    of = {}
    if options.gpu:
        for mib in [int(text) for text in options.mib.split(",")]:
            title = "%d MiB, GPU" % mib
            of[title] = report(*measure(options, "Gpu", mib, 1, sys.executable), title, GPU_RATIOS)
        return end(options, of)
    for ranks in [int(text) for text in options.ranks.split(",")]:
        for mib in [int(text) for text in options.mib.split(",")]:
            title = "%d MiB, %d rank%s" % (mib, ranks, "s" if ranks > 1 else "")
            of[title] = report(*measure(options, "Rounds", mib, ranks), title)
    if os.path.exists(TORCH2):
        of["PyTorch 2"] = report(*measure(options, "AsyncSave", 1024, 1, TORCH2), "PyTorch 2, 1024 MiB")
    else:
        machine.say("SKIPPED: async_save of PyTorch 2; ./dev test --full makes " + TORCH2)
    if options.trials:
        of["demo"] = lost_steps.measure(options.trials)
        tell(of["demo"])
    end(options, of)


def end(options, of):
    print("Repeat: ./dev bench checkpoint " + " ".join(sys.argv[1:]))
    if options.json:
        print(json.dumps(dict({name: round(ratio, 3) for name, ratio in worst(of.values()).items()}, of=of)))


if __name__ == "__main__":
    main()
