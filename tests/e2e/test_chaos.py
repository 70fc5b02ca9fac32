"""`holdfast chaos`, as a person would try it, and the disk that fills."""
import os
import subprocess
import unittest

from cluster import Cluster, ClusterTest, wait_for


class Chaos(ClusterTest):
    def test_each_command_says_what_it_did_and_where_to_look(self):
        with Cluster(3, 1, "--breaker-percent", "100") as c:
            c.submit("a", "--steps", 100000, nodes=3, hang={"stall_s": 3})
            attempt = 1

            def chaos(*arguments, says, recovers=True):
                nonlocal attempt
                c.wait_own_steps("a", attempt)
                said = c.cli("chaos", *arguments)
                for text in says:
                    self.assertIn(text, said)
                if recovers:
                    attempt += 1
                    c.wait_own_steps("a", attempt)

            chaos("rank-kill", "a", "--rank", "1", says=("rank 1", "job top a"))
            chaos("hang", "a", "--rank", "2", says=("rank 2",))
            chaos("oom", "a", says=("rank 0",))
            chaos("node-kill", c.job("a")["attempt"]["nodes"][0], says=("events --follow",))
            node = c.job("a")["attempt"]["nodes"][1]
            chaos("kmsg", node, "an ordinary line", says=(node,), recovers=False)
            wait_for(lambda: c.nodes()[node]["state"] == "healthy", "an ordinary line touches nothing")
            # Frozen for less than the silence that counts as death: nothing happens.
            chaos("node-freeze", node, "--for", "0.5", says=("runs again",), recovers=False)
            self.assertEqual(c.job("a")["attempt"]["number"], "a%d" % attempt)
            chaos("node-freeze", node, "--for", "6", says=("runs again",))
            wait_for(lambda: node not in c.live_agents(), "the thawed node left")
            old = c.server_pid()
            chaos("server-kill", says=("process %d" % old, "jobs go on"), recovers=False)
            wait_for(lambda: c.call("status").returncode == 0 and c.server_pid() != old, "server back")
            self.assertEqual(c.job("a")["attempt"]["number"], "a%d" % attempt)
            c.end_job("a")
            self.assertIn("watch", c.call("chaos", "--help").stdout)

    @unittest.skipIf(os.geteuid() != 0, "mounts a small file system: run as root")
    def test_a_full_checkpoint_disk(self):
        with Cluster(2, 0) as c:
            disk = os.path.join(c.folder, "disk")
            os.mkdir(disk)
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", disk])
            if mounted.returncode != 0:
                self.skipTest("this machine lets us mount nothing")
            try:
                self.fill_and_empty(c, disk)
            finally:
                c.call("job", "stop", "a")
                c.wait_job("a", ("stopped", "succeeded", "failed"), 30)
                subprocess.run(["umount", "-l", disk], check=True)

    def fill_and_empty(self, c, disk):
        folder = os.path.join(disk, "checkpoints")
        c.submit("a", "--steps", 100000, nodes=2, checkpoint_folder=folder)
        committed = c.wait_step("a", 15)["committed_step"]
        said = c.cli("chaos", "disk-full", "--folder", disk)
        self.assertIn("is full", said)
        self.assertIn("chaos disk-full --folder %s --undo" % disk, said)
        alert = wait_for(lambda: [e for e in c.events() if e["kind"] == "checkpoint.failed"], "an alert")[0]
        self.assertEqual((alert["severity"], alert["job"]), ("alert", c.job("a")["id"]))
        for text in ("training goes on", "is intact", "No space left", folder, "free space there"):
            self.assertIn(text, alert["text"])
        # Training goes on, and the last commit is what it was.
        full = c.job("a")
        job = c.wait_step("a", full["step"] + 20)
        self.assertEqual((job["attempt"]["number"], job["committed_step"]), ("a1", full["committed_step"]))
        self.assertGreaterEqual(full["committed_step"], committed)
        # A restart while it is full goes on from what the nodes have in memory.
        c.cli("chaos", "rank-kill", "a", "--rank", "1")
        wait_for(lambda: c.incidents_of("a") and c.incidents_of("a")[0]["state"] != "open", "recovered")
        self.assertGreater(c.incidents_of("a")[0]["restored_step"], full["committed_step"])
        # With room again commits go on.
        c.cli("chaos", "disk-full", "--folder", disk, "--undo")
        wait_for(lambda: c.job("a")["committed_step"] > full["committed_step"], "a commit")
        wait_for(lambda: [e for e in c.events() if e["kind"] == "checkpoint.resumed"], "said so")
        c.wait_step("a", c.job("a")["step"] + 20)
        self.assertEqual(len([e for e in c.events() if e["kind"] == "checkpoint.failed"]), 1, "no flood")


if __name__ == "__main__":
    unittest.main(verbosity=2)
