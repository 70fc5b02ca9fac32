"""Against a real S3 server: OpenStack Swift (swift.py). The client alone, checkpoints that are copied there
and back, and a job whose checkpoint folder is a bucket."""
import filecmp
import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest

import swift
from cluster import HOLDFAST, Cluster, ClusterTest, wait_for

TRANSFER = os.path.join(os.path.dirname(HOLDFAST), "s3_transfer")
FOLDER = SERVER = None


def setUpModule():
    global FOLDER, SERVER
    lacking = swift.missing()
    if lacking:
        raise unittest.SkipTest("not on this machine: " + ", ".join(lacking))
    FOLDER = tempfile.mkdtemp(prefix="holdfast-swift-")
    SERVER = swift.Server(FOLDER)
    SERVER.make_bucket("bucket")
    os.environ.update(SERVER.environment)


def tearDownModule():
    if SERVER is not None:
        SERVER.stop()
        shutil.rmtree(FOLDER, ignore_errors=True)


def run(*words, status=0, **environment):
    done = subprocess.run([str(word) for word in words], env=dict(os.environ, **environment), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, universal_newlines=True, timeout=300)
    assert done.returncode == status, "%s: status %d\n%s%s" % (words, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


class Client(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="holdfast-test-")
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, name, size):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(os.urandom(size))
        return path

    def test_what_is_put_is_what_is_got(self):
        for size in (0, 1, (1 << 20) + 7, 40 << 20):
            with self.subTest(size=size):
                path, back = self.file("sent", size), os.path.join(self.folder, "got")
                url = "s3://bucket/client/a b+c%%/\u00e9/%d" % size
                run(TRANSFER, "put", path, url)
                run(TRANSFER, "get", url, back)
                self.assertTrue(filecmp.cmp(path, back, shallow=False))
        listed = run(TRANSFER, "list", "s3://bucket/client/")
        self.assertIn("41943040 client/a b+c%/\u00e9/41943040\n", listed)
        run(TRANSFER, "remove", url)
        self.assertNotIn("41943040 client", run(TRANSFER, "list", "s3://bucket/client/"))
        self.assertIn("HF1003", run(TRANSFER, "get", url, back, status=1))

    def test_a_killed_upload_is_aborted_later(self):
        path = self.file("large", 200 << 20)
        process = subprocess.Popen([TRANSFER, "put", path, "s3://bucket/killed/large"], stdout=subprocess.DEVNULL)
        self.addCleanup(process.kill)
        wait_for(lambda: "killed/large/" in SERVER.parts("bucket") or process.poll() is not None, "a part is there")
        process.kill()
        self.assertEqual(process.wait(), -signal.SIGKILL, "the upload was too fast for this test")
        self.assertNotIn("killed", run(TRANSFER, "list", "s3://bucket/killed"))
        self.assertIn("1 uploads aborted", run(TRANSFER, "abort", "s3://bucket/killed"))
        self.assertIn("0 uploads aborted", run(TRANSFER, "abort", "s3://bucket/killed"))

    def test_wrong_keys_are_refused_and_not_shown(self):
        said = run(TRANSFER, "list", "s3://bucket/x", status=1, AWS_SECRET_ACCESS_KEY="hunter2")
        self.assertIn("HF4003", said)
        self.assertIn("SignatureDoesNotMatch", said)
        self.assertNotIn("hunter2", said)
        self.assertIn("HF1003", run(TRANSFER, "list", "s3://nobody-has-this/x", status=1))

    def test_keys_from_a_profile(self):
        credentials = os.path.join(self.folder, "credentials")
        with open(credentials, "w") as file:
            file.write("[dev]\naws_access_key_id = %s\naws_secret_access_key = %s\n" %
                       (swift.ACCESS_KEY, swift.SECRET_KEY))
        run(TRANSFER, "list", "s3://bucket/x", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_PROFILE="dev",
            AWS_SHARED_CREDENTIALS_FILE=credentials)


    def test_the_bucket_in_the_name_of_the_host(self):
        config = os.path.join(self.folder, "config")
        with open(config, "w") as file:
            file.write("[default]\ns3 =\n  addressing_style = virtual\n")
        path, back = self.file("sent", 17 << 20), os.path.join(self.folder, "got")
        virtual = {"AWS_CONFIG_FILE": config, "AWS_ENDPOINT_URL": SERVER.endpoint.replace("127.0.0.1", "localhost")}
        run(TRANSFER, "put", path, "s3://bucket/virtual/x", **virtual)
        run(TRANSFER, "get", "s3://bucket/virtual/x", back, **virtual)
        self.assertTrue(filecmp.cmp(path, back, shallow=False))


