#!/usr/bin/env python3
"""What the agent costs, and how fast a bad node is out.

1. A cluster of idle nodes with a recorded machine of eight accelerators and a host to watch, at
   default intervals: processor time and resident memory of one agent and of its two probes, over
   --seconds. Bars: the agent 0.5 % of one core and 40 MiB.
2. The time from a line's arrival in a node's kernel log to the cordoned node, --repeat times, as the
   control plane's own events tell it. Bar: 1 s.

  python3 bench/agent_cost.py [--seconds 40] [--repeat 7]
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
HOLDFAST = os.environ.get("HOLDFAST", os.path.join(HERE, "../build/release/holdfast"))
MACHINE = os.path.join(HERE, "../tests/machines/8-gpu-server.yaml")
TICK = os.sysconf("SC_CLK_TCK")
LINE = "NVRM: Xid (PCI:0000:1b:00): 79, pid=1, GPU has fallen off the bus."


def call(state, *arguments):
    environment = dict(os.environ, HOLDFAST_STATE=state)
    done = subprocess.run([HOLDFAST] + list(arguments), env=environment, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def cost(pid):
    """Processor seconds so far, resident and proportional MiB."""
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rpartition(")")[2].split()
    with open("/proc/%d/smaps_rollup" % pid) as file:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in file if line.startswith(("Rss", "Pss"))}
    return (int(fields[11]) + int(fields[12])) / TICK, kib["Rss"] / 1024, kib["Pss"] / 1024


def family(state, node):
    """{role: pid} of a node's agent and its probes."""
    with open(os.path.join(state, "nodes", node, "agent.pid")) as file:
        agent = int(file.read().split()[0])
    roles = {"agent": agent}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            with open("/proc/%s/cmdline" % pid) as file:
                words = file.read().split("\0")
        except OSError:
            continue
        if parent == agent and "probe" in words:
            roles["probe of " + words[words.index("--what") + 1]] = int(pid)
    return roles


def measure_cost(state, seconds):
    roles = family(state, "n1")
    before = {role: cost(pid) for role, pid in roles.items()}
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        time.sleep(0.5)  # tidy: allow sleep, because it is the time that is measured over
    took = time.monotonic() - start
    for role, pid in sorted(roles.items()):
        after = cost(pid)
        print("%-18s %.3f %% of a core, %.1f MiB resident, %.1f MiB proportional" % (
            role, 100 * (after[0] - before[role][0]) / took, after[1], after[2]))


def measure_cordon(state, repeat):
    """Both times are of this machine's wall clock."""
    taken = []
    for _ in range(repeat):
        nodes = [n["id"] for n in json.loads(call(state, "node", "list", "--json"))["nodes"]
                 if n["state"] == "healthy"]
        node = nodes[len(taken) % len(nodes)]
        with open(os.path.join(state, "nodes", node, "kernel.log"), "a") as log:
            begin = time.time_ns()
            log.write(LINE + "\n")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            events = json.loads(call(state, "events", "--json", "--limit", "20"))["events"]
            seen = [e for e in events if e["kind"] == "node.cordoned" and e["node"] == node and
                    e["wall_unix_ns"] > begin]
            if seen:
                taken.append((seen[0]["wall_unix_ns"] - begin) / 1e6)
                break
        else:
            raise SystemExit("%s was not cordoned within 20 s" % node)
        while [n for n in json.loads(call(state, "node", "list", "--json"))["nodes"]
               if n["state"] not in ("healthy", "gone")]:
            time.sleep(0.1)  # tidy: allow sleep, because the one polling loop
    print("kernel-log line to cordoned node, %d times: median %.0f ms, most %.0f ms" % (
        len(taken), statistics.median(taken), max(taken)))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=40)
    arguments.add_argument("--repeat", type=int, default=7)
    given = arguments.parse_args()
    folder = tempfile.mkdtemp(prefix="holdfast-bench-")
    state = os.path.join(folder, "state")
    try:
        # As many nodes as lines: the breaker's window does not fill.
        call(state, "up", "--nodes", "1", "--spares", str(given.repeat), "--devices", "recorded:" + MACHINE,
             "--host-root", "/", "--breaker-percent", "100")
        measure_cost(state, given.seconds)
        measure_cordon(state, given.repeat)
    finally:
        call(state, "down")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
