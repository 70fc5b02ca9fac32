"""What happens when things break: a row each of the table in docs/faults.md, with real processes."""
import glob
import json
import os
import re
import unittest

from cluster import Cluster, ClusterTest, verdict_of, wait_for


class Ranks(ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(3, 0).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def last_incident(self, name):
        job = self.cluster.job(name)
        mine = [i for i in self.cluster.incidents() if i["job"] == job["id"]]
        self.assertTrue(mine, "no incident of " + name)
        return mine[-1]

    def test_killed_rank_restarts_in_place_from_the_last_commit(self):
        c = self.cluster
        c.submit("kill", "--steps", 60, nodes=3)
        c.wait_step("kill", 12)
        before = c.job("kill")["attempt"]["nodes"]
        c.cli("chaos", "rank-kill", "kill", "--rank", "1")
        job = c.wait_job("kill", "succeeded")
        incident = self.last_incident("kill")
        self.assert_recovered(incident, "unknown", "restart_ranks")
        self.assertEqual(job["attempt"]["nodes"], before)
        self.assertEqual(job["attempt"]["number"], "a2")
        self.assertGreaterEqual(incident["restored_step"], 10)
        self.assertLessEqual(incident["steps_lost"], 10)

    def test_segfault_restarts(self):
        c = self.cluster
        c.submit("segv", "--steps", 30, "--fault", "segv", "--fault-once", nodes=3)
        c.wait_job("segv", "succeeded")
        self.assert_recovered(self.last_incident("segv"), "application", "restart_ranks")

    def test_the_same_exception_stops_the_job_after_three_attempts(self):
        c = self.cluster
        c.submit("raise", "--steps", 30, "--fault", "raise", nodes=3)
        job = c.wait_job("raise", "failed")
        self.assertEqual(job["attempt"]["number"], "a3")
        verdict = job["last_verdict"]
        self.assertEqual((verdict["cause"], verdict["action"]), ("application", "stop_job"))
        self.assertEqual(verdict["ranks"], [1])
        self.assertIn("ValueError", verdict["summary"])
        self.assertIn("planted by the test on rank 1", verdict["summary"])
        self.assertTrue(any("misbehave" in e["what"] for e in verdict["evidence"]), "no traceback")
        self.assertNotEqual(job["exit_code"], 0)

    def test_attached_run_of_a_failing_job_exits_non_zero_and_says_why(self):
        c = self.cluster
        done = c.call("run", "--name", "attached", "--nodes", "1", "--", "/bin/sh", "-c",
                      "echo to be seen; exit 9", cwd=c.folder)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("to be seen", done.stdout, done.stderr)
        self.assertIn("incident show", done.stderr)

    def test_out_of_memory_is_tried_once_more(self):
        c = self.cluster
        c.submit("oom", "--steps", 30, "--fault", "memory", nodes=3, memory_limit="700MiB")
        job = c.wait_job("oom", "failed", 120)
        self.assertEqual(job["attempt"]["number"], "a2")
        verdict = job["last_verdict"]
        self.assertEqual((verdict["cause"], verdict["action"]), ("out_of_memory", "stop_job"))
        self.assertEqual(verdict["ranks"], [1])
        self.assertRegex(verdict["summary"], r"used \d+ MiB, limit 700 MiB")

    def test_chaos_oom_is_recognised_from_the_kernel_log(self):
        c = self.cluster
        c.submit("chaosoom", "--steps", 60, nodes=3)
        c.wait_step("chaosoom", 8)
        c.cli("chaos", "oom", "chaosoom", "--rank", "2")
        c.wait_job("chaosoom", "succeeded")
        self.assert_recovered(self.last_incident("chaosoom"), "out_of_memory")

    def test_hang_names_the_rank_that_differs(self):
        for how in ("sleep", "spin"):
            with self.subTest(how):
                c = self.cluster
                c.submit("hang-" + how, "--steps", 30, "--fault", how, "--fault-once", nodes=3,
                         hang={"stall_s": 3})
                c.wait_job("hang-" + how, "succeeded")
                incident = self.last_incident("hang-" + how)
                verdict = verdict_of(incident)
                self.assertEqual(verdict["ranks"], [1], verdict["summary"])
                self.assertIn("misbehave", "".join(e["what"] for e in verdict["evidence"]))

    def test_stopped_rank_is_a_hang(self):
        c = self.cluster
        c.submit("frozen-rank", "--steps", 80, nodes=3, hang={"stall_s": 3})
        c.wait_step("frozen-rank", 8)
        c.cli("chaos", "hang", "frozen-rank", "--rank", "2")
        c.wait_job("frozen-rank", "succeeded")
        verdict = verdict_of(self.last_incident("frozen-rank"))
        self.assertEqual(verdict["ranks"], [2], verdict["summary"])

    def test_any_program_and_ranks_per_node(self):
        c = self.cluster
        c.submit("shell", nodes=2, ranks_per_node=2, checkpoint=False,
                 command=["/bin/sh", "-c", 'echo "$RANK of $WORLD_SIZE, $LOCAL_RANK on $GROUP_RANK"'])
        c.wait_job("shell", "succeeded")
        said = [wait_for(lambda: c.log("shell", rank), "log") for rank in range(4)]
        self.assertEqual([s.strip().splitlines()[-1] for s in said],
                         ["0 of 4, 0 on 0", "1 of 4, 1 on 0", "2 of 4, 0 on 1", "3 of 4, 1 on 1"])

    def test_stop_ends_every_process(self):
        c = self.cluster
        c.submit("stopme", nodes=3, checkpoint=False,
                 command=["/bin/sh", "-c", "trap '' TERM; sleep 3600 & sleep 3600; sleep 3600"])
        c.wait_job("stopme", "running")
        c.cli("job", "stop", "stopme")
        c.wait_job("stopme", "stopped", 30)
        self.assertFalse(find_processes("HOLDFAST_JOB=stopme"))

    def test_stop_does_not_wait_for_a_slow_import(self):
        c = self.cluster
        library = os.path.join(c.folder, "slow")
        os.makedirs(library)
        with open(os.path.join(library, "torch.py"), "w") as file:
            file.write("import threading\nthreading.Event().wait(300)\n")
        c.submit("slow", nodes=3, environment={"PYTHONPATH": library})
        c.wait_job("slow", "starting")
        c.cli("job", "stop", "slow")
        c.wait_job("slow", "stopped", 8)
        self.assertEqual({node["state"] for node in c.nodes().values()}, {"healthy"})


def find_processes(mark):
    found = []
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as file:
                if mark.encode() in file.read().split(b"\0"):
                    found.append(path)
        except OSError:
            pass
    return found


class Nodes(ClusterTest):
    def test_lost_node_is_replaced_by_the_spare_and_the_pool_refilled(self):
        with Cluster(3, 1) as c:
            c.submit("a", "--steps", 80, nodes=3)
            c.wait_step("a", 10)
            c.cli("chaos", "node-kill", "n2")
            c.wait_job("a", "succeeded")
            incident = c.incidents()[-1]
            self.assert_recovered(incident, "host", "replace_node")
            self.assertIn("its agent process ended", verdict_of(incident)["summary"])  # not: silence
            self.assertEqual(c.job("a")["attempt"]["nodes"], ["n1", "n4", "n3"])
            wait_for(lambda: c.nodes().get("n5", {}).get("state") == "healthy", "the pool refilled")
            self.assertEqual(c.nodes()["n2"]["state"], "gone")
            self.assertEqual(c.nodes()["n5"]["place"], 0)

    def test_frozen_node_is_fenced_when_it_thaws(self):
        with Cluster(3, 1) as c:
            c.submit("a", "--steps", 150, nodes=3)
            c.wait_step("a", 10)
            c.cli("chaos", "node-freeze", "n2")
            wait_for(lambda: c.nodes()["n2"]["state"] == "gone", "n2 declared lost", 10)
            c.wait_step("a", 30, attempt=2)
            old = c.agent_pids()["n2"]
            c.cli("chaos", "node-thaw", "n2")
            wait_for(lambda: not os.path.exists("/proc/%d" % old), "the fenced agent left", 20)
            c.wait_job("a", "succeeded")
            self.assertFalse(find_processes("HOLDFAST_NODE=n2"))
            self.assertEqual(len(c.incidents()), 1)
            with open(os.path.join(c.state, "nodes/n2/agent.log")) as log:
                self.assertIn("leaving: n2 is no member any more", log.read())

    def test_xid_79_cordons_and_reboots_but_13_and_31_touch_nothing(self):
        with Cluster(3, 1) as c:
            c.submit("a", "--steps", 120, nodes=3)
            c.wait_step("a", 6)
            for code in (13, 31):
                c.cli("chaos", "kmsg", "n3", "NVRM: Xid (PCI:0000:b9:00): %d, pid=1, name=x, y" % code)
            wait_for(lambda: len([e for e in c.events() if e["kind"] == "node.fault"]) == 2, "faults seen")
            self.assertEqual(c.nodes()["n3"]["state"], "healthy")
            c.cli("chaos", "kmsg", "n3", "NVRM: Xid (PCI:0000:b9:00): 79, pid=1, GPU has fallen off the bus.")
            c.wait_job("a", "succeeded")
            incident = c.incidents()[-1]
            self.assertEqual(verdict_of(incident)["nodes"], ["n3"])
            self.assertIn("Xid", json.dumps(verdict_of(incident)["evidence"]))
            self.assertEqual(verdict_of(incident)["cause"], "accelerator")
            self.assertEqual(verdict_of(incident)["action"], "reboot_node")
            node = wait_for(lambda: (lambda n: n if n["state"] == "healthy" else None)(c.nodes()["n3"]),
                            "n3 rebooted")
            self.assertEqual([r["action"] for r in node["health"]["repairs"]], ["reboot_node"])
            kept = json.loads(c.cli("diagnose", "--json", "--job",
                                    os.path.join(c.state, "incidents", incident["id"], "a1")))
            self.assertEqual((kept["cause"], kept["nodes"]), ("accelerator", ["n3"]), kept)

    def test_two_nodes_lost_with_one_spare(self):
        with Cluster(3, 1, "--machines", "4") as c:
            c.submit("fixed", "--steps", 400, nodes=3)
            c.wait_step("fixed", 6)
            c.cli("chaos", "node-kill", "n1")
            c.wait_step("fixed", 12, attempt=2)
            c.cli("chaos", "node-kill", "n2")
            job = c.wait_job("fixed", "queued")
            self.assertIn("waits for 1 more node", job["reason"])
            c.cli("node", "add")
            c.wait_step("fixed", 20, attempt=3)
            c.cli("job", "stop", "fixed")
            c.wait_job("fixed", "stopped")

    def test_elastic_job_goes_on_smaller_and_grows_again(self):
        with Cluster(3, 0, "--machines", "3") as c:
            c.submit("elastic", "--steps", 5000, nodes=3, nodes_min=2)
            c.wait_step("elastic", 6)
            c.cli("chaos", "node-kill", "n2")
            job = c.wait_step("elastic", 20, attempt=2)
            self.assertEqual(len(job["attempt"]["nodes"]), 2)
            c.cli("node", "add")
            wait_for(lambda: len(c.job("elastic")["attempt"]["nodes"]) == 3, "three nodes again")
            c.wait_step("elastic", 30, attempt=3)
            c.cli("job", "stop", "elastic")

    def test_breaker_asks_instead_of_cordoning_everything(self):
        with Cluster(4, 1) as c:
            for node in ("n1", "n2", "n3", "n4"):
                c.cli("chaos", "kmsg", node, "NVRM: Xid (PCI:0000:01:00): 79, x")
            wait_for(lambda: c.json("status")["breaker"]["open"], "the breaker open")
            wait_for(lambda: [n["state"] for n in c.nodes().values()].count("suspect") == 2,
                     "two nodes suspect and not cordoned")
            c.cli("breaker", "close")
            self.assertFalse(c.json("status")["breaker"]["open"])


class ControlPlane(ClusterTest):
    def test_killed_server_comes_back_and_training_notices_nothing(self):
        with Cluster(3, 1) as c:
            c.submit("a", "--steps", 200, nodes=3)
            c.wait_step("a", 6)
            for _ in range(3):
                old = c.server_pid()
                c.cli("chaos", "server-kill")
                wait_for(lambda: c.call("status").returncode == 0 and c.server_pid() != old, "server back")
            c.wait_job("a", "succeeded")
            self.assertEqual(c.job("a")["attempt"]["number"], "a1")
            self.assertEqual(c.incidents(), [])

    def test_server_dies_during_a_recovery(self):
        with Cluster(3, 1) as c:
            c.submit("a", "--steps", 120, nodes=3)
            c.wait_step("a", 6)
            c.cli("chaos", "node-kill", "n1")
            c.cli("chaos", "server-kill")
            c.wait_job("a", "succeeded")
            self.assertEqual(len(c.incidents()), 1)
            self.assert_recovered(c.incidents()[0], "host")

    def test_second_node_dies_during_a_recovery_and_the_spare_too(self):
        with Cluster(3, 1) as c:
            c.submit("a", "--steps", 200, nodes=3)
            c.wait_step("a", 6)
            c.cli("chaos", "node-kill", "n1")
            c.cli("chaos", "node-kill", "n4")
            c.wait_job("a", "succeeded", 120)
            incident = c.incidents()[0]
            self.assertEqual(incident["state"], "recovered")
            self.assertIn("n4 was lost", json.dumps(incident["story"]) + json.dumps(c.events()))


if __name__ == "__main__":
    unittest.main(verbosity=2)
