"""A small DDP job for the end-to-end tests: deterministic for a seed and world size, and able to
misbehave on request. Prints the hash of its final weights."""
import argparse
import hashlib
import os
import signal
import sys
import threading
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

import holdfast
from holdfast import _behind, checkpoint

_behind._PACE_S = 0  # each save goes to the disk: faults are planted there


def misbehave(how, rank):
    print("misbehaves at %.6f" % time.monotonic(), flush=True)
    if how == "raise":
        raise ValueError("planted by the test on rank %d" % rank)
    if how == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        sys.exit(7)
    if how == "spin":
        while True:
            pass
    if how == "sleep":
        # tidy: allow sleep, because the training script paces itself
        time.sleep(3600)
    if how == "memory":
        hog = []
        while True:
            hog.append(bytearray(os.urandom(1 << 20)) * 16)
    raise SystemExit("no such misbehaviour: " + how)


def die_in(phase, pid):
    """From here on SIGKILL goes to this process in this phase of this rank's next save."""
    from holdfast import _engine
    victims = [pid]

    def die(*_):
        if victims:
            os.kill(victims.pop(), signal.SIGKILL)

    def dying(kind, name, before=None, after=None):
        real = getattr(kind, name)

        def function(*arguments):
            if before:
                before(*arguments)
            value = real(*arguments)
            if after:
                after(*arguments)
            return value
        setattr(kind, name, function)

    def once_written(engine, step, rank, *_):
        path = "%s/attempt-%04d/step-%08d/rank-%04d.json" % (engine.folder, engine.attempt, step, rank)

        def watch():
            while not os.path.exists(path):
                pass
            die()
        threading.Thread(target=watch, daemon=True).start()

    if phase == "filling":
        dying(_engine.Image, "fill", before=die)
    elif phase == "filled":
        dying(_engine.Image, "publish", before=die)
    elif phase == "published":
        dying(_engine.Image, "publish", after=die)
    elif phase == "writing":
        dying(_engine.Engine, "persist", before=lambda *_: threading.Timer(0.002, die).start())
    elif phase == "written":
        dying(_engine.Engine, "persist", before=once_written)
    elif phase == "committed":
        dying(_engine.Engine, "persist", after=die)
    elif phase == "in-memory":  # on all ranks, and nothing of it on the disk
        dying(_engine.Engine, "persist", before=lambda *_: threading.Event().wait())


def victim(whom):
    return {"rank": os.getpid(), "agent": os.getppid()}.get(whom) or int(whom)


def no_disk(step):
    """From this step on nothing gets to the disk."""
    from holdfast import _engine
    real = _engine.Engine.persist

    def persist(engine, at, *arguments):
        if at >= step:
            threading.Event().wait()
        real(engine, at, *arguments)
    _engine.Engine.persist = persist


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=5, help="steps between checkpoints")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds per step, for a fault to hit")
    parser.add_argument("--workers", type=int, default=0, help="processes of a data loader beside it")
    parser.add_argument("--fault", default="", help="how")
    parser.add_argument("--fault-rank", type=int, default=1)
    parser.add_argument("--fault-step", type=int, default=8)
    parser.add_argument("--no-disk-from", type=int, help="step; first attempt only")
    parser.add_argument("--die", default="", help="phase of the save of --fault-step, first attempt only")
    parser.add_argument("--die-whom", default="rank", help="or agent, or a process id")
    parser.add_argument("--fault-once", action="store_true", help="only in the first attempt")
    args = parser.parse_args()

    if args.no_disk_from is not None and os.environ["HOLDFAST_ATTEMPT"] == "1":
        no_disk(args.no_disk_from)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(7)
    # Without this, DDP lays its buckets out anew after the first step of each process, and with three
    # ranks or more the sums of that one step are rounded in another order: a restart would show in
    # the last bit, under any launcher.
    model = DistributedDataParallel(nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 32)),
                                    find_unused_parameters=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = checkpoint.restore(model=model, optimizer=optimizer)
    if rank == 0:
        print("from step %d, attempt %s" % (first, os.environ["HOLDFAST_ATTEMPT"]), flush=True)
    helpers = iter(DataLoader(range(10 ** 6), num_workers=args.workers)) if args.workers else None
    for step in range(first, args.steps):
        if helpers is not None:
            next(helpers)
        generator = torch.Generator().manual_seed(step * 1000 + rank)
        batch = torch.randn(16, 32, generator=generator)
        loss = ((model(batch) - batch) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        holdfast.progress(step + 1, loss=loss.item(), tokens=16)
        if args.die and rank == args.fault_rank and os.environ["HOLDFAST_ATTEMPT"] == "1":
            if step + 1 == args.fault_step:
                die_in(args.die, victim(args.die_whom))
            elif step == args.fault_step and args.die == "in-memory":  # all ranks have left that save
                os.kill(victim(args.die_whom), signal.SIGKILL)
        if (step + 1) % args.every == 0:
            checkpoint.save(step + 1, model=model, optimizer=optimizer)
        # tidy: allow sleep, because the training script paces itself
        time.sleep(args.pause)
        if args.fault and rank == args.fault_rank and step + 1 == args.fault_step:
            if not args.fault_once or os.environ["HOLDFAST_ATTEMPT"] == "1":
                misbehave(args.fault, rank)
    weights = b"".join(p.detach().numpy().tobytes() for p in model.module.parameters())
    if rank == 0:
        print("weights " + hashlib.sha256(weights).hexdigest(), flush=True)


main()
