"""Bad input of every kind: the exit code and the error code say what to do, the text names the field,
its value and the remedy, and nothing has changed."""
import hmac
import json
import os
import shutil
import socket
import subprocess
import unittest

from cluster import HOLDFAST, PYTHON, TRAIN, Cluster, ClusterTest, wait_for

BAD_INPUT, UNAVAILABLE, NOT_FOUND, REFUSED, MACHINE, DENIED = 2, 3, 4, 5, 6, 7


class InputTest(ClusterTest):
    def refused(self, done, status, code, *said):
        """One line on standard error, none on standard output."""
        self.assertEqual(done.returncode, status, done.stderr + done.stdout)
        self.assertEqual(done.stdout, "")
        for text in (code,) + said:
            self.assertIn(text, done.stderr)
        self.assertEqual(done.stderr.strip().count("\n"), 0, done.stderr)


class JobFiles(InputTest):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(2, 1).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def submit(self, text, name="job.yaml"):
        path = os.path.join(self.cluster.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return self.cluster.call("job", "submit", path)

    def file(self, **changes):
        job = {"name": "fine", "nodes": 2, "command": [PYTHON, TRAIN], "working_folder": self.cluster.folder}
        job.update(changes)
        return json.dumps(job)

    def check(self, done, status, code, *said):
        self.refused(done, status, code, *said)
        self.assertEqual([job["id"] for job in self.cluster.json("job", "list")["jobs"]], [])

    def test_job_files(self):
        folder = self.cluster.folder
        for changes, status, code, said in (
            ({"nodse": 2}, BAD_INPUT, "HF1002", ("nodse", "did you mean", "nodes")),
            ({"nodes": {"min": 1, "max": 2, "most": 3}}, BAD_INPUT, "HF1002", ("nodes.most",)),
            ({"nodes": "two"}, BAD_INPUT, "HF1001", ("nodes", "two")),
            ({"nodes": 0}, BAD_INPUT, "HF1001", ("nodes", "0")),
            ({"nodes": -1}, BAD_INPUT, "HF1001", ("nodes", "-1")),
            ({"nodes": 1.5}, BAD_INPUT, "HF1001", ("nodes", "1.5")),
            ({"nodes": 3}, REFUSED, "HF1006", ("nodes", "3", "has 2", "ask for fewer")),
            ({"nodes": {"min": 2, "max": 1}}, BAD_INPUT, "HF1001", ("nodes",)),
            ({"ranks_per_node": 0}, BAD_INPUT, "HF1001", ("ranks_per_node", "0")),
            ({"name": "No Such Name"}, BAD_INPUT, "HF1001", ("name", "No Such Name")),
            ({"command": []}, BAD_INPUT, "HF1001", ("command",)),
            ({"command": {"run": "it"}}, BAD_INPUT, "HF1001", ("command",)),
            ({"command": [PYTHON, "nowhere.py"]}, BAD_INPUT, "HF1001",
             ("command", folder + "/nowhere.py", "check its name")),
            ({"command": ["no-such-program"]}, BAD_INPUT, "HF1001", ("command", "no-such-program")),
            ({"working_folder": "/nowhere"}, BAD_INPUT, "HF1001", ("working_folder", "/nowhere")),
            ({"checkpoint": {"folder": "/nowhere/at/all"}}, BAD_INPUT, "HF1001",
             ("checkpoint.folder", "/nowhere/at")),
            ({"checkpoint": {"folder": folder + "/c", "every": 3}}, BAD_INPUT, "HF1002",
             ("checkpoint.every",)),
            ({"hang": {"stall_s": "soon"}}, BAD_INPUT, "HF1001", ("hang.stall_s", "soon")),
            ({"retry": {"attempts_without_progress_max": 0}}, BAD_INPUT, "HF1001",
             ("retry.attempts_without_progress_max", "0")),
            ({"memory_limit": "much"}, BAD_INPUT, "HF1001", ("memory_limit", "much")),
            ({"environment": ["A=1"]}, BAD_INPUT, "HF1001", ("environment",)),
        ):
            with self.subTest(str(changes)):
                self.check(self.submit(self.file(**changes)), status, code, *said)
        self.check(self.submit("name: [unclosed"), BAD_INPUT, "HF1007", "job.yaml")
        self.check(self.submit(""), BAD_INPUT, "HF1", "job.yaml")
        self.check(self.submit("name: a\nname: b\n"), BAD_INPUT, "HF1", "name")
        self.check(self.cluster.call("job", "submit", "/nowhere/job.yaml"), NOT_FOUND, "HF1003",
                   "/nowhere/job.yaml")

    @unittest.skipIf(os.geteuid() != 0, "needs a user without rights: run as root")
    def test_a_folder_that_may_not_be_read(self):
        folder = os.path.join(self.cluster.folder, "secret")
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0)
        # As a user whom modes stop. The state folder is the operator's, so the check comes before it.
        job = os.path.join("/tmp", os.path.basename(self.cluster.folder) + "-secret.yaml")
        self.addCleanup(os.unlink, job)
        with open(job, "w") as file:
            file.write(self.file(working_folder=folder))
        os.chmod(self.cluster.folder, 0o755)
        done = self.cluster.call("job", "submit", job, user="nobody")
        self.check(done, BAD_INPUT, "HF1001", "working_folder", folder, "not readable")

    def test_a_name_that_is_taken(self):
        c = self.cluster
        c.submit("taken", nodes=1, checkpoint=False, command=["/bin/sleep", "1000"])
        try:
            before = c.job("taken")
            self.refused(self.submit(self.file(name="taken")), REFUSED, "HF1004", "name", "'taken'",
                         "choose another name or stop it")
            self.assertEqual([job["id"] for job in c.json("job", "list")["jobs"]], [before["id"]])
        finally:
            c.end_job("taken")
        type(self).tearDownClass()
        type(self).setUpClass()  # the other tests count jobs

    def test_what_does_not_exist(self):
        c = self.cluster
        self.check(c.call("job", "describe", "nobody"), NOT_FOUND, "HF1003", "nobody")
        self.check(c.call("job", "stop", "nobody"), NOT_FOUND, "HF1003", "nobody")
        self.check(c.call("job", "logs", "nobody"), NOT_FOUND, "HF1003", "nobody")
        self.check(c.call("incident", "show", "i9"), NOT_FOUND, "HF1003", "i9")
        self.check(c.call("node", "replace", "n99"), NOT_FOUND, "HF1003", "n99")
        self.check(c.call("chaos", "node-kill", "n99"), REFUSED, "HF1005", "n99")
        self.check(c.call("chaos", "rank-kill", "nobody"), NOT_FOUND, "HF1003", "nobody")
        self.check(c.call("breaker", "close"), REFUSED, "HF1005", "closed already")
        self.check(c.call("frobnicate"), BAD_INPUT, "", "frobnicate", "--help")
        self.check(c.call("run", "--nodse", "2", "true"), BAD_INPUT, "", "--nodse", "--nodes")


