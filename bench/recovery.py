"""Recovery, side by side: the same training script and the same faults under Holdfast and under
torchrun, alternating, four ranks, gloo on loopback. Then what being watched costs.

    ./dev bench recovery [--json] [--trials N]

Rank crash: one launcher (one node) with four ranks; SIGKILL to rank 2's process.
Node loss: two launchers (two nodes) with two ranks each; SIGKILL to one of them and all that descends
from it at once. Holdfast has a spare, warm before the fault; for torchrun a new launcher is started
in the moment of the fault.
Measured: from the signal to the next training step by a process that started after it.

torchrun gets the best settings that were found for it: --monitor_interval 0.1 (default 5 s); nnodes
2:2, so that a rendezvous ends when both are there instead of after the last-call wait; the launcher
that holds the rendezvous store survives; no limit of restarts that matters. Its 15 s until a dead
launcher leaves the rendezvous (keep-alive 5 s x 3) have no setting in this version.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import machine

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN = os.path.join(HERE, "train_ddp.py")
RANKS, VICTIM = 4, 2  # rank 2 is the first of the second node
STEPS_BEFORE = 25     # of which two checkpoints
SETTLED_S = 4         # after that many steps: the spare has imported torch by then
STEPS_WATCHED, STEPS_SKIPPED = 300, 30
PHASES = ("noticed", "drained", "decided", "started", "restored", "first_step")
SILENCE_MAX_S = 2.5   # kSilenceMax of src/core/cluster/controller.h
MONITOR_INTERVAL_S = 0.1


class Trial:
    """A folder of its own, and at the end nothing left of what ran in it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="holdfast-bench-")
        self.environment = {"PATH": os.environ["PATH"], "HOME": self.folder, "OMP_NUM_THREADS": "1",
                            "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"}
        self.children = []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.show_logs()
        self.end()
        machine.kill_all_of(self.folder)
        for child in self.children:
            child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end(self):
        pass

    def show_logs(self):
        for folder, _, files in os.walk(self.folder):
            for name in sorted(files):
                if name.endswith(".log") and name != "steps.log":
                    path = os.path.join(folder, name)
                    with open(path, errors="replace") as file:
                        machine.say("---- %s\n%s" % (path, file.read()[-2000:]))

    def spawn(self, name, command, **environment):
        with open(os.path.join(self.folder, name + ".log"), "ab") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     cwd=self.folder, start_new_session=True,
                                     env=dict(self.environment, **environment))
        self.children.append(child)
        return child

    def steps(self):
        """(step, time, start of its process) of every whole line."""
        try:
            with open(os.path.join(self.folder, "steps.log")) as file:
                lines = file.read().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [(int(step), float(at), float(started)) for step, at, started in
                (line.split() for line in lines if line.endswith("\n"))]

    def rank_pid(self, rank):
        with open(os.path.join(self.folder, "rank-%d.pid" % rank)) as file:
            return int(file.read())

    def wait_ready(self):
        machine.wait_for(lambda: len(self.steps()) >= STEPS_BEFORE, "the first steps", 90)
        time.sleep(SETTLED_S)

    def seconds_to_next_step(self, fault_at):
        def newer():
            return next((line for line in self.steps() if line[2] > fault_at), None)
        return machine.wait_for(newer, "a step after the fault", 180)[1] - fault_at

    def crash_rank(self):
        pid = self.rank_pid(VICTIM)
        at = time.monotonic()
        machine.kill(pid)
        return self.seconds_to_next_step(at)


class HoldfastTrial(Trial):
    def __init__(self, holdfast, nodes, spares, steps=1000000):
        super().__init__()
        self.holdfast, self.nodes, self.is_up = holdfast, nodes, False
        self.state = os.path.join(self.folder, "state")
        self.job = os.path.join(self.folder, "job.json")
        with open(self.job, "w") as file:
            json.dump({"name": "bench", "nodes": {"min": nodes, "max": nodes},
                       "ranks_per_node": RANKS // nodes, "working_folder": self.folder,
                       "environment": {"OMP_NUM_THREADS": "1"},
                       "command": [machine.PYTHON, TRAIN, self.folder, str(steps)]}, file)
        self.size = ["--nodes", str(nodes), "--spares", str(spares)]

    def __enter__(self):
        try:
            self.is_up = True
            self.cli("up", *self.size)
            self.cli("job", "submit", self.job)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def cli(self, *arguments):
        return subprocess.run([self.holdfast, *arguments, "--state", self.state], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=90,
                              env=self.environment, universal_newlines=True).stdout

    def end(self):
        if self.is_up:
            try:
                self.cli("down")
            except subprocess.SubprocessError as error:
                machine.say("down: %s" % error)

    def lose_node(self):
        nodes = json.loads(self.cli("node", "list", "--json"))["nodes"]
        at = machine.kill_tree(next(node["pid"] for node in nodes if node["place"] == 2))
        return self.seconds_to_next_step(at)

    def phases(self, fault_s):
        """Seconds from the fault to each phase of the incident, by Holdfast's own clock; the last of
        them is placed at the step that this program saw."""
        machine.wait_for(
            lambda: json.loads(self.cli("incident", "show", "i1", "--json"))["state"] == "recovered",
            "the incident's end", 30)
        times = json.loads(self.cli("incident", "show", "i1", "--json"))["phases"]
        return times


class TorchrunTrial(Trial):
    def __init__(self, launchers):
        super().__init__()
        self.launchers, self.started = launchers, 0
        # Any free port; taken from the range that the kernel does not hand out by itself.
        self.port = 20000 + os.getpid() * 7 % 9000 + len(os.listdir("/proc")) % 900

    def __enter__(self):
        self.running = [self.launch() for _ in range(self.launchers)]
        return self

    def launch(self):
        self.started += 1
        name = "launcher-%d" % self.started
        child = self.spawn(name, [
            machine.PYTHON, "-m", "torch.distributed.run", "-r", "1", "-t", "1",
            "--log_dir", os.path.join(self.folder, name),
            "--nnodes", "%d:%d" % (self.launchers, self.launchers),
            "--nproc_per_node", str(RANKS // self.launchers), "--max_restarts", "100",
            "--monitor_interval", str(MONITOR_INTERVAL_S),
            "--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:%d" % self.port,
            "--rdzv_id", "bench", TRAIN, self.folder, "1000000"])
        if self.started == 1 and self.launchers > 1:
            time.sleep(2)  # this one shall hold the store
        return child

    def lose_node(self):
        at = machine.kill_tree(self.running[1].pid)
        self.launch()
        return self.seconds_to_next_step(at)


class PlainTrial(Trial):
    """Four processes started by hand."""

    def __init__(self, steps):
        super().__init__()
        self.steps_wanted = steps

    def __enter__(self):
        port = 20000 + os.getpid() * 7 % 9000
        for rank in range(RANKS):
            self.spawn("rank-%d" % rank,
                       [machine.PYTHON, TRAIN, self.folder, str(self.steps_wanted)], RANK=str(rank),
                       LOCAL_RANK=str(rank), WORLD_SIZE=str(RANKS), MASTER_ADDR="127.0.0.1",
                       MASTER_PORT=str(port))
        return self
