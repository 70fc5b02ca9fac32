"""Deep checks with real processes: a script finds a bad node and a spare takes its place; checks that
hang, flood, fork away or die; the control plane, an agent and the check itself killed meanwhile."""
import json
import os
import signal
import unittest

from cluster import PYTHON, Cluster, ClusterTest, verdict_of, wait_for

CHECKS = """
on_start: %s
scripts: %s
load_s: 0.3
test_budget_s: %d
budget_s: 300
"""
# Bad on the nodes that a file names; slow where it says so.
SCRIPT = """#!%s
import json, os, signal, sys, threading, time
bad = json.load(open(%r))
node = os.environ["HOLDFAST_NODE"]
what = bad.get(node, "")
if what == "hang":
    os.fork()
    signal.pause()
if what == "flood":
    while True:
        os.write(1, b"flood " * 10000)
if what == "die":
    os.kill(os.getpid(), 11)
if what == "fork-away":
    if os.fork() == 0:
        os.setsid()
        os.execvp("sleep", ["sleep", "3603"])
if what == "wait":
    deadline = time.monotonic() + 20
    while not os.path.exists(%r) and time.monotonic() < deadline:
        threading.Event().wait(0.05)
if what == "hyperpod":
    print("HEALTH_CHECK_RESULT:%%s:Failed:replace:two rows remapped" %% node)
    sys.exit(1)
print(json.dumps({"value": 20 if what == "slow" else 100, "unit": "GB/s"}))
"""


class ChecksTest(ClusterTest):
    def make(self, nodes, spares, on_start="[]", test_budget_s=30):
        """A cluster whose nodes have the script."""
        def prepare(folder):
            scripts = os.path.join(folder, "checks")
            os.mkdir(scripts)
            self.bad_file = os.path.join(folder, "bad.json")
            self.go_file = os.path.join(folder, "go")
            self.set_bad({})
            path = os.path.join(scripts, "bandwidth")
            with open(path, "w") as file:
                file.write(SCRIPT % (PYTHON, self.bad_file, self.go_file))
            os.chmod(path, 0o755)
            checks = os.path.join(folder, "checks.yaml")
            with open(checks, "w") as file:
                file.write(CHECKS % (on_start, scripts, test_budget_s))
            return "--checks", checks
        return Cluster(nodes, spares, prepare=prepare)

    def set_bad(self, bad):
        with open(self.bad_file + ".new", "w") as file:
            json.dump(bad, file)
        os.rename(self.bad_file + ".new", self.bad_file)

    def ask(self, cluster, *nodes, drain=False):
        more = ["--drain"] if drain else []
        return cluster.json("node", "check", *nodes, "--deep", "--checks", "InstanceStress",
                            *more)["check"]

    def wait_run(self, cluster, check, deadline_s=90):
        def ended():
            told = cluster.call("node", "check", "--json")
            if told.returncode not in (0, 1):  # 1: a node has failed; else the server restarts
                return None
            runs = json.loads(told.stdout)["checks"]
            found = [run for run in runs if run["id"] == check and run["state"] == "ended"]
            return found[0] if found else None
        return wait_for(ended, "deep checks %s have ended" % check, deadline_s)

    def result(self, run, node):
        return [r for r in run["results"] if r["test"] == "bandwidth" and r["node"] == node][-1]

    def assert_no_check_is_left(self, cluster):
        def left():
            return {pid: line for pid, line in cluster.processes().items()
                    if " check " in line or "sleep" in line or "bandwidth" in line}
        wait_for(lambda: not left(), "no process of a check is left", 15)


