"""Machines under SSH: a real sshd in a network namespace of its own for each host, with its own keys.
They share this kernel: a host is "restarted" by a simulated management controller, which ends all
processes of its namespace and starts its sshd again."""
import http.server
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import unittest

from cluster import Cluster, ClusterTest, HOLDFAST, wait_for

REBOOTS = "NVRM: Xid (PCI:0000:b9:00): 79, pid=1, GPU has fallen off the bus."
MISSING = [name for name, path in (("sshd", "/usr/sbin/sshd"), ("ssh", "/usr/bin/ssh"),
                                   ("ip", "/usr/sbin/ip"), ("openssl", "/usr/bin/openssl"))
           if not os.path.exists(path)]


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout


def may_make_namespaces():
    if os.geteuid() != 0 or MISSING:
        return False
    name = "hfprobe%d" % os.getpid()
    made = subprocess.run(["ip", "netns", "add", name], stderr=subprocess.DEVNULL).returncode == 0
    if made:
        made = subprocess.run(["ip", "netns", "exec", name, "true"]).returncode == 0
        run("ip", "netns", "delete", name)
    return made


class Host:
    """One machine: a namespace with an address on the rack's bridge, and an sshd."""
    def __init__(self, rack, number):
        self.rack = rack
        self.name = "host-%d" % number
        self.space = "hf%dh%d" % (os.getpid(), number)
        self.address = rack.network + str(10 + number)
        self.folder = os.path.join(rack.folder, self.name)
        os.makedirs(self.folder)
        link = "hv%dh%d" % (os.getpid() % 10000, number)
        run("ip", "netns", "add", self.space)
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        run("ip", "link", "set", link, "master", rack.bridge, "up")
        run("ip", "-n", self.space, "addr", "add", self.address + "/24", "dev", "eth0")
        run("ip", "-n", self.space, "link", "set", "lo", "up")
        run("ip", "-n", self.space, "link", "set", "eth0", "up")
        self.key = os.path.join(self.folder, "host_key")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        with open(os.path.join(self.folder, "sshd_config"), "w") as file:
            file.write("ListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile %s/sshd.pid\n"
                       "UsePAM no\nStrictModes no\nPasswordAuthentication no\n"
                       "PermitRootLogin prohibit-password\n"
                       % (self.address, self.key, rack.key + ".pub", self.folder))
        self.sshd = None
        self.start()

    def start(self):
        self.sshd = subprocess.Popen(
            ["ip", "netns", "exec", self.space, "/usr/sbin/sshd", "-D", "-e", "-f",
             os.path.join(self.folder, "sshd_config")],
            stderr=open(os.path.join(self.folder, "sshd.log"), "a"))
        wait_for(lambda: os.path.exists(os.path.join(self.folder, "sshd.pid")), "sshd of " + self.name)

    def processes(self):
        """Of this host, but for its sshd."""
        inside = {int(pid) for pid in run("ip", "netns", "pids", self.space).split()}
        return inside - {self.sshd.pid}

    def power_off(self):
        def all_dead():
            for pid in run("ip", "netns", "pids", self.space).split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.sshd.poll()
            return not run("ip", "netns", "pids", self.space).split()
        wait_for(all_dead, "the processes of %s dead" % self.name)
        self.sshd.wait()
        try:
            os.remove(os.path.join(self.folder, "sshd.pid"))
        except FileNotFoundError:
            pass

    def unplug(self):
        run("ip", "-n", self.space, "link", "set", "eth0", "down")

    def plug_in(self):
        run("ip", "-n", self.space, "link", "set", "eth0", "up")

    def remove(self):
        self.power_off()
        run("ip", "netns", "delete", self.space)

    def public_key(self):
        with open(self.key + ".pub") as file:
            return " ".join(file.read().split()[:2])


class SimulatedController(threading.Thread):
    """A simulated management controller (Redfish): what of it Holdfast uses, over HTTPS."""
    def __init__(self, rack, host):
        super().__init__(daemon=True)
        self.resets = []
        controller = self
        certificate, key = os.path.join(rack.folder, "bmc.pem"), os.path.join(rack.folder, "bmc.key")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=bmc",
            "-addext", "subjectAltName=IP:127.0.0.1")

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, body, status=200):
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def known(self):
                good = self.headers.get("Authorization") == "Basic YWRtaW46c2VjcmV0"  # admin:secret
                if not good:
                    self.answer({}, 401)
                return good

            def do_GET(self):
                if not self.known():
                    return
                system = "/redfish/v1/Systems/one"
                if self.path == "/redfish/v1/Systems":
                    self.answer({"Members": [{"@odata.id": system}]})
                elif self.path == system:
                    self.answer({"PowerState": "On", "Actions": {"#ComputerSystem.Reset": {
                        "target": system + "/Actions/ComputerSystem.Reset"}}})
                else:
                    self.answer({}, 404)

            def do_POST(self):
                if not self.known():
                    return
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                controller.resets.append((self.path, body["ResetType"]))
                host.power_off()
                host.start()
                self.answer({})

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = "https://127.0.0.1:%d" % self.server.server_address[1]
        self.certificate = certificate

    def run(self):
        self.server.serve_forever()


