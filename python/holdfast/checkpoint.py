"""Checkpoints of a training job: restore(), due(), save(), wait().

    start = checkpoint.restore(model=model, optimizer=optimizer)
    ...
    if checkpoint.due(step): checkpoint.save(step, model=model, optimizer=optimizer)

`step` is the number of steps done: the one to go on from. Objects are given by name: anything with
state_dict() and load_state_dict(), or a dict, which is updated in place. They are taken to be the same
on all ranks and rank 0 writes them; what differs goes into `per_rank`, a dict of such objects, which
each rank writes and gets back. The random generators of Python, numpy, torch and the current GPU are
per rank too, saved and restored unasked. Wrappers (DistributedDataParallel, DataParallel,
torch.compile) are seen through, so a checkpoint does not depend on them.

save() costs one copy of the state into memory. It is written to the folder behind training; while that
goes on, later saves are kept in memory only, and said so once. Under Holdfast that memory is the
node's: it outlives the rank, and a restart begins from it. It takes at most three times the state of
each rank, twice where the disk keeps up. When the program ends, or calls wait(), the last state is
written as well.

Once torch.distributed is initialised all calls are collective: all ranks call them, in the same order.

With another number of ranks than at the save, replicated objects are restored everywhere; ranks that
existed then get their per-rank state and generators back, others keep what they have.

Where: HOLDFAST_CHECKPOINT_DIR; without it nothing is saved or restored and the program just runs.
HOLDFAST_CHECKPOINT_INTERVAL (steps), HOLDFAST_JOB and HOLDFAST_ATTEMPT (1) complete it. Of the commits,
the newest HOLDFAST_CHECKPOINT_KEEP (3) stay, the first of each HOLDFAST_CHECKPOINT_KEEP_EVERY steps (0: of
none), and of all these what fits into HOLDFAST_CHECKPOINT_BUDGET bytes (0: all); never fewer than two.
The files are described in docs/checkpoint-format.md; reading one runs no code of its writer's.

`python3 -m holdfast.checkpoint list|verify DIR [--json]` looks at such a folder.
"""
import errno
import json
import os
import random
import sys
import time

from . import page
from ._behind import Behind
from ._engine import FOLDER, MEMORY, Damaged, Engine, Fenced, Refused, Shard

_engine = None
_behind = None         # writes behind; made with the engine
_last_step = None      # restored or saved last
_mirrored = None       # see _choose_mirrored()
_group = None          # the CPU group that ranks agree over; () until made
_told = set()          # the errors printed so far
_REMEDY = {
    "ENOSPC": "free space there, or keep fewer commits (checkpoint.keep, checkpoint.budget)",
    "ESTALE": "this process belongs to a superseded attempt and can be stopped",
}


def due(step):
    """Whether `step` is one to save at, by HOLDFAST_CHECKPOINT_INTERVAL; False without it."""
    interval = int(os.environ.get("HOLDFAST_CHECKPOINT_INTERVAL") or 0)
    return interval > 0 and step > 0 and step % interval == 0


def restore(per_rank=None, **objects):
    """Load the newest state that verifies into the objects; the step to go on from, 0: none.

    It comes from the node's memory where all ranks find theirs, else from the folder. What is damaged is
    reported on stderr and the one before it is taken. A disk that is full is reported, and training goes
    on from there without saving until there is room. Raises Refused when there are checkpoints but none
    may be used: a run from scratch over them is the user's decision. Raises Fenced when a newer attempt of
    the job has begun.
    """
    global _last_step
    engine = _open()
    if engine is None:
        return 0
    rank, world = _rank(), _world()

    def begin():
        problem = None
        try:
            engine.begin()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            problem = error  # a full disk is a reason to save nothing, not to train nothing
        return engine.chain(), problem

    commits, problem = _on_rank_zero(begin)
    if problem is not None:
        _failed(0, problem)
    places = _places(engine)
    here = {"objects": _state_of(objects, True), "per_rank": _state_of(per_rank or {}, True)}
    for at, saved_by in _candidates(engine, commits, places):
        state = _read_everywhere(engine, at, saved_by, at in commits, rank, places, here)
        if state is not None:
            _load(at[1], state, saved_by or state["world_size"], rank, world, objects, per_rank or {})
            _last_step = at[1]
            mine = page.current()
            if mine is not None:
                mine.restored(at[1])
            return at[1]
    if commits:
        raise Refused("none of the %d checkpoints in %s verifies (see above); move the folder away to "
                      "start from step 0" % (len(commits), engine.folder))
    return 0


