"""torch.distributed.checkpoint on Holdfast's engine, for PyTorch 2: FSDP, DTensor, any sharding.

    from holdfast import dcp
    step = dcp.load(state)                 # 0: there was none
    ...
    dcp.save(step, state)                  # state: what torch.distributed.checkpoint.save() takes

or with PyTorch's own functions, and its planners:

    torch.distributed.checkpoint.save(state, storage_writer=dcp.Writer(step))
    torch.distributed.checkpoint.load(state, storage_reader=dcp.Reader())

The commits are those of docs/checkpoint-format.md, in HOLDFAST_CHECKPOINT_DIR: a step counts when all ranks
have written theirs, every byte is verified when it is read, and another number of ranks, or another
sharding, reads what it needs of each shard. `holdfast checkpoint` lists and checks them, and exports them as
safetensors. A folder is for one of the two: this, or holdfast.checkpoint.

Tensors are pieces under their name in the state; anything else is pickled by PyTorch's planner, and only
read by it: restore only what you trust.
"""
import dataclasses
import io
import json
import os

import torch
import torch.distributed as distributed
import torch.distributed.checkpoint as torch_dcp
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata, ChunkStorageMetadata, Metadata, MetadataIndex, TensorProperties, TensorStorageMetadata)
from torch.distributed.checkpoint.planner import LoadItemType, WriteItemType
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from . import checkpoint, page
from ._agree import on_rank_zero, rank_of
from ._engine import FOLDER, Damaged, Refused
from ._state import _DTYPES, copy_into, take_apart

_BYTES = "bytes of "  # before the name of what is no tensor


def save(step, state, **options):
    """Commit the state after `step` steps; collective, returns once it is durable. `options` go to
    torch.distributed.checkpoint.save()."""
    torch_dcp.save(state, storage_writer=Writer(step), **options)


def load(state, **options):
    """Fill the state from the newest commit that verifies; its step, or 0 when there is none. Collective.

    What is damaged is said on stderr, and the commit before it is taken. Refused: there are commits and
    none may be used."""
    engine = _engine()

    def begin():
        engine.begin()
        return engine.chain()

    commits = on_rank_zero(begin)
    for attempt, step in commits:
        try:
            torch_dcp.load(state, storage_reader=Reader((attempt, step)), **options)
        except (torch_dcp.CheckpointException, Damaged) as error:
            causes = getattr(error, "failures", {0: (error, None)}).values()
            if not all(isinstance(cause[0], Damaged) for cause in causes):
                raise
            checkpoint._left_out((attempt, step), [cause[0] for cause in causes], rank_of())
            continue
        mine = page.current()
        if mine is not None:
            mine.restored(step)
        return step
    if commits:
        raise Refused("none of the %d checkpoints in %s verifies (see above); move the folder away to start "
                      "from step 0" % (len(commits), engine.folder))
    return 0


class Writer(torch_dcp.StorageWriter):
    """Of one save. The data is copied into the engine's memory first, and written and committed from
    there."""

    def __init__(self, step):
        self.step = step

    def reset(self, checkpoint_id=None):
        pass

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id):
        return checkpoint_id is None

    def set_up_storage_writer(self, is_coordinator, *_, **__):
        pass

    def prepare_local_plan(self, plan):
        return plan

    def prepare_global_plan(self, plans):
        name = os.urandom(8).hex()  # of this save, on all ranks
        return [dataclasses.replace(plan, storage_data=name) for plan in plans]

    def write_data(self, plan, planner):
        engine, rank, world = _engine(), _rank(), _world()
        tensors, descriptions, sizes = [], [], []
        for item in plan.items:
            tensor, description = _described(item, planner.resolve_data(item))
            tensors.append(tensor)
            descriptions.append(description)
            sizes.append(description["bytes"])
        skeleton = take_apart({})[0]
        image = engine.take(self.step, rank, world, descriptions, skeleton)
        try:
            copy_into(image, tensors, descriptions, checkpoint._threads())
        except BaseException:
            image.drop()
            raise
        image.publish(True)
        engine.persist(self.step, rank, world, plan.storage_data, checkpoint._threads())
        mine = page.current()
        if mine is not None:
            mine.committed(self.step)
        done = Future()
        done.set_result([WriteResult(item.index, size, None) for item, size in zip(plan.items, sizes)])
        return done

    def finish(self, metadata, results):
        pass  # the engine has committed: its manifest is the metadata


