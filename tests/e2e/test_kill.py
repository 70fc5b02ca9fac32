"""kill -9 of any process at any moment: control plane, its keeper, agents, warm parents, ranks, their
helpers, the client that watches. The job always ends with the weights of an undisturbed one, nothing is
left behind, and the journal replays.

A seed fixes the choices; the moments depend on the machine as well, so a seed that failed may pass the
next time. HOLDFAST_KILL_SEEDS="3 17" runs those.
"""
import os
import random
import signal
import subprocess
import sys
import time
import unittest

from cluster import ENDED, HOLDFAST, PYTHON, TRAIN, Cluster, ClusterTest, wait_for

SHORT, LONG = (1, 2, 3), tuple(range(4, 20))
STEPS, KILLS = 160, 6
KINDS = ("server", "keeper", "agent", "warm", "rank", "helper", "client", "any", "server+agent",
         "agent+agent", "server+keeper", "snapshots", "snapshots+rank")


class KillTest(ClusterTest):
    def disturb(self, c, random_, client):
        for _ in range(KILLS):
            # tidy: allow sleep, because the moment of a kill is the point
            time.sleep(random_.choice((0, 0.02, 0.1, 0.3, 0.8, 1.5)))
            for kind in random_.choice(KINDS).split("+"):
                self.kill_one(c, random_, kind, client)

    def kill_one(self, c, random_, kind, client):
        if kind == "client":
            return client.kill()
        processes = c.roles()
        if kind == "any":
            kind = random_.choice(sorted(processes))
        victims = sorted(processes.get(kind, []))
        if victims:
            victim = random_.choice(victims)
            c.story.append("%.2f kill %s %d" % (time.monotonic() - c.began, kind, victim))
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def one(self, seed, undisturbed):
        random_ = random.Random(seed)
        with Cluster(3, 2) as c:
            c.began, c.story = time.monotonic(), []
            try:
                # Under a shell, and with data loaders, so that there is more than one process to a rank.
                shell = random_.random() < 0.5
                command = [PYTHON, TRAIN, "--steps", str(STEPS), "--workers", "1"]
                if shell:
                    command = ["/bin/sh", "-c", " ".join(command) + "; exit $?"]
                name = "seed-%d" % seed
                client = subprocess.Popen(
                    [HOLDFAST, "run", "--name", name, "--nodes", "3", "--checkpoint-folder",
                     os.path.join(c.folder, "checkpoints"), "--hang-stall-s", "3",
                     "--hang-first-step-s", "20", "--"] + command,
                    cwd=c.folder, env=dict(os.environ, HOLDFAST_STATE=c.state),
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                wait_for(lambda: any(j["spec"]["name"] == name for j in c.json("job", "list")["jobs"]), "the job")
                self.disturb(c, random_, client)
                self.bring_back(c)
                job = c.wait_job(name, ENDED, 150)
                self.assertEqual(job["state"], "succeeded", job["reason"])
                self.assertEqual(c.weights(name), undisturbed)
                self.assertEqual([j["id"] for j in c.json("job", "list")["jobs"]], ["j1"], "once")
                for incident in c.incidents():
                    self.assertEqual(incident["state"], "recovered", incident)
                client.kill()
                client.wait()
                c.cli("down")
                self.assertEqual(c.processes(), {}, "nothing is left behind")
                self.assertEqual(c.servers(), {}, "nothing is left behind")
                c.cli("up")  # the journal replays
                self.assertEqual(c.job(name)["state"], "succeeded")
                self.assertTrue(c.story, "nothing was killed")
            except BaseException:
                sys.stderr.write("seed %d:\n%s\n" % (seed, "\n".join(c.story)))
                raise

    def bring_back(self, c):
        """A person's answer to a control plane and keeper that were killed at the same moment."""
        if c.call("status").returncode == 3:
            wait_for(lambda: c.call("status").returncode == 0 or c.call("up").returncode == 0, "up again")

    def undisturbed(self):
        with Cluster(3, 0) as c:
            c.submit("calm", "--steps", STEPS, nodes=3)
            c.wait_job("calm", "succeeded")
            return c.weights("calm")

    def run_seeds(self, seeds):
        if os.environ.get("HOLDFAST_KILL_SEEDS"):
            seeds = [int(seed) for seed in os.environ["HOLDFAST_KILL_SEEDS"].split()]
        undisturbed = self.undisturbed()
        for seed in seeds:
            with self.subTest(seed=seed):
                self.one(seed, undisturbed)


class Short(KillTest):
    def test_a_few_seeds(self):
        self.run_seeds(SHORT)


class Full(KillTest):
    def test_many_seeds(self):
        self.run_seeds(LONG)


if __name__ == "__main__":
    unittest.main(verbosity=2)