def save(step, per_rank=None, **objects):
    """Take the objects as the state after `step` steps; True once it is in memory.

    It is durable when wait() gives True, or `committed_step` of the job says so. When it cannot be written,
    on any rank, the step is given up on all, and the error goes to stderr (once per kind) and to the
    progress page. Training can go on. False: nothing was taken: there is no folder, the memory is full,
    or a newer attempt has begun.
    """
    global _last_step
    engine = _open()
    if engine is None:
        return False
    if step == _last_step:
        return True
    began = time.monotonic_ns()
    rank, world = _rank(), _world()
    if _behind.fenced is not None:
        _failed(step, _behind.fenced)
        return False
    # The ranks agree whether this step goes to the disk as well, and under which name.
    if _mirrored is None:
        _places(engine)
    said = _gather((_behind.busy(), os.urandom(8).hex() if rank == 0 else None))
    is_busy, save_name = any(busy for busy, _ in said), said[0][1]
    state = _state(per_rank or {}, objects if rank == 0 else {})
    problem = _attempt(lambda: _take(engine, step, rank, world, state, not is_busy))
    if problem is not None and problem.errno == errno.ENOTCONN:
        engine = _reopen(problem)
        problem = _attempt(lambda: _take(engine, step, rank, world, state, not is_busy))
    _behind.taken((step, rank, world, save_name), not is_busy, problem)
    mine = page.current()
    if mine is not None:
        mine.stalled(time.monotonic_ns() - began)
    if problem is not None:
        _failed(step, problem)
        return False
    for address, other in _mirrored:
        engine.mirror(address, step, other, world)
    if is_busy and "behind" not in _told and rank == 0:
        _told.add("behind")
        _say("step %d is kept in memory only: the disk still writes an earlier one. It is so from here on "
             "whenever saves come faster than the disk." % step)
    _last_step = step
    return True


def wait(timeout_s=None):
    """Until the last save is durable; True if it is. Also writes one that was kept in memory only."""
    return _behind is None or _behind.drain(timeout_s)


# The parts.

def _make_engine(root):
    retention = tuple(int(os.environ.get("HOLDFAST_CHECKPOINT_" + name) or default)
                      for name, default in (("KEEP", 3), ("KEEP_EVERY", 0), ("BUDGET", 0)))
    arguments = (root, os.environ.get("HOLDFAST_JOB"), int(os.environ.get("HOLDFAST_ATTEMPT") or 1), retention)
    server = os.environ.get("HOLDFAST_SNAPSHOT_SERVER")
    try:
        return Engine(*arguments, server, os.environ.get("HOLDFAST_JOB_ID"))
    except OSError as error:
        if not server:
            raise
        _say("no memory that outlives this process: %s" % error)
        return Engine(*arguments)


def _reopen(problem):
    """Another engine where the node's snapshot server has died: with the new one, or with memory of this
    process. What the old one had in memory is lost."""
    global _engine
    _say("%s; its memory is lost, and the next saves go to another" % problem.strerror)
    _engine = _make_engine(_engine.folder)
    _behind.use(_engine)
    return _engine


def _open():
    """The job's engine, or None without a folder."""
    global _engine, _behind
    root = os.environ.get("HOLDFAST_CHECKPOINT_DIR")
    if not root:
        return None
    if _engine is None or _engine.folder != root:
        _engine = _make_engine(root)
        _behind = Behind(_engine, _threads(), _committed, _failed)
        page.current()  # claimed here: the thread that writes behind must not be the first to ask
    return _engine