class Script(ChecksTest):
    def test_a_failing_node_is_found_and_a_spare_takes_its_place(self):
        with self.make(4, 1) as cluster:
            cluster.submit("gpt", "--steps", "100000", nodes=4)
            cluster.wait_step("gpt", 3)
            refused = cluster.call("node", "check", "n2", "--deep")
            self.assertEqual(refused.returncode, 5, refused.stderr)
            self.assertIn("--drain", refused.stderr)
            self.set_bad({"n2": "hyperpod"})
            run = self.wait_run(cluster, self.ask(cluster, "n2", drain=True))
            result = self.result(run, "n2")
            self.assertEqual(result["verdict"], "Failed")
            self.assertEqual(result["action"], "replace_node")
            self.assertEqual(result["reason"], "two rows remapped")
            self.assertIn("HEALTH_CHECK_RESULT", result["log"])
            nodes = cluster.nodes()
            self.assertIn(nodes["n2"]["state"], ("replacing", "gone"))
            self.assertEqual(nodes["n5"]["place"], 2)
            found = [i for i in cluster.incidents() if i["job"] is None]
            self.assertEqual(len(found), 1)
            self.assertEqual(verdict_of(found[0])["nodes"], ["n2"])
            self.assertIn("two rows remapped", verdict_of(found[0])["summary"])
            shown = cluster.cli("incident", "show", found[0]["id"])
            self.assertIn("two rows remapped", shown)
            cluster.wait_step("gpt", 5, attempt=2)  # it went on without n2
            job = cluster.job("gpt")
            self.assertNotIn("n2", job["attempt"]["nodes"])
            cluster.end_job("gpt")

    def test_a_slow_node_is_found_among_its_peers(self):
        with self.make(5, 0) as cluster:
            self.set_bad({"n3": "slow"})
            run = self.wait_run(cluster, self.ask(cluster, "n1", "n2", "n3", "n4", "n5"))
            self.assertEqual({m["node"]: m["status"] for m in run["members"]},
                             dict({"n%d" % n: "Passed" for n in (1, 2, 4, 5)}, n3="Failed"))
            self.assertEqual(self.result(run, "n3")["threshold"], 60000)
            self.assertEqual(len([r for r in run["results"]
                                  if r["test"] == "bandwidth" and r["node"] == "n3"]), 2,
                             "measured once more before it counts")
            report = os.path.join(cluster.folder, "report.html")
            self.assertEqual(cluster.call("node", "check", "--report", report).returncode, 1)
            with open(report) as file:
                self.assertIn("n3: 20.0 GB/s", file.read())


class Misbehaviour(ChecksTest):
    def test_a_check_that_hangs_floods_dies_or_forks_away_is_dealt_with(self):
        with self.make(5, 0, test_budget_s=8) as cluster:
            self.set_bad({"n1": "hang", "n2": "flood", "n3": "die", "n4": "fork-away"})
            run = self.wait_run(cluster, self.ask(cluster, "n1", "n2", "n3", "n4", "n5"))
            for node, reason in (("n1", "did not end within"), ("n2", "more than any check needs"),
                                 ("n3", "signal 11")):
                self.assertEqual(self.result(run, node)["verdict"], "Failed", node)
                self.assertIn(reason, self.result(run, node)["reason"])
            self.assertEqual(self.result(run, "n4")["verdict"], "Passed")
            self.assertEqual(self.result(run, "n5")["verdict"], "Passed")
            self.assert_no_check_is_left(cluster)


class Killed(ChecksTest):
    def marked(self, cluster, *words):
        return [pid for pid, line in cluster.processes().items()
                if all(word in line for word in words)]

    def waiting_script(self, cluster, node):
        """The script runs on the node; its pids."""
        def running():
            return [pid for pid in cluster.processes("HOLDFAST_NODE=" + node)
                    if "bandwidth" in cluster.processes().get(pid, "")]
        return wait_for(running, "the script runs on " + node, 60)

    def test_control_plane_agent_and_check_are_killed(self):
        with self.make(3, 0) as cluster:
            self.set_bad({"n1": "wait", "n2": "wait"})
            check = self.ask(cluster, "n1", "n2")
            self.waiting_script(cluster, "n1")
            scripts = self.waiting_script(cluster, "n2")
            os.kill(cluster.server_pid(), signal.SIGKILL)
            os.kill(scripts[0], signal.SIGKILL)  # is run once more
            wait_for(lambda: cluster.call("status").returncode == 0, "the control plane is back")
            self.assertEqual(cluster.nodes()["n1"]["state"], "deep_health_check")
            self.waiting_script(cluster, "n2")
            cluster.signal("n1", signal.SIGKILL)
            open(self.go_file, "w").close()
            run = self.wait_run(cluster, check)
            status = {m["node"]: m["status"] for m in run["members"]}
            self.assertEqual(status, {"n1": "Failed", "n2": "Passed"}, run)
            self.assertEqual(cluster.nodes()["n1"]["state"], "gone")
            self.assertEqual(cluster.nodes()["n2"]["state"], "healthy")
            self.assert_no_check_is_left(cluster)


class OnStart(ChecksTest):
    def test_nobody_works_before_all_tests_have_passed(self):
        with self.make(2, 1, on_start="[InstanceStress, InstanceConnectivity]") as cluster:
            for node in cluster.nodes().values():
                self.assertEqual(node["check_status"], "Passed", node)
            run = cluster.json("node", "check")["checks"][-1]
            tests = {r["test"]: r["verdict"] for r in run["results"]}
            for test in ("cpu_rate", "memory", "memory_bandwidth", "gemm_rate", "bandwidth", "link",
                         "link_latency", "all_reduce"):
                self.assertEqual(tests.get(test), "Passed", (test, run["results"]))
            self.assertIn("accelerator", tests)
            links = {(r["node"], r["peer"]) for r in run["results"] if r["test"] == "link"}
            self.assertEqual(len(links), 3)


if __name__ == "__main__":
    unittest.main()
