"""A sharded model under FSDP (fully_shard, PyTorch 2): each rank holds a part of the weights and of the
optimizer's state, and writes that part. What makes it survive the loss of machines, and go on with another
number of them, are the lines that say `dcp`.

Runs alone (`python3 train.py`) and as a Holdfast job on any number of ranks (job.yaml). On machines
without an accelerator it trains on the CPU.
"""
import argparse
import hashlib
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard

import holdfast
from holdfast import dcp


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(),
                                    nn.Linear(4 * width, width))

    def forward(self, x):
        return x + self.layers(x)


def build(args):
    torch.manual_seed(args.seed)  # the same weights on all ranks, before they are sharded
    model = nn.Sequential(*(Block(args.width) for _ in range(args.layers)))
    if dist.is_initialized():
        for block in model:
            fully_shard(block)
        fully_shard(model)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3)


def batch_of(args, step, rank, world):
    """By seed and step alone: a run with another number of ranks sees the same data."""
    dice = torch.Generator().manual_seed((args.seed << 32) + step)
    rows = torch.randn(args.batch, args.width, generator=dice)
    return rows[rank * args.batch // world:(rank + 1) * args.batch // world]


def digest_of(model):
    """Of all weights; collective."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        digest.update(name.encode() + whole.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=12, help="rows of a step, of all ranks together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--every", type=int, default=10, help="steps from one checkpoint to the next")
    args = parser.parse_args()
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    model, optimizer = build(args)

    weights, moments = get_state_dict(model, optimizer)
    state = {"model": weights, "optimizer": moments}
    start = dcp.load(state)
    set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    if rank == 0:
        print("from step %d" % start, flush=True)
    for step in range(start + 1, args.steps + 1):
        rows = batch_of(args, step, rank, world)
        loss = (model(rows) - rows.roll(1, dims=1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        holdfast.progress(step, loss=loss.item())
        if step % args.every == 0:
            weights, moments = get_state_dict(model, optimizer)
            dcp.save(step, {"model": weights, "optimizer": moments})
    digest = digest_of(model)
    if rank == 0:
        print("loss %.6f\nweights sha256 %s" % (loss.item(), digest), flush=True)
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