def _threads():
    """Of this rank, for copies and the disk: its share of the cores, up to 8."""
    return max(1, min(8, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE") or 1)))


def _committed(step):
    mine = page.current()
    if mine is not None:
        mine.committed(step)


def _take(engine, step, rank, world, state, will_persist):
    from . import _state as states
    skeleton, tensors, descriptions = states.take_apart(state)
    image = engine.take(step, rank, world, descriptions, skeleton)
    try:
        states.copy_into(image, tensors, descriptions, _threads())
    except BaseException:
        image.drop()
        raise
    image.publish(will_persist)


def _places(engine):
    """{image: [addresses of nodes that have it in memory, "" for one that cannot be reached]}, of all
    nodes. Also settles whose images this rank's node mirrors."""
    global _mirrored
    replica_to = os.environ.get("HOLDFAST_REPLICA_TO") or ""
    try:
        mine = engine.address(), replica_to, engine.images()
    except OSError:
        mine = "", "", []  # the server is gone, and the memory with it
    said = _gather(mine)
    _mirrored = _choose_mirrored([(address, to) for address, to, _ in said])
    places = {}
    for address, _, images in said:
        for image in images:
            if address not in places.setdefault(image, []):
                places[image].append(address)
    return places


def _choose_mirrored(nodes):
    """[(address, rank)] of the images that this rank has brought to its node: its share of those whose
    replica the control plane wants here. `nodes`: by rank, (address, where its replica goes)."""
    rank, local_world = _rank(), int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    here = nodes[rank][0]
    return [(address, other) for other, (address, to) in enumerate(nodes)
            if here and to == here != address and other % local_world == rank % local_world]


def _candidates(engine, commits, places):
    """[((attempt, step), world size or None)]: commits, and what all nodes together have in memory, newest
    first. A newer attempt comes first whatever its step."""
    there = {}
    for attempt, step, rank, world in places:
        there.setdefault((attempt, step, world), set()).add(rank)
    found = {tuple(at): None for at in commits}
    for (attempt, step, world), ranks in there.items():
        if len(ranks) == world and attempt <= engine.attempt:
            found[attempt, step] = world
    return sorted(found.items(), reverse=True)


def _read_everywhere(engine, at, saved_by, is_committed, rank, places, here):
    """This rank's part of the state, {"shared": ..., "own": ... or None}; None where any rank fails. What
    comes from memory is verified on all ranks before it goes into the tensors that are `here`."""
    from . import _state as states
    manifest = None
    if is_committed:
        manifest, problem = _on_rank_zero(lambda: _or_problem(lambda: engine.manifest(*at)))
        if manifest is not None:
            saved_by = json.loads(manifest)["world_size"]
        elif saved_by is None:  # else the memory may do without it
            return _left_out(at, [problem], rank)
    wanted = [0] + ([rank] if 0 < rank < saved_by else [])
    found, problem, notes = {}, None, []
    for shard in wanted:
        try:
            found[shard] = _find_nearest(engine, at + (shard, saved_by), manifest, places, notes, shard == rank)
        except (OSError, Damaged, Refused) as error:
            problem = error
            break
    for note in notes:
        _say("%s; the folder's copy is taken instead" % note)
    problems = _gather(problem)
    refused = next((p for p in problems if isinstance(p, Refused)), None)
    if any(problems):
        for shard in found.values():
            if isinstance(shard, Shard):
                shard.close()
        if refused is not None:
            raise refused
        return _left_out(at, problems, rank)
    targets = states.targets_in(here)
    for number, shard in found.items():
        if isinstance(shard, Shard):
            with shard:
                found[number] = states.read_shard(shard, _reading_threads(), targets, number == rank)
    return {"shared": found[0], "own": found.get(rank) if rank < saved_by else None,
            "world_size": saved_by}


def _left_out(at, problems, rank):
    if rank == 0:
        _say("checkpoint of attempt %d, step %d is left out: %s" %
             (at + (next(str(p) for p in problems if p is not None),)))


def _or_problem(action):
    try:
        return action(), None
    except Damaged as problem:
        return None, str(problem)


def _reading_threads():
    return max(4, _threads())  # more than cores: some wait for the disk


def _find_nearest(engine, image, manifest, places, notes, with_own):
    """A verified Shard in this node's memory, maybe brought from another's; else the state itself from the
    folder, where the step is committed: so its bytes are read once."""
    from . import _state as states
    import torch  # noqa: F401

    problem = None
    for address in [None] + [a for a in places.get(image, ()) if a]:
        try:
            if address is not None:
                engine.fetch(address, *image)
            shard = engine.shard(MEMORY, *image)
            try:
                states.verify_shard(shard, _threads(), with_own)
            except BaseException:
                shard.close()
                raise
            return shard
        except Damaged as error:
            notes.append(str(error))
            problem = error
        except OSError as error:
            problem = problem or error
    if manifest is None:
        raise problem
    with engine.shard(FOLDER, *image, manifest) as shard:
        return states.read_shard(shard, _reading_threads(), {}, with_own)


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


def _state_of(things, keep_vars=False):
    """keep_vars: with the parameters of modules themselves: to load them again copies nothing."""
    import torch

    def state(thing):
        if isinstance(thing, dict):
            return dict(thing)
        inner = _inner(thing)
        is_module = getattr(type(inner), "state_dict", None) is torch.nn.Module.state_dict
        return inner.state_dict(keep_vars=True) if keep_vars and is_module else inner.state_dict()
    return {name: state(thing) for name, thing in things.items()}


def _state(per_rank, objects):
    return {"objects": _state_of(objects), "per_rank": _state_of(per_rank), "random": _generators()}


def _load(step, state, saved_by, rank, world, objects, per_rank):
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

    fill(objects, state["shared"]["objects"], "")
    if state["own"] is not None:
        fill(per_rank, state["own"]["per_rank"], "per_rank ")
        _set_generators(state["own"]["random"])
    if rank == 0 and world != saved_by:
        _say("checkpoint of step %d was saved by %d ranks and is restored by %d; ranks beyond those keep "
             "their own per-rank state" % (step, saved_by, world))


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
    if not states:
        return  # of a checkpoint that was imported
    random.setstate(states["python"])
    torch.set_rng_state(states["torch"])
    if "numpy" in states:
        import numpy
        numpy.random.set_state(states["numpy"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _attempt(action):
    """The OSError that the action met, or None."""
    try:
        action()
    except OSError as error:
        return error
    return None


def _failed(step, error):
    """Tells on which step nothing was written, and why: once per kind, and on the progress page."""
    root = _engine.folder
    try:
        disk = os.statvfs(root)
        free = disk.f_bavail * disk.f_frsize
    except OSError:
        free = 0
    text = error.strerror or str(error)
    remedy = _REMEDY.get(errno.errorcode.get(error.errno or 0, ""), "see the error")
    mine = page.current()
    if mine is not None:
        mine.checkpoint_failed(error.errno or 0, "%s; %s" % (text, remedy), free)
    if error.errno not in _told and int(os.environ.get("RANK") or 0) == 0:
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
    engine, rows = Engine(options.folder, None, 1 << 62, (2, 0, 0)), []
    for attempt, step in engine.chain():
        row = {"attempt": attempt, "step": step, "problem": None}
        try:
            text = engine.manifest(attempt, step)
            manifest = json.loads(text)
            row.update(world_size=manifest["world_size"], created=manifest["created"],
                       bytes=sum(shard["bytes"] for shard in manifest["shards"]))
            for rank in range(manifest["world_size"]) if options.command == "verify" else ():
                with engine.shard(FOLDER, attempt, step, rank, manifest["world_size"], text) as shard:
                    shard.read([], [], [], _threads())
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