class Rack:
    def __init__(self, hosts):
        self.folder = tempfile.mkdtemp(prefix="holdfast-rack-")
        self.network = "10.213.%d." % (os.getpid() % 250)
        self.bridge = "hfbr%d" % os.getpid()
        self.address = self.network + "1"
        self.hosts = []
        os.makedirs("/run/sshd", exist_ok=True)
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", self.address + "/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        self.key = os.path.join(self.folder, "id")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        for number in range(1, hosts + 1):
            self.hosts.append(Host(self, number))

    def inventory(self, wrong_key_of=(), power=None, spares=()):
        """power: {number of a host: controller}."""
        with open(os.path.join(self.folder, "known_hosts"), "w") as file:
            for number, host in enumerate(self.hosts):
                known = self.hosts[number - 1] if number + 1 in wrong_key_of else host
                file.write("%s %s\n" % (host.address, known.public_key()))
        with open(os.path.join(self.folder, "bmc.pw"), "w") as file:
            file.write("secret\n")
        hosts = []
        for number, host in enumerate(self.hosts, 1):
            entry = {"name": host.name, "address": host.address, "folder": host.folder + "/holdfast",
                     "spare": number in spares, "instance_type": "simulated"}
            if power and number in power:
                entry["power"] = {"redfish": {"url": power[number].url, "user": "admin",
                                              "password_file": "bmc.pw",
                                              "ca": power[number].certificate}}
            hosts.append(entry)
        path = os.path.join(self.folder, "inventory.yaml")
        with open(path, "w") as file:
            json.dump({"known_hosts": "known_hosts", "defaults": {"user": "root", "key": "id"},
                       "hosts": hosts}, file)
        return path

    def remove(self):
        for host in self.hosts:
            host.remove()
        run("ip", "link", "delete", self.bridge)
        shutil.rmtree(self.folder, ignore_errors=True)


@unittest.skipUnless(may_make_namespaces(), "needs root, network namespaces and openssh-server (%s)"
                     % (", ".join(MISSING) + " missing" if MISSING else "not allowed here"))
