"""A real cluster for a test: `holdfast up` in a folder of its own, driven through the command line as
a person would. Every wait has a deadline and says what it waited for."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
HOLDFAST = os.environ.get("HOLDFAST", os.path.join(HERE, "../../build/release/holdfast"))
PYTHON = os.environ.get("HOLDFAST_TEST_PYTHON", "/usr/bin/python3")
TRAIN = os.path.join(HERE, "train.py")
ZOO = os.path.join(HERE, "zoo.py")
ENDED = ("succeeded", "failed", "stopped")


def wait_for(condition, what, deadline_s=60):
    """Until condition() is true; returns what it gave."""
    end = time.monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError("not within %s s: %s" % (deadline_s, what))
        # tidy: allow sleep, because the one polling loop
        time.sleep(0.05)  # between two looks, not instead of one


class Cluster:
    def __init__(self, nodes=4, spares=1, *options, prepare=None):
        """`prepare(folder)` gives more options, for files that must be there before."""
        self.folder = tempfile.mkdtemp(prefix="holdfast-e2e-")
        self.state = os.path.join(self.folder, "state")
        options += tuple(prepare(self.folder)) if prepare else ()
        self.cli("up", "--nodes", str(nodes), "--spares", str(spares), "--json", *options)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.tell_all()
        self.call("down")
        for path in self.agent_pids():  # what a failed test may have left frozen
            self.signal(path, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *arguments, **options):
        environment = dict(os.environ, HOLDFAST_STATE=self.state)
        return subprocess.run([HOLDFAST] + list(arguments), env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, universal_newlines=True, timeout=120, **options)

    def cli(self, *arguments):
        done = self.call(*arguments)
        end = time.monotonic() + 30
        while done.returncode == 3 and time.monotonic() < end:  # the control plane is restarting
            done = self.call(*arguments)
        if done.returncode != 0:
            raise AssertionError("holdfast %s: status %d\n%s%s" % (
                " ".join(arguments), done.returncode, done.stdout, done.stderr))
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.cli(*arguments, "--json"))

    def submit(self, name, *arguments, script=TRAIN, nodes=4, nodes_min=None, checkpoint=True,
               checkpoint_folder=None, command=None, **spec):
        job = {"name": name, "nodes": {"min": nodes_min or nodes, "max": nodes},
               "command": command or [PYTHON, script] + [str(a) for a in arguments],
               "working_folder": self.folder}
        if checkpoint:
            job["checkpoint"] = {
                "folder": checkpoint_folder or os.path.join(self.folder, name + "-checkpoints")}
        job.update(spec)
        path = os.path.join(self.folder, name + ".yaml")
        with open(path, "w") as file:
            json.dump(job, file)  # JSON is YAML
        self.cli("job", "submit", path)

    def job(self, name):
        return self.json("job", "describe", name)

    def wait_job(self, name, states, deadline_s=90):
        states = (states,) if isinstance(states, str) else states
        return wait_for(lambda: (lambda j: j if j["state"] in states else None)(self.job(name)),
                        "job %s in %s" % (name, "/".join(states)), deadline_s)

    def wait_step(self, name, step, deadline_s=60, attempt=None):
        def there():
            job = self.job(name)
            current = int(job["attempt"]["number"][1:])
            live = max([rank["step"] for rank in job["ranks"]] or [0])
            return job if live >= step and (attempt is None or current >= attempt) else None
        return wait_for(there, "job %s at step %d" % (name, step), deadline_s)

    def wait_own_steps(self, name, attempt, deadline_s=60):
        """Until every rank has made a step of its own in this attempt or a later one. What it restored
        counts as a step too, and a rank that stops before its own first one is given time as a start
        is."""
        def there():
            job = self.job(name)
            return (int(job["attempt"]["number"][1:]) >= attempt and job["ranks"]
                    and all(rank["since_progress_s"] is not None for rank in job["ranks"]))
        wait_for(there, "a step of each rank of job %s" % name, deadline_s)

    def end_job(self, name):
        """For the end of a test that does not wait for the job's."""
        self.call("job", "stop", name)
        self.wait_job(name, ENDED, 30)

    def incidents_of(self, name):
        job = self.job(name)["id"]
        return [incident for incident in self.incidents() if incident["job"] == job]

    def processes(self, *marks):
        """{pid: command line} of the processes of this cluster that were started with all of these in
        their environment."""
        with open(os.path.join(self.state, "cluster.json")) as file:
            wanted = {("HOLDFAST_CLUSTER=" + json.load(file)["uuid"]).encode()}
        wanted.update(mark.encode() for mark in marks)
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as file:
                    if wanted <= set(file.read().split(b"\0")):
                        with open("/proc/%s/cmdline" % pid, "rb") as line:
                            found[int(pid)] = line.read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                pass
        return found

    def assert_nothing_left(self, *marks):
        left = wait_for(lambda: None if self.processes(*marks) else [True], "no process is left", 10)
        assert left, self.processes(*marks)

    def log(self, name, rank=0, attempt=None):
        more = ["--attempt", str(attempt)] if attempt else []
        return self.cli("job", "logs", name, "--rank", str(rank), *more)

    def nodes(self):
        return {node["id"]: node for node in self.json("node", "list")["nodes"]}

    def incidents(self):
        return self.json("incident", "list")["incidents"]

    def events(self):
        return self.json("events")["events"]

    def weights(self, name):
        lines = [line for line in self.log(name).splitlines() if line.startswith("weights ")]
        assert lines, "no weights in the log of " + name
        return lines[-1]

    def server_pid(self):
        return self.json("status")["server_pid"]

    def agent_pids(self):
        pids = {}
        folder = os.path.join(self.state, "nodes")
        for node in os.listdir(folder) if os.path.isdir(folder) else []:
            try:
                with open(os.path.join(folder, node, "agent.pid")) as file:
                    pids[node] = int(file.read().split()[0])
            except (OSError, ValueError, IndexError):
                pass
        return pids

    def servers(self):
        """{pid: "server" or "keeper"} of this cluster."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, "rb") as file:
                    words = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[1:2] == ["server"] and self.state in words:
                found[int(pid)] = "keeper" if "--keep" in words else "server"
        return found

    def roles(self):
        """{role: [pid]} of all processes of this cluster: server, keeper, agent, warm, snapshots, probe, rank
        (what an agent has started or adopted) and helper (what those have)."""
        found = {}
        for pid, role in self.servers().items():
            found.setdefault(role, []).append(pid)
        members = self.processes()
        agents = {pid for pid, line in members.items() if " agent --server " in line}
        for pid, line in members.items():
            try:
                with open("/proc/%d/stat" % pid) as file:
                    parent, _, session = map(int, file.read().rpartition(")")[2].split()[1:4])
                with open("/proc/%d/status" % pid) as file:
                    ignored = file.read().partition("SigIgn:")[2].split()[0]
                ignores_interrupts = bool(int(ignored, 16) & 1 << signal.SIGINT - 1)
            except OSError:
                continue
            role = ("agent" if pid in agents else "helper" if parent not in agents else
                    "probe" if " probe --serve-fd " in line else
                    "warm" if "holdfast.warm" in line and session == pid and ignores_interrupts else
                    "snapshots" if " checkpoint serve " in line else "rank")
            found.setdefault(role, []).append(pid)
        return found

    def live_agents(self):
        return {node for node, pid in self.agent_pids().items() if pid in self.processes()}

    def signal(self, node, number):
        """To a node's agent, if that process is still the agent."""
        pid = self.agent_pids().get(node)
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                if self.state.encode() in file.read():
                    os.kill(pid, number)
        except (OSError, TypeError):
            pass

    def tell_all(self):
        for path in ["server.log"] + ["nodes/%s/agent.log" % n for n in sorted(self.agent_pids())]:
            try:
                with open(os.path.join(self.state, path), errors="replace") as file:
                    sys.stderr.write("---- %s\n%s\n" % (path, file.read()[-6000:]))
            except OSError:
                pass


def verdict_of(incident):
    return incident["verdicts"][-1]


class ClusterTest(unittest.TestCase):
    maxDiff = None

    def assert_recovered(self, incident, cause, action=None):
        self.assertEqual(incident["state"], "recovered", incident)
        self.assertEqual(verdict_of(incident)["cause"], cause, incident)
        if action:
            self.assertEqual(verdict_of(incident)["action"], action, incident)
        self.assertTrue(incident["story"])
