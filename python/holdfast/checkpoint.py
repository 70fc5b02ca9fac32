"""Checkpoints of a training job: restore(), due(), save().

    start = checkpoint.restore(model=model, optimizer=optimizer)
    ...
    if checkpoint.due(step): checkpoint.save(step, model=model, optimizer=optimizer)

`step` is the number of steps done: the one to go on from. Objects are given by name: anything with
state_dict() and load_state_dict(), or a dict, which is updated in place. They are taken to be the same
on all ranks and rank 0 writes them; what differs goes into `per_rank`, a dict of such objects, which
each rank writes and gets back. The random generators of Python, numpy, torch and the current GPU are
per rank too, saved and restored unasked. Wrappers (DistributedDataParallel, DataParallel,
torch.compile) are seen through, so a checkpoint does not depend on them.

Once torch.distributed is initialised both calls are collective: all ranks call them, in the same order.

With another number of ranks than at the save, replicated objects are restored everywhere; ranks that
existed then get their per-rank state and generators back, others keep what they have.

Where: HOLDFAST_CHECKPOINT_DIR; without it nothing is saved or restored and the program just runs.
HOLDFAST_CHECKPOINT_INTERVAL (steps), HOLDFAST_CHECKPOINT_KEEP (3), HOLDFAST_JOB and HOLDFAST_ATTEMPT
(1) complete it. The files are described in _store.py; they are pickles: restore only what you trust.

`python3 -m holdfast.checkpoint list|verify DIR [--json]` looks at such a folder.
"""
import errno
import json
import os
import random
import sys
import time

from . import page
from ._store import Damaged, Fenced, Refused, Store, verify_file

_store = None
_group = None          # the CPU group that ranks agree over; () until made
_told = set()          # the errors printed so far
_REMEDY = {
    "ENOSPC": "free space there, or keep fewer commits (HOLDFAST_CHECKPOINT_KEEP)",
    "EDQUOT": "the quota is used up: free space there, or keep fewer commits",
    "EACCES": "give the job's user write access to the folder",
    "EROFS": "the file system is read-only: see the node's kernel log",
    "ESTALE": "this process belongs to a superseded attempt and can be stopped",
}


def due(step):
    """Whether `step` is one to save at, by HOLDFAST_CHECKPOINT_INTERVAL; False without it."""
    interval = int(os.environ.get("HOLDFAST_CHECKPOINT_INTERVAL") or 0)
    return interval > 0 and step > 0 and step % interval == 0


def restore(per_rank=None, **objects):
    """Load the newest checkpoint that verifies into the objects; the step to go on from, 0: none.

    A damaged checkpoint is reported on stderr and the one before it is taken. A disk that is
    full is reported, and training goes on from there without saving until there is room. Raises Refused when
    there are checkpoints but none may be used: a run from scratch over them is the user's decision.
    Raises Fenced when a newer attempt of the job has begun.
    """
    store = _open_store()
    if store is None:
        return 0
    rank, world = _rank(), _world()

    def candidates():
        problem = None
        try:
            store.begin()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            problem = error  # a full disk is a reason to save nothing, not to train nothing
        return store.chain(), problem

    commits, problem = _on_rank_zero(candidates)
    if problem is not None:
        _failed(0, store.root, problem)
    for attempt, step in commits:
        manifest = _on_rank_zero(lambda: _manifest_or_problem(store, attempt, step))
        problem = manifest if isinstance(manifest, str) else None
        if problem is None:
            folder = store.step_path(attempt, step)
            mine = [e for i, e in enumerate(manifest["files"]) if i == 0 or i % world == rank]
            problem = next(filter(None, _gather(_problem(folder, mine))), None)
        if problem is None:
            _load(folder, step, manifest, rank, world, objects, per_rank or {})
            store.last_step = step
            mine = page.current()
            if mine is not None:
                mine.restored(step)
            return step
        if rank == 0:
            _say("checkpoint of attempt %d, step %d is left out: %s" % (attempt, step, problem))
    if commits:
        raise Refused("none of the %d checkpoints in %s verifies (see above); move the folder away to "
                      "start from step 0" % (len(commits), store.root))
    return 0


