"""Machines from elsewhere: the example of docs/providers.md, exactly as it stands there, and lifecycle
scripts that make them nodes."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
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


if __name__ == "__main__":
    unittest.main()
