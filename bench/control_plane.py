"""The control plane alone: a real `holdfast server`, and bench/agent_load.cc as its agents, one real
gRPC stream under mutual TLS each, a heartbeat every second. Measures the server's CPU and memory at
500, 1,000 and 2,000 streams, and at the last the time from a dead stream to the decision that the
node is lost, as a client of the events API sees it.

    ./dev bench control-plane [--json]
"""
import argparse
import http.client
import json
import os
import resource
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import machine

HERE = os.path.dirname(os.path.abspath(__file__))
SILENCE_MAX_MS = 2500  # kSilenceMax of src/core/cluster/controller.h
STREAMS = (500, 1000, 2000)
CPU_WINDOW_S = 20
# Far below the breaker's share: half of the nodes within 10 s.
DEAD, DEAD_AT_ONCE, DEAD_EVERY_S = 120, 10, 0.73


class Api:
    def __init__(self, state):
        with open(os.path.join(state, "client.json")) as file:
            self.address = json.load(file)["api"].rpartition("/")[2]
        self.tls = ssl.create_default_context(cafile=os.path.join(state, "ca/ca.crt"))
        self.tls.load_cert_chain(os.path.join(state, "client/operator.crt"),
                                 os.path.join(state, "client/operator.key"))
        self.connection = None

    def get(self, target):
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(self.address, timeout=30,
                                                          context=self.tls)
        try:
            self.connection.request("GET", target)
            return json.loads(self.connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            self.connection = None
            raise


class Load:
    """bench/agent_load.cc, which makes the state folder first."""

    def __init__(self, build, state, agents):
        self.process = subprocess.Popen([os.path.join(build, "agent_load"), state, str(agents)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        universal_newlines=True)
        self.read("prepared")

    def read(self, word):
        words = self.process.stdout.readline().split()
        if not words or words[0] != word:
            raise RuntimeError("agent_load: %r where '%s' was expected" % (words, word))
        return [int(number) for number in words[1:]]

    def ask(self, command, word, lines=1):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return [self.read(word) for _ in range(lines)]


class LostNodes(threading.Thread):
    """When a client that waits for events sees each node.lost; a node's number to monotonic ns."""

    def __init__(self, api):
        super().__init__(daemon=True)
        self.api, self.seen_ns, self.stopping = api, {}, False
        self.next = api.get("/v1/events?limit=1")["next"]

    def run(self):
        while not self.stopping:
            answer = self.api.get("/v1/events?after=%d&limit=1000&wait_ms=1000" % self.next)
            now = time.monotonic_ns()
            self.next = answer["next"]
            for event in answer["events"]:
                if event["kind"] == "node.lost":
                    self.seen_ns.setdefault(int(event["node"][1:]), now)


def cpu_s(pid):
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid):
    with open("/proc/%d/status" % pid) as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


def answers(server, api):
    if server.poll() is not None:
        raise RuntimeError("the server ended with status %d" % server.returncode)
    try:
        return api.get("/v1/status")
    except (OSError, http.client.HTTPException):
        return None


def measure_decisions(load, api, agents):
    """Raw, and beyond the last heartbeat plus the silence that is allowed; ms, one of each per node."""
    lost = LostNodes(api)
    lost.start()
    chosen = [1 + i * (agents // DEAD) for i in range(DEAD)]
    stopped = []
    for first in range(0, DEAD, DEAD_AT_ONCE):
        group = chosen[first:first + DEAD_AT_ONCE]
        stopped += load.ask("stop " + " ".join(map(str, group)), "stopped", len(group))
        # tidy: allow sleep, because a benchmark samples over time
        time.sleep(DEAD_EVERY_S)  # the pace of the load
    machine.wait_for(lambda: len(lost.seen_ns) >= DEAD, "node.lost for every dead stream", 15)
    lost.stopping = True
    lost.join()
    if set(lost.seen_ns) != set(chosen):
        raise RuntimeError("nodes were called lost that are not: %s" %
                           sorted(set(lost.seen_ns) - set(chosen)))
    raw = [(lost.seen_ns[node] - at) / 1e6 for node, at, _ in stopped]
    beyond = [(lost.seen_ns[node] - beat) / 1e6 - SILENCE_MAX_MS for node, _, beat in stopped]
    return raw, beyond


def measure(build, agents, decide):
    folder = tempfile.mkdtemp(prefix="holdfast-bench-")
    state = os.path.join(folder, "state")
    load = server = None
    try:
        load = Load(build, state, agents)
        with open(os.path.join(folder, "server.log"), "wb") as log:
            server = subprocess.Popen([os.path.join(build, "holdfast"), "server", "--state", state],
                                      stdout=log, stderr=log)
        api = Api(state)
        machine.wait_for(lambda: answers(server, api), "the server's API", 60)
        empty_mib = rss_mib(server.pid)
        began = time.monotonic()
        load.ask("connect", "connected")
        row = {"streams": agents, "connect_s": time.monotonic() - began, "empty_mib": empty_mib}
        # tidy: allow sleep, because a benchmark samples over time
        time.sleep(2)  # the joins' own work is done
        before, load_before, at = cpu_s(server.pid), cpu_s(load.process.pid), time.monotonic()
        # tidy: allow sleep, because a benchmark samples over time
        time.sleep(CPU_WINDOW_S)
        window = time.monotonic() - at
        row["cpu_cores"] = (cpu_s(server.pid) - before) / window
        row["load_cpu_cores"] = (cpu_s(load.process.pid) - load_before) / window
        row["rss_mib"] = rss_mib(server.pid)
        still_open, broken = load.ask("streams", "streams")[0]
        if still_open != agents or broken:
            raise RuntimeError("%d of %d streams are open, %d broke" % (still_open, agents, broken))
        if decide:
            row["raw_ms"], row["beyond_ms"] = measure_decisions(load, api, agents)
        return row
    except BaseException:
        log = os.path.join(folder, "server.log")
        if os.path.exists(log):
            with open(log, errors="replace") as file:
                machine.say(file.read()[-4000:])
        raise
    finally:
        for process in (load and load.process, server):
            if process:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def report(rows):
    print("Control plane alone: %s" % machine.describe())
    print("Agents and server share these cores; each agent: one gRPC stream (mTLS), 1 heartbeat/s.")
    print("%8s %11s %14s %9s %15s %10s %11s" % ("streams", "CPU cores", "per 1,000", "RSS MiB",
                                             "MiB per 1,000", "load CPU", "connected"))
    for row in rows:
        thousands = row["streams"] / 1000
        print("%8d %11.3f %14.3f %9.1f %15.1f %10.3f %9.1f s" % (
            row["streams"], row["cpu_cores"], row["cpu_cores"] / thousands, row["rss_mib"],
            (row["rss_mib"] - row["empty_mib"]) / thousands, row["load_cpu_cores"],
            row["connect_s"]))
    last = rows[-1]
    print("Dead stream -> node.lost in the events API, %d nodes in groups of %d at %d streams:" % (
        DEAD, DEAD_AT_ONCE, last["streams"]))
    for text, values in (("from the end of the stream (holds the %d ms of silence, counted from the "
                          "last heartbeat)" % SILENCE_MAX_MS, last["raw_ms"]),
                         ("beyond the silence limit", last["beyond_ms"])):
        print("  p50 %7.1f ms  p99 %7.1f ms  most %7.1f ms  %s" % (
            machine.percentile(values, 50), machine.percentile(values, 99), max(values), text))
    print("Repeat: ./dev bench control-plane --json")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", default=os.path.join(HERE, "../build/release"))
    parser.add_argument("--json", action="store_true", help="a JSON object as the last line")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a stream is a descriptor
    rows = []
    for agents in STREAMS:
        machine.say("%d streams ..." % agents)
        rows.append(measure(options.build, agents, decide=agents == STREAMS[-1]))
    report(rows)
    last = rows[-1]
    if options.json:
        print(json.dumps({
            "streams": last["streams"], "cpu_cores": round(last["cpu_cores"], 4),
            "rss_mib": round(last["rss_mib"], 1),
            "decide_p50_ms": round(machine.percentile(last["raw_ms"], 50), 1),
            "decide_p99_ms": round(machine.percentile(last["raw_ms"], 99), 1),
            "decide_beyond_limit_p50_ms": round(machine.percentile(last["beyond_ms"], 50), 1),
            "decide_beyond_limit_p99_ms": round(machine.percentile(last["beyond_ms"], 99), 1),
            "silence_limit_ms": SILENCE_MAX_MS}))
    return 0


sys.exit(main())
