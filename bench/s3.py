"""The S3 client beside the AWS CLI: 1 GiB put and got, on the same server (OpenStack Swift on this machine,
tests/e2e/swift.py), one after the other. Both read and write files of the same folder.

    ./dev bench s3 [--json] [--mib 1024] [--rounds 5]

Keys: `s3_put_over_awscli` and `s3_get_over_awscli`, medians of the rounds' ratios of rates, and
`s3_restore_over_awscli`: checkpoint.restore() of as much by one rank, through its node's snapshot server, whose
memory is empty, beside the same get of the AWS CLI. The server takes its share of the same cores: `server_cpu_s`
says how much of the machine each transfer left to it, and `ceilings` what the parts can do alone.
"""
import argparse
import filecmp
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import machine
from checkpoint import BUILD, snapshot_server

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../tests/e2e"))
import swift  # noqa: E402

TRANSFER = os.path.join(HERE, "../build/release/s3_transfer")
AWS = "/usr/bin/aws"
PAGE = os.sysconf("SC_CLK_TCK")


def cpu_of(pids):
    """Seconds of processor time that these and their children, alive or waited for, have used."""
    total = 0
    for pid in pids:
        try:
            with open("/proc/%d/stat" % pid) as file:
                total += sum(int(n) for n in file.read().rpartition(")")[2].split()[11:15])
        except OSError:
            pass
    return total / PAGE


def family(pids):
    found = list(pids)
    for pid in found:
        try:
            with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
                found += [int(child) for child in file.read().split()]
        except OSError:
            pass
    return found


class Bench:
    def __init__(self, mib, folder, server):
        self.bytes, self.server = mib << 20, server
        self.environment = dict(os.environ, **server.environment)
        self.sent, self.got = os.path.join(folder, "sent"), os.path.join(folder, "got")
        with open(self.sent, "wb") as file:
            for _ in range(mib):
                file.write(os.urandom(1 << 20))

    def program(self, what):
        """A training program that has saved or restores its state, with a snapshot server of its own."""
        return (machine.PYTHON, __file__, "--worker", what, "--mib", str(self.bytes >> 20))

    def run(self, *command):
        """(MiB/s, processor seconds of the client, of the server). A program says itself how long it took."""
        servers = family([process.pid for process in self.server.processes])
        before, children = cpu_of(servers), os.times()
        began = time.monotonic()
        said = subprocess.run(command, env=self.environment, check=True, stdout=subprocess.PIPE).stdout
        took = float(said) if "--worker" in command else time.monotonic() - began
        after = os.times()
        return {"mib_s": self.bytes / took / (1 << 20), "server_cpu_s": cpu_of(servers) - before,
                "client_cpu_s": sum(after[2:4]) - sum(children[2:4])}

    def round(self):
        def get(command):
            if os.path.exists(self.got):
                os.unlink(self.got)
            measured = self.run(*command)
            assert filecmp.cmp(self.sent, self.got, shallow=False), "other bytes came back"
            return measured
        # Debian's release is older than AWS_ENDPOINT_URL.
        aws = (AWS, "--endpoint-url", self.server.endpoint, "s3", "cp", "--quiet")
        put = {"holdfast": self.run(TRANSFER, "put", self.sent, "s3://bucket/holdfast"),
               "awscli": self.run(*aws, self.sent, "s3://bucket/awscli")}
        got = {"holdfast": get((TRANSFER, "get", "s3://bucket/holdfast", self.got)),
               "awscli": get((*aws, "s3://bucket/awscli", self.got))}
        restored = {"holdfast": self.run(*self.program("restore")), "awscli": got["awscli"]}
        return {"put": put, "get": got, "restore": restored}

    def ceilings(self):
        """Of one core: MD5, which the server makes of all it gets and the client of all it puts; and a copy of
        the file, which both write."""
        block, count = os.urandom(64 << 20), 4
        began = time.monotonic()
        for _ in range(count):
            hashlib.md5(block)
        md5 = count * 64 / (time.monotonic() - began)
        began = time.monotonic()
        shutil.copyfile(self.sent, self.got)
        return {"md5_mib_s": md5, "file_copy_mib_s": (self.bytes >> 20) / (time.monotonic() - began)}


def work(what, mib):
    """In a process of its own, as a rank."""
    sys.path.insert(0, os.path.join(HERE, "../python"))
    import torch
    from holdfast import checkpoint
    folder = tempfile.mkdtemp(prefix="holdfast-bench-")
    os.environ.update(HOLDFAST_CHECKPOINT_DIR="s3://bucket/job", HOLDFAST_JOB="bench",
                      HOLDFAST_CHECKPOINT_LIBRARY=os.path.join(BUILD, "libholdfast_checkpoint.so"))
    server = snapshot_server(folder)
    try:
        if what == "save":
            checkpoint.save(1, state={str(n): torch.full((1 << 22,), n) for n in range(mib // 32)})
            return 0 if checkpoint.wait(600) else 1
        state = {str(n): torch.zeros(1 << 22, dtype=torch.int64) for n in range(mib // 32)}
        began = time.monotonic()
        checkpoint.restore(state=state)
        print(time.monotonic() - began)
        return 0 if all(int(tensor[-1]) == int(name) for name, tensor in state.items()) else 1
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def ratio(rounds, what):
    return statistics.median(r[what]["holdfast"]["mib_s"] / r[what]["awscli"]["mib_s"] for r in rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker, options.mib)
    lacking = swift.missing() + ([] if os.path.exists(AWS) else [AWS])
    if lacking:
        sys.exit("not on this machine: %s" % ", ".join(lacking))
    folder = tempfile.mkdtemp(prefix="holdfast-bench-s3-")
    try:
        described = machine.describe()
        with swift.Server(os.path.join(folder, "swift"), workers=os.cpu_count()) as server:
            server.make_bucket("bucket")
            bench = Bench(options.mib, folder, server)
            bench.run(TRANSFER, "put", bench.sent, "s3://bucket/warm")
            subprocess.run(bench.program("save"), env=bench.environment, check=True)
            rounds = []
            for number in range(options.rounds):
                machine.say("round %d of %d" % (number + 1, options.rounds))
                rounds.append(bench.round())
            ceilings = bench.ceilings()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    medians = {what: {who: {key: statistics.median(r[what][who][key] for r in rounds)
                            for key in rounds[0][what][who]} for who in rounds[0][what]} for what in rounds[0]}
    report = {"machine": described, "mib": options.mib, "rounds": options.rounds,
              "s3_put_over_awscli": ratio(rounds, "put"), "s3_get_over_awscli": ratio(rounds, "get"),
              "s3_restore_over_awscli": ratio(rounds, "restore"),
              "medians": medians, "ceilings": ceilings, "all": rounds}
    if options.json:
        print(json.dumps(report))
        return
    print("%(machine)s\n%(mib)d MiB, %(rounds)d rounds" % report)
    for what, both in medians.items():
        for who, values in both.items():
            print("%s %-9s %7.0f MiB/s   client %5.1f s, server %5.1f s of processor time" % (
                what, who, values["mib_s"], values["client_cpu_s"], values["server_cpu_s"]))
        print("s3_%s_over_awscli %.2f" % (what, report["s3_%s_over_awscli" % what]))
    print("one core: MD5 %(md5_mib_s).0f MiB/s, copy of the file %(file_copy_mib_s).0f MiB/s" % ceilings)


if __name__ == "__main__":
    sys.exit(main())