class Ssh(ClusterTest):
    HOSTS = 3

    def setUp(self):
        self.rack = Rack(self.HOSTS)
        self.addCleanup(self.rack.remove)

    def up(self, nodes, spares, inventory):
        return Cluster(nodes, spares, "--provider", "ssh:" + inventory, "--listen", self.rack.address,
                       "--host-root", "none")

    def hosts_of(self, c):
        with open(os.path.join(c.state, "hosts.json")) as file:
            return json.load(file)

    def states(self, c):
        return {node["id"]: node["state"] for node in c.json("node", "list")["nodes"]}

    def test_hosts_become_nodes_and_are_given_back(self):
        with self.up(2, 1, self.rack.inventory(spares=(3,))) as c:
            self.assertEqual(self.hosts_of(c), {"n1": "host-1", "n2": "host-2", "n3": "host-3"})
            node = c.json("node", "describe", "n2")
            self.assertEqual((node["address"], node["instance_type"]),
                             (self.rack.hosts[1].address, "simulated"))
            c.submit("hello", command=["/bin/true"], nodes=2, checkpoint=False)
            c.wait_job("hello", "succeeded")
            # A control plane that dies finds them again.
            server = c.json("status")["server_pid"]
            os.kill(server, signal.SIGKILL)
            wait_for(lambda: c.json("status")["server_pid"] != server, "another server")
            wait_for(lambda: self.states(c) == {n: "healthy" for n in ("n1", "n2", "n3")}, "its nodes")
            self.assertEqual(set(self.hosts_of(c)), {"n1", "n2", "n3"})
            c.cli("down")
            self.assertEqual(self.hosts_of(c), {})
            for host in self.rack.hosts:
                wait_for(lambda: not host.processes(), "nothing left on " + host.name)
                self.assertEqual(os.listdir(host.folder + "/holdfast"), ["bin"])

    def test_a_wrong_host_key_is_refused(self):
        with self.up(1, 0, self.rack.inventory(wrong_key_of=(1,))) as c:
            self.assertEqual(self.hosts_of(c), {"n1": "host-2"})
            with open(os.path.join(c.state, "server.log")) as file:
                self.assertIn("host-1: its host key is not the one in", file.read())
            self.assertFalse(os.path.exists(self.rack.hosts[0].folder + "/holdfast"))

    def test_a_host_that_is_down_is_passed_over_and_one_that_dies_is_replaced(self):
        self.rack.hosts[0].unplug()
        with self.up(1, 0, self.rack.inventory()) as c:
            self.assertEqual(self.hosts_of(c), {"n1": "host-2"})
            self.rack.hosts[1].unplug()
            wait_for(lambda: self.states(c).get("n2") == "healthy", "the last host takes over", 90)
            self.assertEqual(self.hosts_of(c)["n2"], "host-3")
            c.cli("node", "replace", "n2")
            gone = wait_for(lambda: [e for e in c.json("events", "--limit", "200")["events"]
                                     if "no host of the inventory is free" in e["text"]],
                            "why there is none", 90)
            self.assertIn("host-1 rests", gone[-1]["text"])
            for host in self.rack.hosts[:2]:
                host.plug_in()

    def test_a_reboot_by_the_management_controller(self):
        controller = SimulatedController(self.rack, self.rack.hosts[0])
        controller.start()
        with self.up(1, 0, self.rack.inventory(power={1: controller})) as c:
            pid = c.json("node", "describe", "n1")["pid"]
            c.cli("chaos", "kmsg", "n1", REBOOTS)
            wait_for(lambda: controller.resets, "the controller asked")
            self.assertEqual(controller.resets, [
                ("/redfish/v1/Systems/one/Actions/ComputerSystem.Reset", "ForceRestart")])
            node = wait_for(lambda: (lambda n: n if n["state"] == "healthy" and n["pid"] != pid
                                     else None)(c.json("node", "describe", "n1")), "n1 back", 90)
            self.assertEqual(self.hosts_of(c), {"n1": "host-1"})
            self.assertFalse(os.path.exists("/proc/%d" % pid))
            self.assertNotEqual(node["pid"], pid)

    def test_an_agent_that_dies_is_lost_and_its_host_used_again(self):
        with self.up(1, 0, self.rack.inventory()) as c:
            os.kill(c.json("node", "describe", "n1")["pid"], signal.SIGKILL)
            wait_for(lambda: self.states(c).get("n2") == "healthy", "another node", 60)
            wait_for(lambda: list(self.hosts_of(c)) == ["n2"], "the host of n1 freed")
            self.assertEqual(self.hosts_of(c)["n2"], "host-2")

    def hosts_of_all(self, c):
        """[host] of each cluster of the server, sorted."""
        paths = [os.path.join(c.state, "hosts.json")]
        folder = os.path.join(c.state, "clusters")
        paths += [os.path.join(folder, name, "hosts.json") for name in sorted(os.listdir(folder))]
        found = []
        for path in filter(os.path.exists, paths):  # a cluster that never had a host has none
            with open(path) as file:
                found += json.load(file).values()
        return sorted(found)

    def test_two_clusters_of_one_inventory_share_no_host(self):
        with self.up(1, 0, self.rack.inventory()) as c:
            def create(name, count):
                path = os.path.join(c.folder, name + ".json")
                with open(path, "w") as file:
                    json.dump({"ClusterName": name, "InstanceGroups": [{
                        "InstanceGroupName": "workers", "InstanceCount": count,
                        "InstanceType": "simulated",
                        "ExecutionRole": "arn:aws:iam::123456789012:role/hyperpod"}]}, file)
                c.cli("cluster", "create", "-f", path)

            def is_in_service():
                return c.json("cluster", "describe", "two")["ClusterStatus"] == "InService"
            create("two", 2)
            wait_for(is_in_service, "the second cluster", 90)
            self.assertEqual(self.hosts_of_all(c), ["host-1", "host-2", "host-3"])
            create("three", 1)
            message = wait_for(lambda: c.json("cluster", "describe", "three").get("FailureMessage"),
                               "why the third has none", 90)
            self.assertIn("3 serve other clusters of this server", message)
            # A control plane that dies knows it before the first cluster looks for a host.
            server = c.json("status")["server_pid"]
            os.kill(server, signal.SIGKILL)
            wait_for(lambda: c.json("status")["server_pid"] != server, "another server")
            c.cli("node", "replace", "n1")
            wait_for(lambda: self.states(c).get("n2") == "healthy" or any(
                "serve other clusters" in event["text"] for event in c.events()), "n1 replaced", 90)
            wait_for(is_in_service, "the second cluster is back", 90)
            self.assertEqual(len(set(self.hosts_of_all(c))), len(self.hosts_of_all(c)))
            # What one gives back the other one gets.
            c.cli("cluster", "delete", "two")
            wait_for(lambda: c.call("cluster", "describe", "two").returncode == 4, "it is gone", 90)
            c.cli("--cluster", "three", "node", "add")
            wait_for(lambda: c.json("cluster", "describe", "three")["ClusterStatus"] == "InService",
                     "the third cluster", 90)
            c.cli("cluster", "delete", "three")
            wait_for(lambda: c.call("cluster", "describe", "three").returncode == 4, "it is gone", 90)


if __name__ == "__main__":
    unittest.main()
