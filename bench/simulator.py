"""Does the simulator tell the truth? The same faults in a real cluster on this machine and in the
simulated one, and how long each phase of the recovery takes.

    ./dev bench simulator [--json] [--trials N]

Half of the rank kills say what this machine takes (SIGKILL to the death of a rank, a fork, a restore,
a step), and nodes that an operator replaces what a start takes that begins with a spare; with these
costs the simulator foretells the other rank kills, and nodes that freeze, Xids and hangs, none of
which it was told anything about. Real: four nodes and a spare, one rank each, gloo on loopback,
checkpoints every five steps.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../tests/e2e"))

import machine  # noqa: E402
from cluster import Cluster  # noqa: E402

PHASES = ("noticed", "drained", "decided", "started", "restored", "first_step")
STALL_S, HANG_STEP = 3, 300
BAR = 0.2
SHORT_S = 0.05  # below it a phase is told and not judged: this machine's scheduler is as long
XID = "NVRM: Xid (PCI:0000:3b:00): 79, pid=0, GPU has fallen off the bus."
KINDS = {
    "rank kill": "{at: 1min, of: rank, first: 1, shows: {as: rank_exit, signal: 9}}",
    "node freezes": "{at: 1min, of: node, first: 2, shows: {as: node_freeze, lasts: 5min, cause: host}}",
    "Xid 79": "{at: 1min, of: rank, first: 2, shows: {as: kernel_line, xid: 79, cause: accelerator,"
              " after: [0ms, 100ms]}}",  # an agent reads the file every 100 ms
    "rank hangs": "{at: 1min, of: rank, first: 1, shows: {as: hang}}",
}


WITH_SPARE = ("node freezes", "Xid 79")


def break_it(c, kind):
    """Returns the moment, on the monotonic clock."""
    job = c.job("bench")
    rank = next(r for r in job["ranks"] if r["rank"] == 1)
    node = rank["node"]
    agent = c.agent_pids()[node]
    family = machine.tree(agent)
    ranks = set(family) & set(c.roles()["rank"])
    at = time.monotonic()
    if kind == "rank kill":
        for pid in ranks:
            machine.kill(pid)
    elif kind == "replaced":
        c.cli("node", "replace", node)
    elif kind == "node freezes":
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
    elif kind == "rank hangs":  # by itself: a process that was stopped could not tell its stack
        line = machine.wait_for(lambda: next((line for line in c.log("bench", 1, 1).splitlines()
                                              if line.startswith("misbehaves at ")), None), "the hang", 60)
        return float(line.split()[-1])
    else:
        with open(os.path.join(c.state, "nodes", node, "kernel.log"), "a") as file:
            file.write(XID + "\n")
    return at


def real(kind):
    """Seconds from the fault to each phase, and the time of a step."""
    with Cluster(4, 1) as c:
        fault = ["--fault", "sleep", "--fault-once", "--fault-step", HANG_STEP] if kind == "rank hangs" else []
        c.submit("bench", "--steps", 100000, *fault, nodes=4, hang={"stall_s": STALL_S})
        c.wait_step("bench", 25)
        # tidy: allow sleep, because the spare gets time to warm up before the fault
        time.sleep(4)
        steps, began = max(r["step"] for r in c.job("bench")["ranks"]), time.monotonic()
        # tidy: allow sleep, because a benchmark samples over time
        time.sleep(2)
        steps = max(r["step"] for r in c.job("bench")["ranks"]) - steps
        step_s = (time.monotonic() - began) / max(1, steps)
        fault_at = break_it(c, kind)

        def recovered():
            answer = c.json("incident", "list")
            return answer["incidents"] and answer["incidents"][0]["state"] == "recovered" and answer
        answer = machine.wait_for(recovered, "the recovery from: " + kind, 60)
        fault_ns = answer["now_ns"] - answer["wall_unix_ns"] + time.time_ns() - (
            time.monotonic_ns() - round(fault_at * 1e9))
        phases = answer["incidents"][0]["phases"]
        return {p: (phases[p + "_ns"] - fault_ns) / 1e9 for p in PHASES if phases[p + "_ns"]}, step_s


def lasted(phases):
    """Seconds that each phase took, from seconds to its end."""
    at, took = 0.0, {}
    for phase in PHASES:
        if phase in phases:
            took[phase], at = phases[phase] - at, phases[phase]
    return took


def typical(seconds):
    """The simulator draws a cost for each node and waits for the slowest; what is measured here is the
    slowest of them already, so its median is every node's."""
    us = max(1, round(statistics.median(seconds) * 1e6))
    return "[%dus, %dus]" % (us, us)


