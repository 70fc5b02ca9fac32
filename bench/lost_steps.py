"""The part of `./dev bench checkpoint` with a real cluster: the demo's GPT on four nodes saves after
every step; nodes are killed, and the steps counted that have to be made again."""
import os
import random
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../tests/e2e"))

import machine  # noqa: E402
from cluster import Cluster, wait_for  # noqa: E402

SCRIPT = os.path.join(HERE, "../recipes/char_gpt/train.py")
NODES = 4
WINDOW_S = 8  # of a measurement of speed
WINDOWS = 6
SETTLED = 60  # steps: the processes that wait to be forked have started again by then


def submit(cluster, name, interval):
    cluster.submit(name, "--steps", 1000000, "--checkpoint-every", interval, script=SCRIPT, nodes=NODES)


def live_step(cluster, name):
    return max([rank["step"] for rank in cluster.job(name)["ranks"]] or [0])


def speed(cluster, name, interval):
    """Steps a second."""
    submit(cluster, name, interval)
    cluster.wait_step(name, SETTLED, 120)
    began, first = time.monotonic(), live_step(cluster, name)
    # tidy: allow sleep, because a benchmark samples over time
    time.sleep(WINDOW_S)
    steps = (live_step(cluster, name) - first) / (time.monotonic() - began)
    cluster.end_job(name)
    return steps


def recovered(cluster, count):
    found = cluster.incidents_of("saves")
    done = [incident for incident in found if incident["state"] == "recovered"]
    return done if len(done) == count else None


def measure(trials):
    dice = random.Random(7)
    with Cluster(NODES, 1) as cluster:
        pairs = [(speed(cluster, "with-%d" % i, 1), speed(cluster, "without-%d" % i, 10 ** 9))
                 for i in range(WINDOWS)]
        machine.say("steps/s with a save per step and without: %s" %
                    "  ".join("%.2f %.2f" % pair for pair in pairs))
        submit(cluster, "saves", 1)
        cluster.wait_step("saves", 10, 120)
        for trial in range(trials):
            wait_for(lambda: [node["state"] for node in cluster.nodes().values()].count("healthy") ==
                     NODES + 1, "a spare", 60)
            at = live_step(cluster, "saves") + dice.randrange(3, 9)
            cluster.wait_step("saves", at, 120)
            members = [rank["node"] for rank in cluster.job("saves")["ranks"]]
            cluster.cli("chaos", "node-kill", dice.choice(members))
            done = wait_for(lambda: recovered(cluster, trial + 1), "recovery %d" % (trial + 1), 120)
            cluster.call("breaker", "close")  # so many in so short a time are no accident
            machine.say("node loss %d of %d" % (trial + 1, trials))
        lost = [incident["steps_lost"] for incident in done]
        print("steps lost: %s" % " ".join(map(str, lost)))
    return {"steps_lost": statistics.mean(lost),
            "speed_with_saves": statistics.median(a for a, _ in pairs) /
            statistics.median(b for _, b in pairs)}
