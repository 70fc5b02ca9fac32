#!/usr/bin/python3
"""Training programs that misbehave, each in its own way: zoo.py HOW [--rank R] [--steps N] ...

A loop of all-reduced steps; before step AT the rank R does HOW. Nothing here knows of Holdfast,
except the ways that are about it.
"""
import argparse
import os
import signal
import subprocess
import sys
import threading
import time

HOW = {}


def way(function):
    HOW[function.__name__] = function
    return function


def wait_forever():
    while True:
        signal.pause()


@way
def nothing(_):
    pass


@way
def exit_zero_early(_):
    sys.stdout.flush()
    os._exit(0)  # the others wait for it, for ever


@way
def exit_one(_):
    sys.exit(1)


@way
def exit_text(_):
    sys.exit("the tokenizer file is missing: vocab.json")


@way
def raise_in_thread(_):
    def fail():
        raise RuntimeError("in a thread, which ends nothing")
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()


@way
def os_exit(_):
    os._exit(41)


@way
def segfault(_):
    import ctypes
    ctypes.string_at(0)


@way
def segfault_at_exit(_):
    import atexit
    atexit.register(lambda: segfault(None))


@way
def abort(_):
    os.abort()


@way
def non_ascii(_):
    raise ValueError("Größe ≠ erwartet: 日本語 \udcff")


@way
def not_utf8(_):
    sys.stdout.flush()
    os.write(1, bytes(range(256)) * 400 + b"\n")


@way
def huge_traceback(_):
    raise ValueError("x" * 5_000_000)


@way
def keyboard_interrupt(_):
    raise KeyboardInterrupt


@way
def recursion(_):
    recursion(_)


@way
def many_lines(args):
    line = b"e" * 1023 + b"\n"
    for _ in range(args.mib):
        os.write(2, line * 1024)


@way
def close_stdout(_):
    sys.stdout.flush()
    os.close(1)
    os.close(2)


@way
def change_folder(_):
    os.chdir("/")


@way
def clear_environment(_):
    os.environ.clear()
    raise ValueError("after the environment was cleared")


@way
def ignore_sigterm(_):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@way
def daemon(_):
    """A child in a session of its own whose parent is gone, as daemons are."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/bin/sleep", ["sleep", "3600"])
        os._exit(0)
    os.wait()


@way
def clean_daemon(_):
    """The same, with an environment that tells nothing of where it came from."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/bin/sleep", ["sleep", "3601"], {})
        os._exit(0)
    os.wait()


@way
def zombies(_):
    for _i in range(20):
        if os.fork() == 0:
            os._exit(0)


@way
def stop_itself(_):
    os.kill(os.getpid(), signal.SIGSTOP)


@way
def hang(_):
    wait_forever()


@way
def spin(_):
    while True:
        pass


@way
def deadlock(_):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@way
def memory(_):
    hog = []
    while True:
        hog.append(bytearray(os.urandom(1 << 20)) * 16)


@way
def memory_error(_):
    raise MemoryError


@way
def fork_workers(_):
    for _i in range(3):
        if os.fork() == 0:
            wait_forever()


@way
def remove_checkpoints(args):
    import shutil
    shutil.rmtree(os.environ["HOLDFAST_CHECKPOINT_DIR"])


@way
def exit_zero_late(_):
    raise SystemExit(0)


@way
def nan(_):
    pass  # see main()


@way
def slow(_):
    # tidy: allow sleep, because it is what this program is for
    time.sleep(1)


@way
def subprocess_dies(_):
    subprocess.run(["/bin/sh", "-c", "kill -9 $$"], check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("how", choices=sorted(HOW))
    parser.add_argument("--rank", type=int, default=1, help="which; -1: all")
    parser.add_argument("--at", type=int, default=5, help="before which step; -1: before the import")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--mib", type=int, default=64, help="for many_lines")
    parser.add_argument("--once", action="store_true", help="only in the first attempt")
    parser.add_argument("--pause", type=float, default=0.02)
    args = parser.parse_args()
    rank = int(os.environ["RANK"])
    here = args.rank in (rank, -1) and not (args.once and os.environ["HOLDFAST_ATTEMPT"] != "1")
    misbehave = HOW[args.how] if here else HOW["nothing"]

    if args.at == -1:
        misbehave(args)
    import torch
    import torch.distributed as dist
    dist.init_process_group("gloo")
    torch.manual_seed(7)
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    if args.at == 0:
        misbehave(args)
    checkpoints = os.environ.get("HOLDFAST_CHECKPOINT_DIR")
    first = 0
    if checkpoints:
        from holdfast import checkpoint
        first = checkpoint.restore(model=model, optimizer=optimizer)
        if rank == 0:
            print("from step", first, flush=True)
    for step in range(first, args.steps):
        if step == args.at:
            misbehave(args)
        loss = model(torch.randn(4, 8)).square().mean()
        if args.how == "nan":
            loss = loss * float("nan")
            import holdfast
            holdfast.progress(step + 1, loss=loss)
        optimizer.zero_grad()
        loss.backward()
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)
        optimizer.step()
        if checkpoints and (step + 1) % 2 == 0:
            checkpoint.save(step + 1, model=model, optimizer=optimizer)
        # tidy: allow sleep, because the training script paces itself
        time.sleep(args.pause)
    if args.steps == args.at:
        misbehave(args)
    try:
        print("done", rank, flush=True)
    except OSError:
        pass  # it has closed its own output
    if args.how == "nothing" or rank == 0:
        with open(os.environ.get("ZOO_DONE", os.devnull), "a") as file:
            file.write("done %d\n" % rank)


if __name__ == "__main__":
    main()