class Reader(torch_dcp.StorageReader):
    """Of a commit, (attempt, step); without one, the newest. Damaged when it does not verify."""

    def __init__(self, commit=None):
        self.commit, self._manifest, self._text = commit, None, None

    def reset(self, checkpoint_id=None):
        pass

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id):
        return checkpoint_id is None

    def read_metadata(self, *_, **__):
        engine = _engine()
        if self.commit is None:
            commits = engine.chain()
            if not commits:
                raise Refused("%s has no commit" % engine.folder)
            self.commit = commits[0]
        self._text = engine.manifest(*self.commit)
        self._manifest = json.loads(self._text)
        found, places = {}, {}
        for shard in self._manifest["shards"]:
            for piece in shard["tensors"]:
                name = piece["name"]
                if name.startswith(_BYTES):
                    name = name[len(_BYTES):]
                    found[name] = BytesStorageMetadata()
                    places[MetadataIndex(name)] = (shard["rank"], piece)
                    continue
                offsets, sizes = torch.Size(piece["offsets"]), torch.Size(piece["shape"])
                known = found.setdefault(name, TensorStorageMetadata(
                    TensorProperties(dtype=getattr(torch, piece["dtype"])), torch.Size(piece["global_shape"]), []))
                known.chunks.append(ChunkStorageMetadata(offsets, sizes))
                places[MetadataIndex(name, offsets)] = (shard["rank"], piece)
        return Metadata(found, storage_data=places)

    def set_up_storage_reader(self, metadata, is_coordinator, *_, **__):
        self._places = metadata.storage_data

    def prepare_local_plan(self, plan):
        return plan

    def prepare_global_plan(self, plans):
        return plans

    def read_data(self, plan, planner):
        wanted = {}  # rank of the shard -> {at: (piece, items)}
        for item in plan.items:
            rank, piece = self._places[item.storage_index]
            wanted.setdefault(rank, {}).setdefault(piece["at"], (piece, []))[1].append(item)
        for rank, pieces in wanted.items():
            self._read_shard(rank, [pieces[at] for at in sorted(pieces)], planner)
        done = Future()
        done.set_result(None)
        return done

    def _read_shard(self, rank, pieces, planner):
        buffers = [torch.empty(piece["shape"], dtype=getattr(torch, piece["dtype"])) for piece, _ in pieces]
        full = [(piece["at"], buffer.data_ptr(), piece["bytes"])
                for (piece, _), buffer in zip(pieces, buffers) if piece["bytes"]]
        with _engine().shard(FOLDER, *self.commit, rank, self._manifest["world_size"], self._text) as shard:
            shard.read([f[0] for f in full], [f[1] for f in full], [f[2] for f in full], checkpoint._threads())
        for (_, items), buffer in zip(pieces, buffers):
            for item in items:
                if item.type == LoadItemType.BYTE_IO:
                    planner.load_bytes(item, io.BytesIO(buffer.numpy().tobytes()))
                    continue
                part = buffer
                for dimension, (offset, length) in enumerate(zip(item.storage_offsets, item.lengths)):
                    part = part.narrow(dimension, offset, length)
                target = planner.resolve_tensor(item).detach()
                target.copy_(part)
                planner.commit_tensor(item, target)


def _engine():
    engine = checkpoint._open()
    if engine is None:
        raise Refused("HOLDFAST_CHECKPOINT_DIR is not set: name the folder there, or in the job's "
                      "checkpoint.folder")
    return engine


def _rank():
    return distributed.get_rank() if distributed.is_initialized() else 0


def _world():
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _described(item, value):
    """(tensor, description) of a planned item, as the engine takes them."""
    if item.type == WriteItemType.BYTE_IO:
        tensor = torch.frombuffer(bytearray(value.getbuffer()), dtype=torch.uint8)
        return tensor, {"name": _BYTES + item.index.fqn, "dtype": "uint8", "shape": [tensor.numel()],
                        "bytes": tensor.numel()}
    dtype = str(value.dtype)[len("torch."):]
    if dtype not in _DTYPES:
        raise TypeError("%s is of %s; a checkpoint holds %s" % (item.index.fqn, dtype, ", ".join(_DTYPES)))
    chunk = item.tensor_data.chunk
    return value, {"name": item.index.fqn, "dtype": dtype, "shape": list(chunk.sizes),
                   "global_shape": list(item.tensor_data.size), "offsets": list(chunk.offsets),
                   "bytes": value.numel() * value.element_size()}