def save(step, per_rank=None, **objects):
    """Commit the objects as the state after `step` steps; True once it is durable.

    When it cannot be written, on any rank, all ranks get False, what was written is removed, and the
    error goes to stderr (once per kind) and to the progress page. Training can go on.
    """
    store = _open_store()
    if store is None:
        return False
    if step == store.last_step:
        return True
    began = time.monotonic_ns()
    rank, name = _rank(), "rank-%04d.pt" % _rank()
    number, text, entry = 0, None, None
    results = _gather(_attempt(lambda: store.prepare(step)) if rank == 0 else None)
    failure = results[0] if isinstance(results[0], OSError) else None
    if failure is None:
        state = _state(per_rank or {}, objects if rank == 0 else {})
        results = _gather(_attempt(lambda: _write(store.step_path(store.attempt, step), name, state)))
        failure = next((r for r in results if isinstance(r, OSError)), None)
    if failure is None:
        results = _gather(_attempt(lambda: store.commit(step, results, len(results)))
                          if rank == 0 else None)
        failure = results[0] if isinstance(results[0], OSError) else None
    if rank == 0:
        if failure is None:
            _attempt(store.collect)
        elif not isinstance(failure, Fenced):
            store.discard(store.attempt, step)
    mine = page.current()
    if mine is not None:
        mine.stalled(time.monotonic_ns() - began)
    if failure is not None:
        _failed(step, store.root, failure)
        return False
    store.last_step = step
    if mine is not None:
        mine.committed(step)
    return True


# The parts.

def _open_store():
    """The job's store, or None without a folder."""
    global _store
    root = os.environ.get("HOLDFAST_CHECKPOINT_DIR")
    if not root:
        return None
    if _store is None or _store.root != root:
        _store = Store(root, os.environ.get("HOLDFAST_JOB"),
                       int(os.environ.get("HOLDFAST_ATTEMPT") or 1),
                       int(os.environ.get("HOLDFAST_CHECKPOINT_KEEP") or 3))
    return _store


def _manifest_or_problem(store, attempt, step):
    try:
        return store.manifest(attempt, step)
    except Damaged as problem:
        return str(problem)


def _problem(folder, entries):
    try:
        for entry in entries:
            verify_file(folder, entry)
    except Damaged as problem:
        return str(problem)
    return None


def _write(folder, name, state):
    import torch
    from ._store import write_file
    os.makedirs(folder, exist_ok=True)
    return write_file(folder, name, lambda file: torch.save(state, file))


def _inner(thing):
    """What a wrapper wraps."""
    import torch
    wrappers = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    while True:
        if isinstance(thing, wrappers):
            thing = thing.module
        elif hasattr(thing, "_orig_mod"):  # torch.compile
            thing = thing._orig_mod
        else:
            return thing


def _state(per_rank, objects):
    def of(things):
        return {name: dict(thing) if isinstance(thing, dict) else _inner(thing).state_dict()
                for name, thing in things.items()}
    return {"objects": of(objects), "per_rank": of(per_rank), "random": _generators()}


def _load(folder, step, manifest, rank, world, objects, per_rank):
    import torch

    def read(index):
        path = os.path.join(folder, manifest["files"][index]["name"])
        try:
            return torch.load(path, map_location="cpu", weights_only=False)
        except TypeError:  # before torch 1.13
            return torch.load(path, map_location="cpu")

    def fill(things, states, where):
        for name, thing in things.items():
            if name not in states:
                raise Refused("the checkpoint of step %d has no %s%r (it has %s); give it under the name "
                              "it was saved as" % (step, where, name, ", ".join(states) or "none"))
            if isinstance(thing, dict):
                thing.clear()
                thing.update(states[name])
            else:
                _inner(thing).load_state_dict(states[name])

    shared = read(0)
    fill(objects, shared["objects"], "")
    if rank < manifest["world_size"]:
        own = shared if rank == 0 else read(rank)
        fill(per_rank, own["per_rank"], "per_rank ")
        _set_generators(own["random"])
    if rank == 0 and world != manifest["world_size"]:
        _say("checkpoint of step %d was saved by %d ranks and is restored by %d; ranks beyond those keep "
             "their own per-rank state" % (step, manifest["world_size"], world))


