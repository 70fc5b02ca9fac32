"""The strongest test: the same job with the same seed, undisturbed and with faults of every kind, ends
with the same weights to the last bit."""
import unittest

from cluster import Cluster, ClusterTest, wait_for

STEPS = 260
XID_79 = "NVRM: Xid (PCI:0000:b9:00): 79, pid=1, GPU has fallen off the bus."


class Identical(ClusterTest):
    def submit(self, cluster, name):
        cluster.submit(name, "--steps", STEPS, nodes=3, hang={"stall_s": 3})

    def test_weights_are_bit_identical_after_eight_faults_of_eight_kinds(self):
        with Cluster(3, 1) as c:
            self.submit(c, "undisturbed")
            self.assertEqual(c.wait_job("undisturbed", "succeeded")["attempt"]["number"], "a1")
            self.submit(c, "disturbed")
            self.disturb(c)
            job = c.wait_job("disturbed", "succeeded", 120)
            self.assertEqual(c.weights("disturbed"), c.weights("undisturbed"))
            self.assertGreaterEqual(int(job["attempt"]["number"][1:]), 7)
            causes = [i["verdicts"][-1]["cause"] for i in c.incidents_of("disturbed")]
            self.assertEqual(causes, ["unknown", "host", "unknown", "out_of_memory", "accelerator",
                                      "application", "host"])
            for incident in c.incidents_of("disturbed"):
                self.assertEqual(incident["state"], "recovered", incident)
                self.assertGreater(incident["restored_step"], 0, incident)

    def disturb(self, c):
        """Each after steps of its own attempt, so that each costs work and restores."""
        attempt = 1

        def then(*chaos):
            nonlocal attempt
            job = c.json("job", "describe", "disturbed")
            at = max([rank["step"] for rank in job["ranks"]] or [0])
            c.wait_step("disturbed", max(at, (job["committed_step"] or 0)) + 8, attempt=attempt)
            c.cli("chaos", *chaos)
            attempt += 1
            c.wait_step("disturbed", 1, attempt=attempt)

        then("rank-kill", "disturbed", "--rank", "1")
        then("node-kill", self.node(c, 0))
        server = c.server_pid()
        c.cli("chaos", "server-kill")
        wait_for(lambda: c.call("status").returncode == 0 and c.server_pid() != server, "server back")
        then("hang", "disturbed", "--rank", "2")
        then("oom", "disturbed", "--rank", "0")
        self.spare_is_there(c)
        then("kmsg", self.node(c, 1), XID_79)
        then("rank-kill", "disturbed", "--rank", "2", "--signal", "11")
        self.spare_is_there(c)
        frozen = self.node(c, 2)
        then("node-freeze", frozen)
        c.cli("chaos", "node-thaw", frozen)
        wait_for(lambda: frozen not in c.live_agents(), "the thawed node left", 20)

    def node(self, c, index):
        return c.job("disturbed")["attempt"]["nodes"][index]

    def spare_is_there(self, c):
        wait_for(lambda: [n["state"] for n in c.nodes().values()].count("healthy") == 4, "a spare")


if __name__ == "__main__":
    unittest.main(verbosity=2)