class Folders(InputTest):
    """State folders, ports and certificates: none of these needs a job."""

    def setUp(self):
        self.cluster = Cluster(1, 0).__enter__()

    def tearDown(self):
        self.cluster.__exit__(None, None, None)

    def up(self, state, *options):
        return self.cluster.call("up", "--nodes", "1", "--spares", "0", *options, "--state", state)

    def tree(self, folder):
        found = {}
        for path, _, names in os.walk(folder):
            for name in names:
                with open(os.path.join(path, name), "rb") as file:
                    found[os.path.join(path, name)] = file.read()
        return found

    def test_a_folder_of_somebody_else(self):
        foreign = os.path.join(self.cluster.folder, "foreign")
        os.makedirs(foreign)
        with open(os.path.join(foreign, "thesis.tex"), "w") as file:
            file.write("all of it")
        before = self.tree(foreign)
        self.refused(self.up(foreign), MACHINE, "HF3002", foreign, "thesis.tex", "--state")
        self.assertEqual(self.tree(foreign), before)

    def test_a_corrupt_state_folder(self):
        c = self.cluster
        c.cli("down")
        journal = os.path.join(c.state, "journal.db")
        with open(os.path.join(c.state, "cluster.json")) as file:
            config = file.read()
        for name, content, code, said in (
            ("cluster.json", config[:40], "HF3002", "cluster.json"),
            ("cluster.json", config.replace('"count": 1', '"count": "many"'), "HF3002", "cluster.json"),
            ("journal.db", b"not a database, but long enough to look like something" * 100, "HF3002",
             "journal.db"),
            ("ca/ca.key", b"-----BEGIN NOTHING-----\n", "HF3002", "ca.key"),
        ):
            with self.subTest(name):
                path = os.path.join(c.state, name)
                with open(path, "rb") as file:
                    good = file.read()
                for extra in ("journal.db-wal", "journal.db-shm"):
                    if name == "journal.db" and os.path.exists(os.path.join(c.state, extra)):
                        os.unlink(os.path.join(c.state, extra))
                with open(path, "wb") as file:
                    file.write(content if isinstance(content, bytes) else content.encode())
                self.refused(c.call("up"), MACHINE, code, said)
                with open(path, "rb") as file:
                    self.assertEqual(file.read(), content if isinstance(content, bytes) else content.encode())
                with open(path, "wb") as file:
                    file.write(good)
        self.assertTrue(os.path.exists(journal))
        c.cli("up")  # as if nothing had been

    def test_a_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            state = os.path.join(self.cluster.folder, "second")
            self.refused(self.up(state, "--port", port), MACHINE, "HF3003", port)
        self.assertFalse(os.path.exists(state))

    def test_two_servers_on_one_folder(self):
        c = self.cluster
        before = c.server_pid()
        done = c.call("server", "--state", c.state)
        self.assertEqual(done.returncode, MACHINE, done.stderr)
        self.assertIn("HF3001", done.stderr)
        self.assertIn("process %d" % before, done.stderr)
        self.assertEqual(c.server_pid(), before)
        # `up` on a cluster that is up tells that it is.
        self.assertEqual(c.call("up").returncode, 0)
        self.assertEqual(c.server_pid(), before)
        self.refused(c.call("up", "--nodes", "3"), REFUSED, "HF1005", "nodes", "has 1, not 3")

    def test_agents_that_do_not_belong(self):
        c = self.cluster
        with open(os.path.join(c.state, "cluster.json")) as file:
            config = json.load(file)
        folder = os.path.join(c.folder, "stranger")
        os.makedirs(folder)

        def agent(token, ca=os.path.join(c.state, "ca/ca.crt")):
            with open(os.path.join(folder, "join.token"), "w") as file:
                file.write(token)
            return c.call("agent", "--server", "127.0.0.1:%d" % config["link_port"], "--ca", ca,
                          "--cluster", config["uuid"], "--folder", folder)

        with open(os.path.join(c.state, "nodes/n1/join.token")) as file:
            used = file.read()
        before = c.nodes()
        node, _, proof = used.split(".")
        for token, code, said in ((used, "HF4001", "has joined before"), ("nonsense", "HF4001", "token"),
                                  ("%s.1700000000.%s" % (node, proof), "HF4001", "token"),
                                  (self.expired_token(c), "HF4002", "expired at 2023-11-14")):
            done = agent(token)
            self.assertEqual(done.returncode, DENIED, done.stderr)
            self.assertIn(code, done.stderr)
            self.assertIn(said, done.stderr)
        with Cluster(1, 0) as other:
            done = agent(used, os.path.join(other.state, "ca/ca.crt"))
            self.assertIn(done.returncode, (DENIED, UNAVAILABLE), done.stderr)
            self.assertIn("HF", done.stderr)
            # A client with another cluster's certificate.
            stolen = os.path.join(c.folder, "stolen")
            os.makedirs(stolen)
            shutil.copytree(os.path.join(other.state, "client"), os.path.join(stolen, "client"))
            shutil.copytree(os.path.join(c.state, "ca"), os.path.join(stolen, "ca"))
            shutil.copy(os.path.join(c.state, "client.json"), stolen)
            done = subprocess.run([HOLDFAST, "status", "--state", stolen], stderr=subprocess.PIPE,
                                  universal_newlines=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("HF4001", done.stderr)
        self.assertEqual({n: v["state"] for n, v in c.nodes().items()},
                         {n: v["state"] for n, v in before.items()})

    def expired_token(self, c):
        """As the cluster itself would have made it in 2023 (io/join_token.h)."""
        def mac(key, text):
            return hmac.new(key, text.encode(), "sha256")
        key = subprocess.run(["openssl", "pkey", "-in", os.path.join(c.state, "ca/ca.key"), "-outform",
                              "DER"], stdout=subprocess.PIPE, check=True).stdout
        with open(os.path.join(c.state, "cluster.json")) as file:
            uuid = json.load(file)["uuid"]
        proof = mac(mac(key, "holdfast join token").digest(), uuid + "/n1.1700000000")
        return "n1.1700000000." + proof.hexdigest()[:32]

    def test_a_truncated_manifest(self):
        c = self.cluster
        c.submit("cut", "--steps", 20, "--every", 5, nodes=1)
        c.wait_job("cut", "succeeded")
        folder = os.path.join(c.folder, "cut-checkpoints/attempt-0001")
        manifest = os.path.join(folder, "step-00000020/manifest.json")
        with open(manifest, "r+") as file:
            file.truncate(30)
        done = subprocess.run([PYTHON, "-m", "holdfast.checkpoint", "verify",
                               os.path.dirname(folder)], stdout=subprocess.PIPE, universal_newlines=True,
                              env=dict(os.environ, PYTHONPATH=os.path.join(c.state, "nodes/n1/python")))
        self.assertEqual(done.returncode, 1)
        self.assertIn(manifest + ": cannot be read", done.stdout)
        c.submit("cut", "--steps", 30, "--every", 5, nodes=1)
        c.wait_job("cut", "succeeded")
        self.assertIn("from step 15", c.log("cut"))
        self.assertIn("step 20 is left out: " + manifest + ": cannot be read", c.log("cut"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