def _generators():
    import torch
    states = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if "numpy" in sys.modules:
        states["numpy"] = sys.modules["numpy"].random.get_state()
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_generators(states):
    import torch
    random.setstate(states["python"])
    torch.set_rng_state(states["torch"])
    if "numpy" in states:
        import numpy
        numpy.random.set_state(states["numpy"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _attempt(action):
    """The action's result, or the OSError that it met."""
    try:
        return action()
    except OSError as error:
        return error


def _failed(step, root, error):
    try:
        disk = os.statvfs(root)
        free = disk.f_bavail * disk.f_frsize
    except OSError:
        free = 0
    text = error.strerror if isinstance(error, Fenced) else "%s: %s" % (
        error.strerror or error, error.filename or root)
    remedy = _REMEDY.get(errno.errorcode.get(error.errno, ""), "see the error")
    mine = page.current()
    if mine is not None:
        mine.checkpoint_failed(error.errno or 0, "%s; %s" % (text, remedy), free)
    if error.errno not in _told and _rank() == 0:
        _told.add(error.errno)
        _say("no checkpoint at step %d: %s (%d bytes free). Training goes on and the next save tries "
             "again; %s." % (step, text, free, remedy))


def _say(text):
    sys.stderr.write("holdfast: %s\n" % text)
    sys.stderr.flush()


# Agreement between ranks.

def _distributed():
    """torch.distributed if this job uses it, else None."""
    import torch
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise RuntimeError("WORLD_SIZE is %s: call torch.distributed.init_process_group() before "
                           "holdfast.checkpoint" % os.environ["WORLD_SIZE"])
    return None


def _rank():
    distributed = _distributed()
    return distributed.get_rank() if distributed else 0


def _world():
    distributed = _distributed()
    return distributed.get_world_size() if distributed else 1


def _gather(value):
    """Every rank's value, in the order of ranks, on every rank. Over a CPU group: no GPU waits for it."""
    global _group
    distributed = _distributed()
    if distributed is None:
        return [value]
    if _group is None or _group[0] is not distributed.group.WORLD:
        on_cpu = distributed.get_backend() == "gloo" or not distributed.is_gloo_available()
        _group = (distributed.group.WORLD,
                  None if on_cpu else distributed.new_group(backend="gloo"))
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value, group=_group[1])
    return values


def _on_rank_zero(action):
    """action()'s result on rank 0, on every rank; what it raises is raised on every rank."""
    value = None
    if _rank() == 0:
        try:
            value = action()
        except (OSError, Refused) as error:
            value = error
    value = _gather(value)[0]
    if isinstance(value, Exception):
        raise value
    return value


# The command line.

def _main(arguments):
    import argparse
    parser = argparse.ArgumentParser(prog="python3 -m holdfast.checkpoint")
    parser.add_argument("command", choices=("list", "verify"))
    parser.add_argument("folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    store, rows = Store(options.folder), []
    for attempt, step in store.chain():
        row = {"attempt": attempt, "step": step, "problem": None}
        try:
            manifest = store.manifest(attempt, step)
            row.update(world_size=manifest["world_size"], created=manifest["created"],
                       bytes=sum(e["bytes"] for e in manifest["files"]))
            if options.command == "verify":
                row["problem"] = _problem(store.step_path(attempt, step), manifest["files"])
        except (Damaged, Refused) as problem:
            row["problem"] = str(problem)
        rows.append(row)
    if options.json:
        print(json.dumps(rows))
    for row in [] if options.json else rows:
        print("attempt %d  step %d  %s" % (row["attempt"], row["step"], row["problem"] or
              "%d ranks  %d bytes" % (row["world_size"], row["bytes"])))
    return 1 if any(row["problem"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
