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
STEPS_WATCHED, STEPS_SKIPPED, WATCH_TRIALS = 500, 60, 5
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
        # tidy: allow sleep, because the spare gets time to warm up before the fault
        time.sleep(SETTLED_S)

    def seconds_to_next_step(self, fault_at):
        self.fault_at = fault_at

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

    def phases(self):
        """Seconds from the fault to each phase of the recovery, by Holdfast's own account."""
        def recovered():
            answer = json.loads(self.cli("incident", "list", "--json"))
            return answer["incidents"][0]["state"] == "recovered" and answer
        answer = machine.wait_for(recovered, "the incident's end", 30)
        # Its clock and ours meet in the wall clock, which it tells beside its own.
        fault_ns = answer["now_ns"] - answer["wall_unix_ns"] + time.time_ns() - (
            time.monotonic_ns() - round(self.fault_at * 1e9))
        return {name[:-len("_ns")]: (at_ns - fault_ns) / 1e9
                for name, at_ns in answer["incidents"][0]["phases"].items() if at_ns is not None}


class TorchrunTrial(Trial):
    def __init__(self, launchers):
        super().__init__()
        self.launchers, self.started = launchers, 0
        self.port = machine.free_port()

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
        if self.started == 1:  # this one shall hold the store
            machine.wait_for(lambda: machine.is_listening(self.port), "the rendezvous store", 30)
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
        port = machine.free_port()
        for rank in range(RANKS):
            self.spawn("rank-%d" % rank,
                       [machine.PYTHON, TRAIN, self.folder, str(self.steps_wanted)], RANK=str(rank),
                       LOCAL_RANK=str(rank), WORLD_SIZE=str(RANKS), MASTER_ADDR="127.0.0.1",
                       MASTER_PORT=str(port))
        return self


def rate(trial, what):
    """Steps per second over the whole run but its beginning."""
    steps = machine.wait_for(lambda: (lambda s: len(s) >= STEPS_WATCHED and s)(trial.steps()),
                             "%d steps, %s" % (STEPS_WATCHED, what), 180)[STEPS_SKIPPED:]
    return (len(steps) - 1) / (steps[-1][1] - steps[0][1])


def measure_watching(holdfast):
    """One node: an agent that watches four ranks, as on a machine of its own, and the control plane,
    which elsewhere has one of its own. Who goes first alternates."""
    watched, plain = [], []
    for trial in range(WATCH_TRIALS):
        for side in ((watched, plain), (plain, watched))[trial % 2]:
            with (PlainTrial(STEPS_WATCHED) if side is plain else
                  HoldfastTrial(holdfast, nodes=1, spares=0, steps=STEPS_WATCHED)) as run:
                side.append(rate(run, "plain" if side is plain else "watched"))
        machine.say("watching %d: %.2f steps/s under Holdfast, %.2f plain" % (
            trial + 1, watched[-1], plain[-1]))
    return watched, plain


def measure_fault(name, trials, ours, theirs, break_it):
    """Alternating. Returns the seconds of both sides, and our phases per trial."""
    seconds, phases = ([], []), []
    for trial in range(trials):
        for side, make in enumerate((ours, theirs)):
            with make() as run:
                run.wait_ready()
                seconds[side].append(break_it(run))
                if side == 0:
                    phases.append(run.phases())
        machine.say("%s %d: Holdfast %.3f s, torchrun %.3f s" % (
            name, trial + 1, seconds[0][-1], seconds[1][-1]))
    return seconds[0], seconds[1], phases


def print_fault(name, ours, theirs, phases):
    print("%s -> next training step, s" % name)
    for side, values in (("Holdfast", ours), ("torchrun", theirs)):
        print("  %-9s %s   median %.3f" % (
            side, " ".join("%7.3f" % value for value in values), statistics.median(values)))
    print("  ratio %.4f (bar: 0.125)" % ratio(ours, theirs))
    print("  phases, s after the fault, medians: " + ", ".join(
        "%s %.3f" % (phase, statistics.median(trial[phase] for trial in phases if phase in trial))
        for phase in PHASES if any(phase in trial for trial in phases)))


def ratio(ours, theirs):
    return statistics.median(ours) / statistics.median(theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--holdfast", default=os.path.join(HERE, "../build/release/holdfast"))
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="a JSON object as the last line")
    options = parser.parse_args()
    holdfast = os.path.abspath(options.holdfast)
    described = machine.describe()
    import_s, fork_s = machine.torch_ceilings()
    began = time.monotonic()

    crash = measure_fault("rank crash", options.trials, lambda: HoldfastTrial(holdfast, 1, 0),
                          lambda: TorchrunTrial(1), lambda run: run.crash_rank())
    loss = measure_fault("node loss", options.trials, lambda: HoldfastTrial(holdfast, 2, 1),
                         lambda: TorchrunTrial(2), lambda run: run.lose_node())
    watched, plain = measure_watching(holdfast)

    print("Recovery: %s" % described)
    print("Ceilings here: import torch %.2f s, fork of a process that has it %.1f ms" % (
        import_s, fork_s * 1e3))
    print_fault("Rank crash (1 node, 4 ranks)", *crash)
    print_fault("Node loss (2 nodes, 2 ranks each; a warm spare, a new launcher at once)", *loss)
    # Here the server is told by the kernel that the agent's process ended. A machine that is
    # somewhere else just falls silent.
    by_silence = (statistics.median(loss[0]) + SILENCE_MAX_S) / statistics.median(loss[1])
    print("  with the whole silence limit of %.1f s on top, as on a machine of its own: ratio %.4f"
          % (SILENCE_MAX_S, by_silence))
    overhead = ratio(watched, plain)
    print("Watching, steps/s over steps %d to %d: Holdfast %s, plain %s: ratio %.4f (bar: 0.98)" % (
        STEPS_SKIPPED, STEPS_WATCHED, " ".join("%.2f" % value for value in watched),
        " ".join("%.2f" % value for value in plain), overhead))
    print("Repeat: ./dev bench recovery --trials %d --json  (%d s)" % (
        options.trials, time.monotonic() - began))
    if options.json:
        print(json.dumps({
            "rank_crash_ratio": round(ratio(*crash[:2]), 4),
            "node_loss_ratio": round(ratio(*loss[:2]), 4),
            "node_loss_ratio_by_silence": round(by_silence, 4),
            "watch_overhead": round(overhead, 4),
            "rank_crash_s": [round(s, 3) for s in crash[0]],
            "rank_crash_torchrun_s": [round(s, 3) for s in crash[1]],
            "node_loss_s": [round(s, 3) for s in loss[0]],
            "node_loss_torchrun_s": [round(s, 3) for s in loss[1]],
            "steps_per_s": [round(r, 2) for r in watched],
            "steps_per_s_plain": [round(r, 2) for r in plain]}))
    return 0


sys.exit(main())
