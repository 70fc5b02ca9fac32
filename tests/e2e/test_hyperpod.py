"""HyperPod's API: AWS's own SDK for JavaScript through the whole life of a cluster."""
import json
import os
import shutil
import subprocess
import unittest

from cluster import HERE, Cluster, ClusterTest, wait_for

STEPS = os.path.join(HERE, "hyperpod")
# Beside the program that is tested, so that it is fetched once per build folder.
MODULES = os.path.join(os.path.dirname(os.path.abspath(os.environ.get(
    "HOLDFAST", os.path.join(HERE, "../../build/release/holdfast")))), "hyperpod-sdk")


def fetch_sdk():
    """The SDK at the version that package.json names; why not, where it cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "there is no Node.js here: install node and npm"
    os.makedirs(MODULES, exist_ok=True)
    shutil.copy(os.path.join(STEPS, "package.json"), MODULES)
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=MODULES,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    return None if done.returncode == 0 else "npm cannot get the SDK: " + done.stdout[-300:]


class SdkCluster(Cluster):
    def __init__(self, *arguments):
        self.access = None
        super().__init__(*arguments)

    def cli(self, *arguments):
        said = super().cli(*arguments)
        if arguments[0] == "up":
            self.access = json.loads(said)
        return said

    def node(self, script):
        environment = dict(os.environ, API_ENDPOINT=self.access["api_endpoint"],
                           API_REGION=self.access["region"],
                           API_KEY_ID=self.access["access_key_id"],
                           API_SECRET=self.access["secret_access_key"],
                           HOLDFAST_NODE_MODULES=MODULES)
        return subprocess.run(["node", os.path.join(STEPS, script)], env=environment, timeout=300,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True)


class Sdk(ClusterTest):
    @classmethod
    def setUpClass(cls):
        why = fetch_sdk()
        if why is not None:
            raise unittest.SkipTest(why)

    def test_the_whole_life_of_a_cluster(self):
        with SdkCluster(2, 1) as c:
            done = c.node("life.mjs")
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertTrue(done.stdout.endswith("done\n"), done.stdout)
            wait_for(lambda: not os.listdir(os.path.join(c.state, "clusters")), "and its folder", 10)
            self.assertEqual(c.json("status")["cluster"], "default", "the server's own lives on")


    def test_lifecycle_scripts(self):
        with SdkCluster(1, 0) as c:
            folder = os.path.join(c.state, "buckets", "scripts", "base")
            os.makedirs(folder)
            for name, text in (("on_create.sh", "grep -q workers $SAGEMAKER_RESOURCE_CONFIG_PATH"),
                               ("on_create_bad.sh", "echo the mount is gone; exit 9")):
                with open(os.path.join(folder, name), "w") as file:
                    file.write("#!/bin/sh\n" + text + "\n")
            done = c.node("scripts.mjs")
            self.assertEqual(done.returncode, 0, done.stdout)


class CommandLine(ClusterTest):
    def test_a_cluster_from_a_file_outlives_its_server(self):
        with Cluster(1, 0) as c:
            path = os.path.join(c.folder, "cluster.json")
            with open(path, "w") as file:
                json.dump({"ClusterName": "ml-2", "InstanceGroups": [{
                    "InstanceGroupName": "workers", "InstanceCount": 2,
                    "InstanceType": "ml.g5.8xlarge",
                    "ExecutionRole": "arn:aws:iam::123456789012:role/hyperpod"}]}, file)
            c.cli("cluster", "create", "-f", path, "--wait")
            c.cli("--cluster", "ml-2", "pool", "set", "workers", "--spares", "1")
            wait_for(lambda: self.running(c) == 3, "two nodes and a spare")
            # A job runs on it.
            c.cli("--cluster", "ml-2", "run", "--nodes", "2", "--", "/bin/true")
            c.cli("chaos", "server-kill")
            wait_for(lambda: c.call("status").returncode == 0, "server back")
            wait_for(lambda: self.running(c) == 3, "the other cluster is back too")
            refused = c.call("cluster", "create", "-f", path)
            self.assertEqual(refused.returncode, 5, refused.stderr)
            self.assertIn("ml-2", refused.stderr)
            c.cli("cluster", "delete", "ml-2")
            wait_for(lambda: c.call("cluster", "describe", "ml-2").returncode == 4, "it is gone")
            wait_for(lambda: not os.listdir(os.path.join(c.state, "clusters")), "and its folder")

    def running(self, c):
        return len([node for node in c.json("cluster", "nodes", "ml-2")["ClusterNodeSummaries"]
                    if node["InstanceStatus"]["Status"] == "Running"])


if __name__ == "__main__":
    unittest.main()
