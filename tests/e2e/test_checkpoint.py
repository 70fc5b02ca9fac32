"""A rank dies in each phase of a save; the node's memory and its snapshot server live on, or die too."""
import json
import os
import signal
import subprocess
import unittest

from cluster import HOLDFAST, Cluster, ClusterTest, wait_for

STEPS, AT = 60, 20
# The steps that the next attempt may begin from. Where one rank dies the other may not have come so far.
PHASES = (("filling", (AT - 5,)), ("filled", (AT - 5,)), ("published", (AT - 5, AT)), ("writing", (AT - 5, AT)),
          ("written", (AT - 5, AT)), ("committed", (AT,)), ("in-memory", (AT,)))


class Ranks(ClusterTest):
    def calm(self, c, nodes):
        c.submit("calm", "--steps", STEPS, "--pause", 0.01, nodes=nodes)
        c.wait_job("calm", "succeeded")
        return c.weights("calm")

    def test_a_rank_dies_in_each_phase_of_a_save(self):
        with Cluster(2, 0) as c:
            weights = self.calm(c, 2)
            for number, (phase, steps) in enumerate(PHASES):
                name = "dies-" + phase
                c.submit(name, "--steps", STEPS, "--pause", 0.01, "--die", phase, "--fault-rank", number % 2,
                         "--fault-step", AT, nodes=2)
                job = c.wait_job(name, "succeeded")
                with self.subTest(phase=phase):
                    self.assertEqual(job["attempt"]["number"], "a2")
                    self.assertEqual(c.weights(name), weights)
                    restored = c.incidents_of(name)[0]["restored_step"]
                    self.assertIn(restored, steps, phase)

    def test_an_agent_dies_in_each_phase_of_a_save(self):
        with Cluster(2, 1) as c:
            weights = self.calm(c, 2)
            for number, (phase, _) in enumerate(PHASES):
                wait_for(lambda: [n["state"] for n in c.nodes().values()].count("healthy") == 3, "a spare")
                name = "dies-" + phase
                c.submit(name, "--steps", STEPS, "--pause", 0.01, "--die", phase, "--die-whom", "agent",
                         "--fault-rank", number % 2, "--fault-step", AT, nodes=2)
                job = c.wait_job(name, "succeeded")
                with self.subTest(phase=phase):
                    self.assertEqual(job["attempt"]["number"], "a2")
                    self.assertEqual(c.weights(name), weights)
                    # The node's memory went with it; the other node may have brought its copy or not.
                    self.assertIn(c.incidents_of(name)[0]["restored_step"], (AT - 5, AT), phase)
                c.call("breaker", "close")  # where so many losses have opened it

    def test_the_control_plane_dies_in_each_phase_of_a_save(self):
        with Cluster(2, 0) as c:
            weights = self.calm(c, 2)
            for number, (phase, _) in enumerate(PHASES[:-1]):
                name = "lives-" + phase
                server = c.json("status")["server_pid"]
                c.submit(name, "--steps", STEPS, "--pause", 0.01, "--die", phase, "--die-whom", server,
                         "--fault-rank", number % 2, "--fault-step", AT, nodes=2)
                with self.subTest(phase=phase):
                    wait_for(lambda: c.json("status")["server_pid"] != server, "another server")
                    job = c.wait_job(name, "succeeded")
                    self.assertEqual(job["attempt"]["number"], "a1")
                    self.assertEqual(c.weights(name), weights)

    def test_the_snapshot_server_dies(self):
        with Cluster(2, 0) as c:
            weights = self.calm(c, 2)
            c.submit("goes-on", "--steps", 150, nodes=2)
            c.wait_step("goes-on", 12)
            for pid in wait_for(lambda: c.roles().get("snapshots"), "snapshot servers"):
                os.kill(pid, signal.SIGKILL)
            step = c.job("goes-on")["committed_step"]
            # Ranks go on with memory of their own, and commit.
            wait_for(lambda: c.job("goes-on")["committed_step"] > step + 10, "commits go on")
            c.cli("chaos", "rank-kill", "goes-on", "--rank", "1")
            job = c.wait_job("goes-on", "succeeded")
            self.assertEqual(job["attempt"]["number"], "a2")
            self.assertGreater(c.incidents_of("goes-on")[0]["restored_step"], step)
            self.assertTrue(weights)

    def test_a_lost_node_costs_one_save_where_nothing_is_on_the_disk(self):
        with Cluster(3, 1) as c:
            weights = self.calm(c, 3)
            for number in (0, 1, 2):
                name = "lost-%d" % number
                c.submit(name, "--steps", STEPS, "--every", 1, "--no-disk-from", 5, nodes=3)
                job = c.wait_step(name, 20)
                c.cli("chaos", "node-kill", job["attempt"]["nodes"][number])
                c.wait_job(name, "succeeded")
                self.assertEqual(c.weights(name), weights)
                incident = c.incidents_of(name)[0]
                self.assertGreaterEqual(incident["restored_step"], 19, incident)
                self.assertLessEqual(incident["steps_lost"], 2, incident)
                wait_for(lambda: [n["state"] for n in c.nodes().values()].count("healthy") == 4, "a spare")

    def test_memory_goes_with_the_job_and_with_the_cluster(self):
        with Cluster(1, 0) as c:
            c.submit("a", "--steps", 20, nodes=1)
            c.wait_job("a", "succeeded")
            server = wait_for(lambda: c.roles().get("snapshots"), "a snapshot server")[0]

            def held():
                with open("/proc/%d/smaps_rollup" % server) as file:
                    return [int(line.split()[1]) for line in file if line.startswith("Pss_Shmem:")][0]
            wait_for(lambda: held() < 64, "the job's memory is free")
            c.cli("down")
            wait_for(lambda: not os.path.exists("/proc/%d" % server), "the server ends with its node")

    def test_the_command_line_sees_what_was_saved(self):
        with Cluster(2, 0) as c:
            c.submit("a", "--steps", 20, nodes=2)
            c.wait_job("a", "succeeded")
            folder = os.path.join(c.folder, "a-checkpoints")
            commits = json.loads(c.cli("checkpoint", "verify", folder, "--json"))["commits"]
            self.assertEqual([commit["step"] for commit in commits], [20, 15, 10])
            self.assertEqual({commit["problem"] for commit in commits}, {None})
            shown = json.loads(c.cli("checkpoint", "show", folder, "--json"))
            self.assertEqual((shown["step"], shown["world_size"]), (20, 2))
            self.assertIn("model.0.weight", [t["name"] for t in shown["shards"][0]["tensors"]])
            path = os.path.join(folder, "attempt-0001/step-00000015/rank-0001.shard")
            os.truncate(path, os.path.getsize(path) - 4096)
            done = subprocess.run([HOLDFAST, "checkpoint", "verify", folder], stdout=subprocess.PIPE,
                                  universal_newlines=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn("HF3006: " + path, done.stdout)
            self.assertEqual(json.loads(c.cli("checkpoint", "prune", folder, "--keep", "2", "--json")),
                             {"kept": 2, "removed": 1})


if __name__ == "__main__":
    unittest.main(verbosity=2)
