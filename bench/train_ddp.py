"""The training script of bench/recovery.py: data-parallel, four ranks, its own checkpoints. It knows
neither Holdfast nor torchrun; both run this very file.

Writes to FOLDER: rank-N.pid, and in steps.log a line "STEP TIME STARTED" per step of rank 0, the
times in CLOCK_MONOTONIC; STARTED is when this process reached this file.
"""
import os
import sys
import time

STARTED = time.monotonic()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

CHECKPOINT_EVERY = 10
WIDTH, BATCH = 128, 64  # 20 to 50 ms a step for four ranks on two cores, with the reference BLAS too


def main(folder, steps):
    rank = int(os.environ["RANK"])
    with open(os.path.join(folder, "rank-%d.pid" % rank), "w") as file:
        file.write(str(os.getpid()))
    log = os.open(os.path.join(folder, "steps.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    checkpoint = os.path.join(folder, "checkpoint.pt")

    dist.init_process_group("gloo")
    torch.manual_seed(1)
    layers = [part for _ in range(4) for part in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    model = DistributedDataParallel(nn.Sequential(*layers))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    first = 0
    if os.path.exists(checkpoint):
        saved = torch.load(checkpoint)
        model.module.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]

    for step in range(first + 1, steps + 1):
        batch = torch.randn(BATCH, WIDTH)
        loss = ((model(batch) - batch) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank != 0:
            continue
        os.write(log, b"%d %.6f %.6f\n" % (step, time.monotonic(), STARTED))
        if step % CHECKPOINT_EVERY == 0:
            torch.save({"model": model.module.state_dict(), "optimizer": optimizer.state_dict(),
                        "step": step}, checkpoint + ".new")
            os.replace(checkpoint + ".new", checkpoint)


main(sys.argv[1], int(sys.argv[2]))
