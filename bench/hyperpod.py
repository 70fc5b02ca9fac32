"""HyperPod's API on a real `holdfast server`: a cluster of 8 local nodes from the call to InService, a
bad node's place taken by a spare, and pages of ListClusterNodes over 10,000 nodes (records of machines
that have not joined: what is measured is the server, signatures and all). Prints the server's CPU per
request, which gives the requests a second that one core can answer.

    ./dev bench hyperpod [--json]
"""
import argparse
import datetime
import hashlib
import hmac
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import time

import machine

HERE = os.path.dirname(os.path.abspath(__file__))
NODES, PAGES = 10000, 3000
TRIALS = 5
IDLE_S = 20


class Caller:
    """Signs and sends, over one kept-alive connection."""

    def __init__(self, access):
        self.access = access
        self.host = access["api_endpoint"].rpartition("/")[2]
        self.connection = http.client.HTTPConnection(self.host, timeout=60)

    def sign(self, operation, body):
        now = datetime.datetime.now(datetime.timezone.utc)
        date, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        headers = {"content-type": "application/x-amz-json-1.1", "host": self.host, "x-amz-date": date,
                   "x-amz-target": "SageMaker." + operation}
        names = ";".join(sorted(headers))
        canonical = "\n".join(["POST", "/", ""] + ["%s:%s" % (n, headers[n]) for n in sorted(headers)]
                              + ["", names, hashlib.sha256(body).hexdigest()])
        scope = "/".join([day, self.access["region"], "sagemaker", "aws4_request"])
        text = "\n".join(["AWS4-HMAC-SHA256", date, scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + self.access["secret_access_key"]).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
            self.access["access_key_id"], scope, names,
            hmac.new(key, text.encode(), hashlib.sha256).hexdigest())
        return headers

    def call(self, operation, **request):
        body = json.dumps(request).encode()
        self.connection.request("POST", "/", body, self.sign(operation, body))
        response = self.connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError("%s: %s" % (operation, answer))
        return answer


def cpu_s(pid):
    with open("/proc/%d/stat" % pid) as file:
        words = file.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid):
    with open("/proc/%d/status" % pid) as file:
        return [int(line.split()[1]) for line in file if line.startswith("VmRSS")][0] / 1024


def wait_for(condition):
    machine.wait_for(condition, "the API's answer", 120)


def small_clusters(holdfast, folder):
    state = os.path.join(folder, "small")
    access = json.loads(subprocess.run([holdfast, "up", "--nodes", "1", "--spares", "0", "--state", state,
                                        "--json"], check=True, stdout=subprocess.PIPE).stdout)
    caller, made, replaced = Caller(access), [], []
    group = {"InstanceGroupName": "workers", "InstanceCount": 8, "InstanceType": "ml.p5.48xlarge",
             "ExecutionRole": "arn:aws:iam::123456789012:role/hyperpod"}
    for trial in range(TRIALS):
        name = "bench-%d" % trial
        began = time.monotonic()
        caller.call("CreateCluster", ClusterName=name, InstanceGroups=[group],
                    Tags=[{"Key": "holdfast:spares:workers", "Value": "1"}])
        wait_for(lambda: caller.call("DescribeCluster", ClusterName=name)["ClusterStatus"] == "InService")
        made.append(time.monotonic() - began)

        def running():
            page = caller.call("ListClusterNodes", ClusterName=name, IncludeNodeLogicalIds=True)
            return {n["NodeLogicalId"]: n["InstanceId"] for n in page["ClusterNodeSummaries"]
                    if n["InstanceStatus"]["Status"] == "Running" and "NodeLogicalId" in n}, page
        wait_for(lambda: sum(n["InstanceStatus"]["Status"] == "Running"
                             for n in running()[1]["ClusterNodeSummaries"]) == 9)
        place, bad = sorted(running()[0].items())[0]
        began = time.monotonic()
        caller.call("BatchReplaceClusterNodes", ClusterName=name, NodeIds=[bad])
        wait_for(lambda: running()[0].get(place, bad) != bad)
        replaced.append(time.monotonic() - began)
        caller.call("DeleteCluster", ClusterName=name)
    subprocess.run([holdfast, "down", "--state", state], check=True, stderr=subprocess.DEVNULL)
    return sorted(made), sorted(replaced)