class Tier(ClusterTest):
    def test_a_job_lives_on_its_bucket(self):
        with Cluster(2, 0) as c:
            c.submit("calm", "--steps", 60, nodes=2)
            c.wait_job("calm", "succeeded")
            url = "s3://bucket/jobs/far"
            c.submit("far", "--steps", 60, "--every", 10, "--pause", 0.1, nodes=2, checkpoint_folder=url)
            wait_for(lambda: (c.job("far")["committed_step"] or 0) >= 10, "a commit")
            committed = c.job("far")["committed_step"]
            # Nothing of it is left in the nodes' memory.
            for pid in c.roles()["snapshots"]:
                os.kill(pid, signal.SIGKILL)
            c.cli("chaos", "rank-kill", "far", "--rank", "1")
            done = c.wait_job("far", "succeeded", 180)
            self.assertEqual(done["attempt"]["number"], "a2")
            self.assertGreaterEqual(c.incidents_of("far")[0]["restored_step"], committed)
            self.assertEqual(c.weights("far"), c.weights("calm"))
            rows = json.loads(run(HOLDFAST, "checkpoint", "verify", url, "--json"))["commits"]
            self.assertEqual(rows[0]["step"], 60)
            self.assertTrue(all(row["problem"] is None for row in rows), rows)
            self.copies(c, url)

    def copies(self, c, url):
        near, again = os.path.join(c.folder, "near"), "s3://bucket/jobs/again"
        run(HOLDFAST, "checkpoint", "copy", url, near)
        run(HOLDFAST, "checkpoint", "copy", near, again, "--keep", 2)
        run(HOLDFAST, "checkpoint", "verify", again)
        for where in (url, near, again):
            out = os.path.join(c.folder, "model.safetensors")
            run(HOLDFAST, "checkpoint", "export", where, out, "--object", "model")
            with open(out, "rb") as file:
                content = file.read()
            length, = struct.unpack("<Q", content[:8])
            header = json.loads(content[8:8 + length])
            self.assertEqual(header.pop("__metadata__")["holdfast_step"], "60")
            self.assertEqual(sorted(header), ["0.bias", "0.weight", "2.bias", "2.weight"])
            self.assertEqual(header["0.weight"]["shape"], [64, 32])
        # Nothing of a store that answers nonsense becomes a checkpoint.
        said = run(HOLDFAST, "checkpoint", "list", "s3://bucket/nothing", status=4)
        self.assertIn("has no commit", said)



class Lifecycle(ClusterTest):
    """A group's LifeCycleConfig whose SourceS3Uri is in the store."""

    def cluster(self, prefix):
        """One node of a cluster of the API, whose scripts are below the prefix."""
        return {"ClusterName": "ml", "InstanceGroups": [{
            "InstanceGroupName": "workers", "InstanceCount": 1, "InstanceType": "ml.g5.8xlarge",
            "ExecutionRole": "arn:aws:iam::123456789012:role/hyperpod",
            "LifeCycleConfig": {"SourceS3Uri": "s3://bucket/" + prefix, "OnCreate": "on_create.sh"}}]}

    def create(self, c, prefix):
        path = os.path.join(c.folder, "cluster.json")
        with open(path, "w") as file:
            json.dump(self.cluster(prefix), file)
        c.cli("cluster", "create", "-f", path)

    def put(self, c, name, text):
        path = os.path.join(c.folder, "object")
        with open(path, "w") as file:
            file.write(text)
        run(TRANSFER, "put", path, "s3://bucket/" + name)

    def describe(self, c):
        return c.json("cluster", "describe", "ml")

    def wait_message(self, c, *parts):
        def told():
            message = self.describe(c).get("FailureMessage", "")
            return all(part in message for part in parts)
        wait_for(told, "a FailureMessage with %s" % (parts,), 120)

    def wait_in_service(self, c):
        wait_for(lambda: self.describe(c)["ClusterStatus"] == "InService", "the node works", 120)
        self.assertEqual(self.describe(c).get("FailureMessage", ""), "")
        nodes = c.json("--cluster", "ml", "node", "list")["nodes"]
        self.assertEqual([node["id"] for node in nodes], ["n1"], "no machine was to blame")

    def test_what_is_missing_is_told_and_waited_for(self):
        with Cluster(1, 0) as c:
            self.create(c, "life/late")
            self.wait_message(c, "s3://bucket/life/late", "no objects")
            self.put(c, "life/late/tools/greet.sh", "echo hello from $HOLDFAST_NODE\n")
            self.wait_message(c, "'on_create.sh' is not there")
            self.put(c, "life/late/on_create.sh", "#!/bin/sh\n. ./tools/greet.sh\n")
            self.wait_in_service(c)
            self.assertIn("hello from n1", c.cli("--cluster", "ml", "node", "logs", "n1"))
            c.cli("cluster", "delete", "ml")

    def test_a_store_that_is_down_is_waited_for(self):
        with Cluster(1, 0) as c:
            self.put(c, "life/down/on_create.sh", "#!/bin/sh\nexit 0\n")
            SERVER.stop_proxy()
            try:
                self.create(c, "life/down")
                self.wait_message(c, "lifecycle scripts cannot be read", "bucket")
            finally:
                SERVER.start_proxy()
            self.wait_in_service(c)
            c.cli("cluster", "delete", "ml")

    def test_keys_that_are_refused_are_told_and_tried_again(self):
        keys = tempfile.NamedTemporaryFile("w", prefix="holdfast-keys-")
        self.addCleanup(keys.close)

        def write_keys(secret):
            keys.seek(0)
            keys.truncate()
            keys.write("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n"
                       % (swift.ACCESS_KEY, secret))
            keys.flush()
        write_keys("hunter2")
        self.addCleanup(os.environ.update, SERVER.environment)
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = keys.name
        del os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        with Cluster(1, 0) as c:
            self.create(c, "life/keys")
            self.wait_message(c, "SignatureDoesNotMatch")
            self.assertNotIn("hunter2", json.dumps(self.describe(c)))
            write_keys(swift.SECRET_KEY)
            self.put(c, "life/keys/on_create.sh", "#!/bin/sh\nexit 0\n")
            self.wait_in_service(c)
            c.cli("cluster", "delete", "ml")


if __name__ == "__main__":
    unittest.main()