def costs_of(trials, replaced):
    """Of all kinds, and of a start with a spare."""
    took = [lasted(phases) for phases, _ in trials]
    costs = {"drain": typical([t["drained"] for t in took]),
             "process_start": typical([t["started"] for t in took]),
             "restore": typical([t["restored"] for t in took]),
             "first_step": typical([max(0, t["first_step"] - step_s)
                                    for t, (_, step_s) in zip(took, trials)]),
             "step_time": "%dus" % round(statistics.median(step for _, step in trials) * 1e6)}
    return costs, dict(costs, process_start=typical([lasted(phases)["started"] for phases, _ in replaced]))


SCENARIO = """
name: bench
about: The simulator beside a real cluster.
duration: 2min
topology: {nodes: 4, spares: 1, accelerators_per_node: 1}
jobs:
  - name: bench
    nodes: 4
    ranks_per_node: 1
    step_time: %(step_time)s
    checkpoint: {interval: 200ms, stall: 5ms, write: 5ms}
    hang: {stall_min: %(stall)ds, stall_factor: 10}
costs:
  drain: %(drain)s
  process_start: %(process_start)s
  process_start_cold: [1s, 2s]
  rendezvous: [0s, 0s]
  restore: %(restore)s
  first_step: %(first_step)s
  replacement: [5s, 6s]
network: {delay: [100us, 300us]}
planned:
  - %(planned)s
"""


def simulated(holdfast, kind, costs, seeds):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(SCENARIO % dict(costs, stall=STALL_S, planned=KINDS[kind]))
        file.flush()
        runs = []
        for seed in range(seeds):
            out = subprocess.run([holdfast, "sim", "run", file.name, "--seed", str(seed), "--json"],
                                 stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
            runs.append(lasted(next(iter(json.loads(out.splitlines()[-1])["phases_s"].values()))))
        return runs


def medians(runs):
    return {p: statistics.median(r[p] for r in runs if p in r) for p in PHASES if any(p in r for r in runs)}


def compare(kind, real_runs, sim_runs):
    """Prints a line per phase; the ratio of the wholes, and the phases that are off."""
    ours, theirs = medians(real_runs), medians(sim_runs)
    off = []
    for phase in PHASES:
        if phase not in ours or phase not in theirs:
            continue
        is_short = max(ours[phase], theirs[phase]) < SHORT_S
        ratio = theirs[phase] / ours[phase] if ours[phase] > 0 else float("inf")
        if not is_short and abs(ratio - 1) > BAR:
            off.append(phase)
        print("  %-12s %-11s real %7.3f s   simulated %7.3f s   %s" % (
            kind, phase, ours[phase], theirs[phase],
            "short" if is_short else "%.2f%s" % (ratio, "" if phase not in off else "   OFF")))
    whole = sum(theirs.values()) / sum(ours.values())
    print("  %-12s %-11s real %7.3f s   simulated %7.3f s   %.2f" % (
        kind, "in all", sum(ours.values()), sum(theirs.values()), whole))
    return whole, off


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--holdfast", default=os.path.join(HERE, "../build/release/holdfast"))
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="a JSON object as the last line")
    options = parser.parse_args()
    described = machine.describe()
    began = time.monotonic()

    trials, calibration = {kind: [] for kind in KINDS}, []
    replaced = []
    for trial in range(options.trials):
        calibration.append(real("rank kill"))
        replaced.append(real("replaced"))
        for kind in KINDS:
            trials[kind].append(lasted(real(kind)[0]))
        machine.say("trial %d of %d" % (trial + 1, options.trials))
    costs, with_spare = costs_of(calibration, replaced)
    print("The simulator beside a real cluster: %s" % described)
    print("Costs, from %d rank kills: %s; process_start with a spare, from as many replaced nodes: %s" % (
        options.trials, ", ".join("%s %s" % item for item in costs.items()),
        with_spare["process_start"]))
    found = {kind: compare(kind, trials[kind],
                           simulated(options.holdfast, kind, with_spare if kind in WITH_SPARE else costs,
                                     4 * options.trials))
             for kind in KINDS}
    print("Repeat: ./dev bench simulator --trials %d --json  (%d s)" % (
        options.trials, time.monotonic() - began))
    if options.json:
        print(json.dumps({"whole_over_real": {kind: round(whole, 3) for kind, (whole, _) in found.items()},
                          "phases_off": {kind: off for kind, (_, off) in found.items()}}))
    return 0


sys.exit(main())
