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

save() costs one copy of the state into memory; a GPU makes it beside the next forward and backward, where
docs/checkpoints.md says so. It is written to the folder behind training; while that
goes on, later saves are kept in memory only, and said so once. Under Holdfast that memory is the
node's: it outlives the rank, and a restart begins from it; so a save within a second of one that goes to
the folder is kept there only. It takes at most three times the state of each rank, twice where the disk
keeps up. When the program ends, or calls wait(), the last state is written as well.

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

from . import _device, page
from ._agree import begin_most, gather, most, on_rank_zero, rank_of, world_of
from ._behind import Behind
from ._engine import FOLDER, MEMORY, Damaged, Engine, Fenced, Refused

_engine = None
_behind = None         # writes behind; made with the engine
_last_step = None      # restored or saved last
_mirrored = None       # see _choose_mirrored()
_run, _saves = "", 0   # what all ranks call this run of theirs, and how often they have saved in it
_overlaps = True       # copies of GPUs' tensors go on beside training
_told = set()          # the errors printed so far
_IDLE, _EARLY, _BUSY, _FENCED = range(4)
_READS = 8             # under way on a node that restores from a folder
_REMEDY = {
    "ENOSPC": "free space there, or keep fewer commits (checkpoint.keep, checkpoint.budget)",
    "EAGAIN": "from here on a save waits for its copy",
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
    may be used: a run from scratch over them is the user's decision; the objects may have NaN in them then, so that
    nobody trains on with parts of them. Raises Fenced when a newer attempt of
    the job has begun.
    """
    global _last_step
    engine = _open()
    if engine is None:
        return 0
    rank, world = rank_of(), world_of()
    commits, manifest, problem, places = _places(engine, lambda: _begin(engine))
    if problem is not None:
        _failed(0, problem)
    here = {"objects": _state_of(objects, True), "per_rank": _state_of(per_rank or {}, True)}
    reading = _Reading(engine, rank, places, commits, here)
    for at, saved_by in _candidates(engine, commits, places):
        state = reading.of(at, saved_by, at in commits, manifest if commits[:1] == [at] else None)
        if state is not None:
            _load(at[1], state, saved_by or state["world_size"], rank, world, objects, per_rank or {})
            _last_step = at[1]
            mine = page.current()
            if mine is not None:
                mine.restored(at[1])
            return at[1]
    if commits:
        reading.make_useless()
        raise Refused("none of the %d checkpoints in %s verifies (see above); move the folder away to "
                      "start from step 0" % (len(commits), engine.folder))
    if places and most(reading.is_spoiled):
        reading.make_useless()
        raise Refused("the state in memory changed while it was read; start the job again")
    return 0


def _begin(engine):
    """(commits, the manifest of the newest or None, why nothing can be saved or None)"""
    problem = None
    try:
        engine.begin()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        problem = error  # a full disk is a reason to save nothing, not to train nothing
    commits, manifest = engine.chain(), None
    if commits:
        try:
            manifest = _or_problem(lambda: engine.manifest(*commits[0]))
        except Refused:
            pass  # there may be a newer state in memory; if not, it is asked for again
    return commits, manifest, problem


def save(step, per_rank=None, **objects):
    """Take the objects as the state after `step` steps; True once it is in memory, or on its way there from a GPU.

    It is durable when wait() gives True, or `committed_step` of the job says so. When it cannot be written,
    on any rank, the step is given up on all, and the error goes to stderr (once per kind) and to the
    progress page. Training can go on. False: nothing was taken: there is no folder, the memory is full,
    or a newer attempt has begun.
    """
    global _saves
    engine = _open()
    if engine is None:
        return False
    began = time.monotonic_ns()
    _behind.landed()
    if step == _last_step:
        return True
    rank, world = rank_of(), world_of()
    if _mirrored is None:
        _places(engine)
    # The ranks agree whether this step goes to the disk as well, or cannot be saved any more: meanwhile each copies.
    agreed = begin_most(_FENCED if _behind.fenced is not None else _BUSY if _behind.busy() else
                        _EARLY if _behind.rests() else _IDLE)
    state, owned = _state(per_rank or {}, objects if rank == 0 else {}), _owned(per_rank, objects)
    taken, problem = _attempt(lambda: _take(engine, step, rank, world, state, owned))
    said = _FENCED
    try:
        said = agreed()
    finally:  # a rank that is gone is no agreement either
        if said == _FENCED and taken is not None:
            taken.drop()
    if said == _FENCED:
        _failed(step, _behind.fenced or Fenced(errno.ESTALE, "another rank has seen a newer attempt of the job"))
        return False
    write = said == _IDLE
    _saves += 1
    what = step, rank, world, "%s-%d" % (_run, _saves)
    if taken is not None and taken.copies is not None:
        _behind.land(lambda: _land(engine, taken, what, write))
    else:
        if problem is None:
            _, problem = _attempt(lambda: taken.publish(write))
        if problem is not None and problem.errno == errno.ENOTCONN:
            engine = _reopen(problem)
            _, problem = _attempt(lambda: _take(engine, step, rank, world, state).publish(write))
        _landed(engine, what, write, problem)
    mine = page.current()
    if mine is not None:
        mine.stalled(time.monotonic_ns() - began)
    if problem is not None:
        return False
    if said == _BUSY and "behind" not in _told and rank == 0:
        _told.add("behind")
        _say("step %d is kept in memory only: the disk still writes an earlier one. It is so from here on "
             "whenever saves come faster than the disk." % step)
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


class _Taken:
    """An image and what is still being copied into it, or None."""

    def __init__(self, image, copies):
        self._image, self.copies = image, copies

    def publish(self, write):
        if self.copies is not None:
            try:
                self.copies.wait()
            except BaseException:
                self._image.drop()
                raise
        self._image.publish(write)

    def drop(self):
        try:
            if self.copies is not None:
                self.copies.wait()
        finally:
            self._image.drop()


def _take(engine, step, rank, world, state, owned=None):
    from . import _state as states
    skeleton, tensors, descriptions = states.take_apart(state)
    image = engine.take(step, rank, world, descriptions, skeleton)
    try:
        return _Taken(image, states.copy_into(image, tensors, descriptions, _threads(), owned))
    except BaseException:
        image.drop()
        raise


def _owned(per_rank, objects):
    """What may be copied beside training; None: nothing."""
    import torch
    if not torch.cuda.is_initialized() or not _overlaps or not _device.can_overlap():
        return None
    return _device.owned_by_optimizers([*objects.values(), *(per_rank or {}).values()])


def _land(engine, taken, what, write):
    """On a thread, beside training."""
    global _overlaps
    try:
        _, problem = _attempt(lambda: taken.publish(write))
        if isinstance(problem, _device.Changed):
            _overlaps = False
    except Exception as error:  # the device's: training will meet it too
        problem = OSError(errno.EIO, str(error))
    _landed(engine, what, write, problem)


def _landed(engine, what, write, problem):
    """What was taken is in memory, or there was a problem."""
    global _last_step
    _behind.taken(what, write, problem)
    if problem is not None:
        return _failed(what[0], problem)
    _last_step = what[0]
    for address, other in _mirrored:
        engine.mirror(address, what[0], other, what[2])


def _places(engine, begin=lambda: ()):
    """What begin() gave on rank 0, with {image: [addresses of nodes that have it in memory, "" for one that
    cannot be reached]}, of all nodes, as its last element. Also settles whose images this rank's node mirrors,
    and what the ranks call this run."""
    global _mirrored, _run
    replica_to = os.environ.get("HOLDFAST_REPLICA_TO") or ""
    try:
        mine = engine.address(), replica_to, engine.images()
    except OSError:
        mine = "", "", []  # the server is gone, and the memory with it
    first = None
    if rank_of() == 0:
        try:
            first = os.urandom(8).hex(), begin()
        except (OSError, Refused) as error:
            first = error
    said = gather((mine, first))
    if isinstance(said[0][1], Exception):
        raise said[0][1]
    _run, begun = said[0][1]
    _mirrored = _choose_mirrored([(address, to) for (address, to, _), _ in said])
    places = {}
    for (address, _, images), _ in said:
        for image in images:
            if address not in places.setdefault(image, []):
                places[image].append(address)
    return (*begun, places)


def _choose_mirrored(nodes):
    """[(address, rank)] of the images that this rank has brought to its node: its share of those whose
    replica the control plane wants here. `nodes`: by rank, (address, where its replica goes)."""
    rank, local_world = rank_of(), int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
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


class _Reading:
    """Of one restore(). Each byte is read once, and goes into the tensors that are `here` when its block is
    verified. If a later block is bad, or another rank's, an older commit takes its place on all ranks, or nobody
    goes on. Only where there is no commit to fall back to, all is verified on all ranks first."""

    def __init__(self, engine, rank, places, commits, here):
        from . import _state as states
        self.engine, self.rank, self.places = engine, rank, places
        self.passes = (False,) if commits else (True, False)
        self.targets, self.is_spoiled = states.targets_in(here), False

    def of(self, at, saved_by, is_committed, manifest):
        """This rank's part of the state, {"shared": ..., "own": ... or None}; None where any rank fails.
        manifest: what _or_problem() gave of it, or None for not asked yet."""
        text = None
        if is_committed:
            text, problem = manifest or on_rank_zero(lambda: _or_problem(lambda: self.engine.manifest(*at)))
            if text is not None:
                saved_by = json.loads(text)["world_size"]
            elif saved_by is None:  # else the memory may do without it
                return _left_out(at, [problem], self.rank)
        found, problem = {}, None
        for only_verify in self.passes:
            try:
                for shard in sorted({0, min(self.rank, saved_by)} - {saved_by}, reverse=True):  # the large one first
                    found[shard] = self._nearest(at + (shard, saved_by), text, only_verify)
            except (OSError, Damaged, Refused) as error:
                problem = error
            if most(problem is not None):
                return self._give_up(at, gather(problem))
        return {"shared": found[0], "own": found.get(self.rank) if self.rank < saved_by else None,
                "world_size": saved_by}

    def _give_up(self, at, problems):
        for refused in problems:
            if isinstance(refused, Refused):
                self.make_useless()
                raise refused
        _left_out(at, problems, self.rank)

    def _nearest(self, image, manifest, only_verify):
        """The state in this node's memory, maybe brought from another's, else in the folder, where the step is
        committed."""
        problem = None
        for address in [None] + [a for a in self.places.get(image, ()) if a]:
            try:
                if address is not None:
                    self.engine.fetch(address, *image)
                return self._read(self.engine.shard(MEMORY, *image), _threads(), image, only_verify)
            except Damaged as error:
                if manifest is not None:
                    _say("%s; the folder's copy is taken instead" % error)
                problem = error
            except OSError as error:
                problem = problem or error
        if manifest is None:
            raise problem
        # More than cores: most wait for the disk, the others check and copy what it gave.
        threads = max(4, _READS // int(os.environ.get("LOCAL_WORLD_SIZE") or 1), _threads())
        may_be_again = _is_in_store(self.engine.folder)
        while True:
            try:
                return self._read(self.engine.shard(FOLDER, *image, manifest), threads, image, only_verify)
            except Damaged as error:
                if not may_be_again:
                    raise
                _say("%s; it is read once more, since a store may have other copies" % error)
                may_be_again = False

    def _read(self, shard, threads, image, only_verify):
        from . import _state as states
        import torch  # noqa: F401

        with_own = image[2] == self.rank
        with shard:
            if only_verify:
                return states.verify_shard(shard, threads, with_own)
            self.is_spoiled = True
            return states.read_shard(shard, threads, self.targets, with_own)

    def make_useless(self):
        """Nobody shall train on with tensors that hold parts of a state that was given up."""
        from . import _state as states
        if self.is_spoiled:
            states.make_useless(self.targets)


def _is_in_store(folder):
    return "://" in folder


def _left_out(at, problems, rank):
    if rank == 0:
        _say("checkpoint of attempt %d, step %d is left out: %s" %
             (at + (next(str(p) for p in problems if p is not None),)))


def _or_problem(action):
    try:
        return action(), None
    except Damaged as problem:
        return None, str(problem)


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
    states = {"torch": torch.get_rng_state()}  # tensors first: see _state._paths()
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    states["python"] = random.getstate()
    if "numpy" in sys.modules:
        states["numpy"] = sys.modules["numpy"].random.get_state()
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
    """(what it gave or None, the OSError that it met or None)"""
    try:
        return action(), None
    except OSError as error:
        return None, error


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
