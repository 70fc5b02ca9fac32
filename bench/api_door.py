#!/usr/bin/env python3
"""How many signed requests the front door of the HyperPod API takes, and what one costs it.

    bench/api_door.py [--seconds 5] [--build build/release]

One signed ListClusters is sent again and again (looking may be repeated) over kept-alive plain
connections, one request at a time on each; every answer is read. Prints requests per second, and the
processor time that the server took for one, which does not depend on who else uses the machine."""
import argparse
import datetime
import hashlib
import hmac
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time


def signed(port, key, body=b"{}"):
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = {"content-type": "application/x-amz-json-1.1", "host": "127.0.0.1:%d" % port,
               "x-amz-date": date, "x-amz-target": "SageMaker.ListClusters"}
    names = ";".join(sorted(headers))
    canonical = "POST\n/\n\n%s\n%s\n%s" % (
        "".join("%s:%s\n" % item for item in sorted(headers.items())), names,
        hashlib.sha256(body).hexdigest())
    scope = [date[:8], "us-east-1", "sagemaker", "aws4_request"]
    to_sign = "\n".join(["AWS4-HMAC-SHA256", date, "/".join(scope),
                         hashlib.sha256(canonical.encode()).hexdigest()])
    secret = ("AWS4" + key["secret"]).encode()
    for word in scope:
        secret = hmac.new(secret, word.encode(), hashlib.sha256).digest()
    headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        key["id"], "/".join(scope), names,
        hmac.new(secret, to_sign.encode(), hashlib.sha256).hexdigest())
    headers["content-length"] = str(len(body))
    head = "".join("%s: %s\r\n" % item for item in headers.items())
    return ("POST / HTTP/1.1\r\n" + head + "\r\n").encode() + body


def cpu_s(pid):
    with open("/proc/%d/stat" % pid) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(told, pid, connections, seconds):
    request = signed(told["port"], told["keys"]["viewer"])
    peers = [socket.create_connection(("127.0.0.1", told["port"])) for _ in range(connections)]
    poller = select.epoll()
    by_fd = {peer.fileno(): peer for peer in peers}
    before, started, answers = cpu_s(pid), time.monotonic(), 0
    for peer in peers:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poller.register(peer, select.EPOLLIN)
        peer.sendall(request)
    while time.monotonic() - started < seconds:
        for fd, _ in poller.poll(1):
            answer = by_fd[fd].recv(65536)  # they are small, and come in one piece
            assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"}"), answer
            answers += 1
            by_fd[fd].sendall(request)
    took, used = time.monotonic() - started, cpu_s(pid) - before
    for peer in peers:
        peer.close()
    print("%3d connections: %6.0f requests/s, %4.0f us of processor time each" % (
        connections, answers / took, used / answers * 1e6))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=5)
    arguments.add_argument("--build", default=os.path.join(os.path.dirname(__file__),
                                                           "../build/release"))
    options = arguments.parse_args()
    folder = tempfile.mkdtemp(prefix="holdfast-door-")
    door = subprocess.Popen([os.path.join(options.build, "bench/api_door"), folder],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        told = json.loads(door.stdout.readline())
        for connections in (1, 8, 64):
            measure(told, door.pid, connections, options.seconds)
    finally:
        door.stdin.close()
        door.wait(timeout=30)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
