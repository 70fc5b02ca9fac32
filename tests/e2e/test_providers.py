"""Machines from elsewhere: the example of docs/providers.md, exactly as it stands there, and lifecycle
scripts that make them nodes."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from cluster import Cluster, ClusterTest, HERE, HOLDFAST, wait_for

PROVIDERS = os.path.join(HERE, "../../docs/providers.md")
REBOOTS = "NVRM: Xid (PCI:0000:b9:00): 79, pid=1, GPU has fallen off the bus."


def write_example(folder):
    """The programs that docs/providers.md shows, and `holdfast` on the PATH."""
    with open(PROVIDERS) as file:
        programs = re.findall(r"^`(\w+)`:\n\n```sh\n(.*?)^```$", file.read(), re.M | re.S)
    assert sorted(name for name, _ in programs) == ["describe", "provision", "reboot", "terminate"]
    os.makedirs(folder)
    for name, text in programs:
        path = os.path.join(folder, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)


class ExecCluster(Cluster):
    def __init__(self, nodes, spares, *options):
        self.path = os.environ["PATH"]
        os.environ["PATH"] = os.path.dirname(os.path.abspath(HOLDFAST)) + ":" + self.path

        def prepare(folder):
            self.programs = os.path.join(folder, "programs")
            write_example(self.programs)
            return ["--provider", "exec:" + self.programs, "--host-root", "none",
                    "--breaker-percent", "100"]
        super().__init__(nodes, spares, *options, prepare=prepare)

    def __exit__(self, *what):
        try:
            super().__exit__(*what)
        finally:
            os.environ["PATH"] = self.path

    def machines(self):
        found = {}
        for cluster, _, files in os.walk(os.path.join(self.programs, "machines")):
            if "pid" in files:
                with open(os.path.join(cluster, "pid")) as file:
                    found[os.path.basename(cluster)] = int(file.read())
        return found

    def nodes(self):
        return {node["id"]: node for node in self.json("node", "list")["nodes"]}

    def wait_nodes(self, states, what, deadline_s=60):
        wait_for(lambda: {n: node["state"] for n, node in self.nodes().items()
                          if node["state"] != "gone"} == states or None, what, deadline_s)


@unittest.skipUnless(shutil.which("jq"), "the example needs jq, which is not installed")
class Exec(ClusterTest):
    def test_the_example_of_the_documentation(self):
        with ExecCluster(2, 1) as c:
            self.assertEqual(set(c.machines()), {"n1", "n2", "n3"})
            c.submit("hello", command=["/bin/true"], nodes=2, checkpoint=False)
            c.wait_job("hello", "succeeded")
            # A machine that dies is lost and another one comes.
            os.kill(c.machines()["n2"], signal.SIGKILL)
            c.wait_nodes({"n1": "healthy", "n3": "healthy", "n4": "healthy"}, "another machine")
            wait_for(lambda: set(c.machines()) == {"n1", "n3", "n4"}, "the dead one given back")
            # A node that is replaced is given back.
            c.cli("node", "replace", "n1")
            c.wait_nodes({"n3": "healthy", "n4": "healthy", "n5": "healthy"}, "a replacement")
            wait_for(lambda: set(c.machines()) == {"n3", "n4", "n5"}, "the old one given back")
            # One that must be rebooted keeps its name.
            before = c.machines()["n3"]
            c.cli("chaos", "kmsg", "n3", REBOOTS)
            wait_for(lambda: c.machines().get("n3", before) != before, "n3 restarted")
            c.wait_nodes({"n3": "healthy", "n4": "healthy", "n5": "healthy"}, "n3 back")
            agents = c.machines()
            c.cli("down")
            self.assertEqual(c.machines(), {})
            for pid in agents.values():
                self.assertFalse(os.path.exists("/proc/%d" % pid))

    def test_why_there_is_no_machine(self):
        with ExecCluster(1, 0) as c:
            with open(os.path.join(c.programs, "provision"), "w") as file:
                file.write("#!/bin/sh\necho 'quota of p5 is used up' >&2\nexit 1\n")
            c.cli("node", "replace", "n1")
            wait_for(lambda: any("quota of p5 is used up" in json.dumps(event)
                                 for event in c.json("events")["events"]), "the reason")

    def test_a_machine_with_other_software_must_be_asked_for(self):
        with ExecCluster(3, 0) as c:
            other = os.path.join(c.programs, "other")
            os.makedirs(other + "/proc/sys/kernel")
            with open(other + "/proc/sys/kernel/osrelease", "w") as file:
                file.write("5.4.0-odd\n")
            path = os.path.join(c.programs, "provision")
            with open(path) as file:
                text = file.read()
            started = 'setsid holdfast "$@"'
            self.assertIn(started, text)
            with open(path, "w") as file:
                file.write(text.replace(started, "export HOLDFAST_SPINE=s1 HOLDFAST_RACK=r7\n"
                                        "set -- $(printf '%s\\n' \"$@\" | sed 's|^none$|" + other +
                                        "|')\n" + started))
            c.cli("node", "replace", "n3")
            c.wait_nodes({"n1": "healthy", "n2": "healthy", "n4": "healthy"}, "the odd machine")
            labels = c.json("node", "describe", "n4")["labels"]
            self.assertEqual(labels["topology.k8s.aws/network-node-layer-1"], "s1")
            self.assertEqual(labels["topology.k8s.aws/network-node-layer-2"], "r7")
            self.assertEqual(labels["sagemaker.amazonaws.com/instance-group-name"], "workers")
            drift = {(one["node"], one["what"]): one["has"]
                     for one in c.json("cluster", "drift")["drift"]}
            self.assertEqual(drift["n4", "kernel"], "5.4.0-odd")
            self.assertEqual({node for node, _ in drift}, {"n4"})
            c.submit("careful", command=["/bin/true"], nodes=3, checkpoint=False)
            self.assertIn("n4 has ", c.wait_job("careful", "queued")["reason"])
            c.submit("bold", command=["/bin/true"], nodes=3, checkpoint=False, allow_drifted=True)
            c.wait_job("bold", "succeeded")
            c.submit("small", command=["/bin/true"], nodes=2, checkpoint=False,
                     instance_group="workers")
            c.wait_job("small", "succeeded")
            self.assertEqual(c.job("careful")["state"], "queued")

    def test_where_a_host_stands_is_read_from_slurms_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "topology.conf")
            host = socket.gethostname()
            with open(path, "w") as file:
                file.write("SwitchName=leaf7 Nodes=%s,other-[1-3]\nSwitchName=top Switches=leaf7\n" % host)
            with Cluster(1, 0, "--topology", path) as c:
                labels = c.json("node", "describe", "n1")["labels"]
                self.assertEqual([labels["topology.k8s.aws/network-node-layer-%d" % n] for n in (1, 2, 3)],
                                 ["top", "leaf7", host])
                with open(path, "w") as file:
                    file.write("SwitchName=leaf7 Nodes=other-[3-1]\n")
                other = os.path.join(folder, "state")
                refused = c.call("up", "--topology", path, "--state", other)
                self.assertEqual(refused.returncode, 2, refused.stderr)
                self.assertIn(path, refused.stderr)
                self.assertIn("'3-1' is no range", refused.stderr)
                self.assertFalse(os.path.exists(other))


class Waiting(ClusterTest):
    def test_another_provider_is_refused(self):
        with Cluster(1, 0) as c:
            refused = c.call("up", "--provider", "exec:" + c.folder)
            self.assertEqual(refused.returncode, 5, refused.stderr)
            self.assertIn("'local', not 'exec:" + c.folder, refused.stderr)
            c.cli("up", "--provider", "local", "--json")

    def test_up_that_is_interrupted_leaves_the_cluster_being_made(self):
        folder = tempfile.mkdtemp(prefix="holdfast-e2e-")
        programs, state = os.path.join(folder, "programs"), os.path.join(folder, "state")
        write_example(programs)
        with open(os.path.join(programs, "provision"), "w") as file:
            file.write("#!/bin/sh\n: > %s/asked\nexit 75\n" % folder)  # there is none yet
        up = subprocess.Popen([HOLDFAST, "up", "--nodes", "1", "--spares", "0", "--state", state,
                               "--provider", "exec:" + programs, "--host-root", "none"],
                              stderr=subprocess.PIPE, universal_newlines=True)
        environment = dict(os.environ, HOLDFAST_STATE=state)
        try:
            wait_for(lambda: os.path.exists(os.path.join(folder, "asked")), "a machine is asked for")
            up.send_signal(signal.SIGINT)
            said = up.communicate(timeout=30)[1]
            self.assertEqual(up.returncode, 130, said)
            self.assertIn("holdfast status", said)
            subprocess.run([HOLDFAST, "status"], env=environment, check=True, stdout=subprocess.DEVNULL)
        finally:
            up.kill()
            up.wait()
            subprocess.run([HOLDFAST, "down"], env=environment, check=True, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder)


class Lifecycle(ClusterTest):
    def scripts(self, text):
        def prepare(folder):
            scripts = os.path.join(folder, "scripts")
            os.makedirs(scripts)
            with open(os.path.join(scripts, "on_create.sh"), "w") as file:
                file.write("#!/bin/sh\n" + text)
            return ["--lifecycle", scripts]
        return prepare

    def test_a_node_works_after_its_scripts(self):
        script = ("echo this is $HOLDFAST_NODE\ngrep -c InstanceGroups $SAGEMAKER_RESOURCE_CONFIG_PATH\n"
                  "touch ../made\n")
        with Cluster(2, 1, prepare=self.scripts(script)) as c:
            for node in ("n1", "n2", "n3"):
                self.assertIn("this is " + node, c.cli("node", "logs", node, "--follow"))
                self.assertTrue(os.path.exists(c.state + "/nodes/%s/lifecycle/made" % node))
                described = c.json("node", "describe", node)
                self.assertEqual(described["lifecycle"]["status"], "Succeeded")

    def test_scripts_that_fail_cost_two_machines(self):
        with Cluster(1, 0, prepare=self.scripts("exit 0\n")) as c:
            with open(os.path.join(c.folder, "scripts/on_create.sh"), "w") as file:
                file.write("#!/bin/sh\necho the mount is gone\nexit 9\n")
            c.cli("node", "replace", "n1")
            failed = wait_for(lambda: [e for e in c.json("events")["events"]
                                       if e["kind"] == "node.lifecycle_failed"
                                       and e["severity"] == "alert"], "an alert", 120)
            self.assertIn("exit status 9", failed[0]["text"])
            self.assertIn("the mount is gone", failed[0]["text"])
            node = c.json("node", "describe", "n3")
            self.assertEqual(node["state"], "lifecycle_script")
            self.assertIn("the mount is gone", node["lifecycle"]["failure"])
            with open(os.path.join(c.folder, "scripts/on_create.sh"), "w") as file:
                file.write("#!/bin/sh\nexit 0\n")
            c.cli("node", "replace", "n3")
            wait_for(lambda: c.json("node", "describe", "n4")["state"] == "healthy", "n4 works")

    def files_of(self, c, node):
        """Its script; "" while other files come."""
        try:
            with open(os.path.join(c.state, "nodes", node, "lifecycle/scripts/on_create.sh")) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def request(self, c, body):
        path = os.path.join(c.folder, "request.json")
        with open(path, "w") as file:
            json.dump(body, file)
        return path

    def call(self, c, operation, body):
        return json.loads(c.cli("cluster", "call", operation, "-f", self.request(c, body)))

    def group(self, c):
        return self.call(c, "DescribeCluster", {"ClusterName": "default"})["InstanceGroups"][0]

    def update(self, c, **deployment):
        batch = {"MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}}
        self.call(c, "UpdateClusterSoftware", {"ClusterName": "default", "DeploymentConfig": dict(
            deployment, RollingUpdatePolicy=batch)})

    def test_an_update_whose_scripts_fail_gives_nodes_the_former_ones(self):
        with Cluster(2, 1, prepare=self.scripts("echo former\n")) as c:
            path = os.path.join(c.folder, "scripts/on_create.sh")
            with open(path, "w") as file:  # the spare is first, and n1 does not bear it
                file.write("#!/bin/sh\n[ $HOLDFAST_NODE = n3 ] || exit 7\n")
            self.update(c)
            wait_for(lambda: self.group(c)["SoftwareUpdateStatus"].startswith("Rollback"),
                     "it rolls back", 120)
            server = c.server_pid()
            os.kill(server, signal.SIGKILL)
            wait_for(lambda: c.json("status")["server_pid"] != server, "another server")
            wait_for(lambda: self.group(c)["SoftwareUpdateStatus"] == "RollbackComplete",
                     "all are back", 120)
            for node in ("n1", "n2", "n3"):
                self.assertIn("former", self.files_of(c, node))
                self.assertEqual(c.nodes()[node]["state"], "healthy")
            failed = [event["text"] for event in c.events() if event["kind"] == "update.failed"]
            self.assertIn("n1 did not come back: its lifecycle scripts have failed", failed[-1])
            self.assertIn("2 went back to the former lifecycle scripts, 0 did not", failed[-1])
            # A machine that comes now gets them too, until the next update.
            c.cli("node", "replace", "n2")
            wait_for(lambda: c.nodes().get("n4", {}).get("state") == "healthy", "n4 works")
            self.assertIn("former", self.files_of(c, "n4"))
            with open(path, "w") as file:
                file.write("#!/bin/sh\necho newer\n")
            self.update(c)
            wait_for(lambda: self.group(c)["SoftwareUpdateStatus"] == "Succeeded", "updated", 120)
            for node in ("n1", "n3", "n4"):
                self.assertIn("newer", self.files_of(c, node))

    def test_an_alarm_rolls_an_update_back(self):
        with Cluster(1, 1, prepare=self.scripts("echo former\n")) as c:
            with open(os.path.join(c.folder, "scripts/on_create.sh"), "w") as file:
                file.write("#!/bin/sh\necho newer\n")
            refused = c.call("cluster", "call", "UpdateClusterSoftware", "-f", self.request(
                c, {"ClusterName": "default", "DeploymentConfig": {
                    "AutoRollbackConfiguration": [{"AlarmName": "cpu"}]}}))
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn("job.failed", refused.stderr + refused.stdout)
            self.update(c, WaitIntervalInSeconds=3600,
                        AutoRollbackConfiguration=[{"AlarmName": "job.failed"}])
            wait_for(lambda: "newer" in self.files_of(c, "n2")
                     and c.nodes()["n2"]["state"] == "healthy", "the first batch", 60)
            c.submit("bad", command=["/bin/false"], nodes=1, checkpoint=False)
            c.wait_job("bad", "failed")
            wait_for(lambda: self.group(c)["SoftwareUpdateStatus"] == "RollbackComplete", "it is back", 60)
            self.assertIn("former", self.files_of(c, "n2"))
            self.assertIn("alarm 'job.failed': bad",
                          self.call(c, "DescribeCluster", {"ClusterName": "default"})["FailureMessage"])

    def test_a_schedule_updates_by_itself(self):
        with Cluster(1, 0) as c:
            at = time.gmtime(time.time() + 90)
            self.call(c, "CreateCluster", {"ClusterName": "nightly", "InstanceGroups": [{
                "InstanceGroupName": "workers", "InstanceCount": 1, "InstanceType": "ml.g5.8xlarge",
                "ExecutionRole": "arn:aws:iam::123456789012:role/hyperpod",
                "ScheduledUpdateConfig": {"ScheduleExpression": "cron(%d %d %d %d ? %d)" % (
                    at.tm_min, at.tm_hour, at.tm_mday, at.tm_mon, at.tm_year)}}]})

            def events():
                said = self.call(c, "ListClusterEvents", {"ClusterName": "nightly"})
                return [event["Description"] for event in said["Events"]]
            wait_for(lambda: any("is the next one" in text for text in events()), "it is planned", 30)

            def is_updated():
                group = self.call(c, "DescribeCluster", {"ClusterName": "nightly"})["InstanceGroups"][0]
                return group.get("SoftwareUpdateStatus") == "Succeeded"
            wait_for(is_updated, "its time has come", 150)
            self.assertTrue(any("asked for by the schedule" in text for text in events()))
            self.call(c, "DeleteCluster", {"ClusterName": "nightly"})


if __name__ == "__main__":
    unittest.main()
