"""A real S3 server for the tests: OpenStack Swift with its s3api, from Debian's packages, on loopback.

    with swift.Server(folder) as server: subprocess.run(..., env={**os.environ, **server.environment})

Four processes (proxy, account, container, object server) and one replica in a folder: what a user would
run as a cluster, as small as it gets. Keys are checked (SigV4), multipart uploads are real.
"""
import os
import pwd
import socket
import subprocess
import urllib.request

import cluster

PYTHON = "/usr/bin/python3"
SERVERS = ("account", "container", "object")
ACCESS_KEY, SECRET_KEY = "test:tester", "testing"

SWIFT = """[swift-hash]
swift_hash_path_suffix = holdfast
[storage-policy:0]
name = one
default = yes
[swift-constraints]
"""
STORAGE = """[DEFAULT]
devices = {folder}/devices
mount_check = false
disable_fallocate = true
bind_ip = 127.0.0.1
bind_port = {port}
workers = {workers}
user = {user}
swift_dir = {folder}
log_address = {folder}/nolog
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = {workers}
user = {user}
swift_dir = {folder}
log_address = {folder}/nolog
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth slo dlo
    versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
storage_domain = localhost
s3_acl = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
"""


def missing():
    """What this machine lacks to run one; empty: nothing."""
    programs = ["/usr/bin/swift-%s-server" % kind for kind in ("proxy",) + SERVERS]
    return [path for path in programs + ["/usr/bin/memcached"] if not os.path.exists(path)]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """Starts at once; ready when the constructor returns. `workers`: processes of each server."""

    def __init__(self, folder, workers=1):
        self.folder = folder
        self.processes = []
        self.port = free_port()
        self.ports = {kind: free_port() for kind in SERVERS}
        self.memcached = free_port()
        os.makedirs(os.path.join(folder, "devices", "d1"))
        self._write("swift.conf", SWIFT)
        values = {"folder": folder, "workers": workers, "user": pwd.getpwuid(os.getuid()).pw_name,
                  "memcached": self.memcached}
        for kind in SERVERS:
            self._write(kind + "-server.conf", STORAGE.format(kind=kind, port=self.ports[kind], **values))
            self._ring(kind)
        self._write("proxy-server.conf", PROXY.format(port=self.port, **values))
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def endpoint(self):
        return "http://127.0.0.1:%d" % self.port

    @property
    def environment(self):
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": "us-east-1",
                "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull}

    def make_bucket(self, name):
        """By Swift's own protocol: the tests of ours start with a bucket that is there."""
        for bucket in (name, name + "+segments"):
            self._ask("PUT", bucket)

    def parts(self, bucket):
        """The names of all parts that were uploaded to it, one a line."""
        return self._ask("GET", bucket + "+segments")

    def _ask(self, method, container):
        token = urllib.request.Request(self.endpoint + "/auth/v1.0", headers={
            "X-Auth-User": ACCESS_KEY, "X-Auth-Key": SECRET_KEY})
        with urllib.request.urlopen(token, timeout=30) as answer:
            url, key = answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"]
        request = urllib.request.Request("%s/%s" % (url, container), method=method, headers={"X-Auth-Token": key})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def stop_proxy(self):
        """What clients talk to: nobody listens then."""
        proxy = self.processes.pop()
        proxy.terminate()
        proxy.wait(10)

    def start_proxy(self):
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self._spawn("proxy", log)
        self._wait_for(self.port)

    def _spawn(self, kind, log):
        self.processes.append(subprocess.Popen(
            [PYTHON, "/usr/bin/swift-%s-server" % kind,
             os.path.join(self.folder, kind + "-server.conf")], stdout=log, stderr=log))

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as file:
            file.write(text)

    def _ring(self, kind):
        builder = os.path.join(self.folder, kind + ".builder")
        device = "r1z1-127.0.0.1:%d/d1" % self.ports[kind]
        for arguments in (["create", "4", "1", "1"], ["add", device, "1"], ["rebalance"]):
            subprocess.run(["/usr/bin/swift-ring-builder", builder] + arguments, check=True,
                           stdout=subprocess.DEVNULL)

    def _start(self):
        log = open(os.path.join(self.folder, "log"), "ab")
        self.processes.append(subprocess.Popen(
            ["/usr/bin/memcached", "-l", "127.0.0.1", "-p", str(self.memcached), "-m", "16"]
            + (["-u", "nobody"] if os.getuid() == 0 else []), stdout=log, stderr=log))
        for kind in SERVERS + ("proxy",):
            self._spawn(kind, log)
        log.close()
        for port in list(self.ports.values()) + [self.port, self.memcached]:
            self._wait_for(port)
        with urllib.request.urlopen(self.endpoint + "/healthcheck", timeout=30) as answer:
            assert answer.read() == b"OK"

    def _wait_for(self, port):
        def answers():
            dead = [process.args for process in self.processes if process.poll() is not None]
            assert not dead, "ended at once: %s; see %s/log" % (dead, self.folder)
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                return False
            return True
        cluster.wait_for(answers, "Swift listens on port %d; see %s/log" % (port, self.folder))
