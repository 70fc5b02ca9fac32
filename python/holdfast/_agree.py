"""What the ranks of a job tell each other, over torch.distributed; one process alone agrees with itself.

A group of CPUs is used: no GPU waits for it. Of gloo's collectives those that go by way of one rank are used:
on four ranks that share two cores all_gather_object() takes five times as long as a gather and a broadcast.
"""
import os
import pickle

from ._engine import Refused

_FIRST = 4096   # bytes that are sent before it is known how many there are
_LENGTH = 8
_group = None   # (the world that it is of, the group that ranks agree over)


def _distributed():
    """torch.distributed if this job uses it, else None."""
    import torch
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise RuntimeError("WORLD_SIZE is %s: call torch.distributed.init_process_group() before "
                           "holdfast.checkpoint" % os.environ["WORLD_SIZE"])
    return None


def rank_of():
    distributed = _distributed()
    return distributed.get_rank() if distributed else 0


def world_of():
    distributed = _distributed()
    return distributed.get_world_size() if distributed else 1


def _cpu_group(distributed):
    global _group
    if _group is None or _group[0] is not distributed.group.WORLD:
        on_cpu = distributed.get_backend() == "gloo" or not distributed.is_gloo_available()
        _group = (distributed.group.WORLD, None if on_cpu else distributed.new_group(backend="gloo"))
    return _group[1]


def begin_most(number):
    """most() in two parts: what is returned is called for the result, before anything else is agreed on."""
    distributed = _distributed()
    if distributed is None:
        return lambda: int(number)
    import torch
    value = torch.tensor([int(number)])
    work = distributed.all_reduce(value, op=distributed.ReduceOp.MAX, group=_cpu_group(distributed),
                                  async_op=True)

    def result():
        work.wait()
        return int(value)
    return result


def most(number):
    """The greatest of all ranks' small numbers, on every rank: the cheapest agreement that there is."""
    return begin_most(number)()


def gather(value):
    """Every rank's value, in the order of ranks, on every rank."""
    distributed = _distributed()
    if distributed is None:
        return [value]
    import torch
    group, world, rank = _cpu_group(distributed), distributed.get_world_size(), distributed.get_rank()
    raw = pickle.dumps(value)
    raw = len(raw).to_bytes(_LENGTH, "little") + raw
    size = _FIRST
    while True:
        mine = torch.frombuffer(bytearray(raw[:size].ljust(size, b"\0")), dtype=torch.uint8)
        all_ = torch.empty(world, size, dtype=torch.uint8)
        distributed.gather(mine, list(all_) if rank == 0 else None, dst=0, group=group)
        distributed.broadcast(all_, src=0, group=group)
        said = [row.numpy().tobytes() for row in all_]
        lengths = [_LENGTH + int.from_bytes(row[:_LENGTH], "little") for row in said]
        if max(lengths) <= size:
            return [pickle.loads(row[_LENGTH:length]) for row, length in zip(said, lengths)]
        size = max(lengths)


def on_rank_zero(action):
    """action()'s result on rank 0, on every rank; what it raises is raised on every rank."""
    value = None
    if rank_of() == 0:
        try:
            value = action()
        except (OSError, Refused) as error:
            value = error
    value = from_rank_zero(value)
    if isinstance(value, Exception):
        raise value
    return value


def from_rank_zero(value):
    """Rank 0's value, on every rank."""
    distributed = _distributed()
    if distributed is None:
        return value
    import torch
    group = _cpu_group(distributed)
    raw = pickle.dumps(value) if distributed.get_rank() == 0 else b""
    raw = len(raw).to_bytes(_LENGTH, "little") + raw
    size = _FIRST
    while True:
        sent = torch.frombuffer(bytearray(raw[:size].ljust(size, b"\0")), dtype=torch.uint8)
        distributed.broadcast(sent, src=0, group=group)
        said = sent.numpy().tobytes()
        length = _LENGTH + int.from_bytes(said[:_LENGTH], "little")
        if length <= size:
            return pickle.loads(said[_LENGTH:length])
        size = length