def pages(build, folder):
    """Over NODES records; the load generator only makes the state folder."""
    state = os.path.join(folder, "large")
    load = subprocess.Popen([os.path.join(build, "agent_load"), state, str(NODES)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
    assert load.stdout.readline().split() == ["prepared"]
    load.kill()
    load.wait()
    with open(os.path.join(state, "cluster.json")) as file:
        config = json.load(file)
    with open(os.path.join(state, "client/credentials")) as file:
        words = dict(line.strip().split(" = ") for line in file if "=" in line)
    with open(os.path.join(folder, "server.log"), "w") as log:
        server = subprocess.Popen([os.path.join(build, "holdfast"), "server", "--state", state], stderr=log)
    caller = Caller({"api_endpoint": "http://%s:%d" % (config["host"], config["hyperpod_port"]),
                     "region": "us-east-1", "access_key_id": words["aws_access_key_id"],
                     "secret_access_key": words["aws_secret_access_key"]})

    def there():
        try:
            return len(caller.call("ListClusterNodes", ClusterName="load")["ClusterNodeSummaries"]) == 100
        except (OSError, http.client.HTTPException, RuntimeError):
            caller.connection.close()
            return False
    try:
        wait_for(there)
        before, idle_from = cpu_s(server.pid), time.monotonic()
        time.sleep(IDLE_S)  # tidy: allow sleep, because idleness is measured over time
        idle = (cpu_s(server.pid) - before) / (time.monotonic() - idle_from)
        memory = memory_mib(server.pid)
        took, token, seen = [], None, set()
        before = cpu_s(server.pid)
        for _ in range(PAGES):
            more = {"NextToken": token} if token else {}
            began = time.perf_counter()
            page = caller.call("ListClusterNodes", ClusterName="load", MaxResults=100, **more)
            took.append(time.perf_counter() - began)
            seen.update(node["InstanceId"] for node in page["ClusterNodeSummaries"])
            token = page.get("NextToken")
        each = (cpu_s(server.pid) - before) / PAGES
        assert len(seen) == NODES, len(seen)
    finally:
        server.terminate()
        server.wait()
    took.sort()
    return {"page_p50_ms": took[len(took) // 2] * 1e3, "page_p99_ms": took[len(took) * 99 // 100] * 1e3,
            "pages_per_core_s": 1 / each, "server_mib": memory, "idle_core_percent": idle * 100}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(HERE, "../build/release"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    build = os.path.abspath(arguments.build)
    folder = tempfile.mkdtemp(prefix="holdfast-bench-")
    try:
        made, replaced = small_clusters(os.path.join(build, "holdfast"), folder)
        result = dict(create_8_s=made[len(made) // 2], create_8_max_s=made[-1],
                      replace_s=replaced[len(replaced) // 2], replace_max_s=replaced[-1],
                      **pages(build, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        print(json.dumps(result))
        return
    print(machine.describe())
    print("8 nodes, call to InService     %6.2f s (at most %.2f of %d; bar 5; HyperPod 900-1500)" % (
        result["create_8_s"], result["create_8_max_s"], TRIALS))
    print("a spare has a bad node's place %6.3f s (at most %.3f; bar 3; HyperPod 1200-1800)" % (
        result["replace_s"], result["replace_max_s"]))
    print("page of 100 of %d nodes     p50 %.2f ms, p99 %.2f ms (bar 10); %.0f pages a second of one core "
          "(bar 1000)" % (NODES, result["page_p50_ms"], result["page_p99_ms"], result["pages_per_core_s"]))
    print("idle at %d nodes            %.0f MiB (bar 1024), %.1f %% of a core (bar 5)" % (
        NODES, result["server_mib"], result["idle_core_percent"]))


if __name__ == "__main__":
    main()
