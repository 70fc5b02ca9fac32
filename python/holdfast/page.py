"""The progress page: what a rank says about itself, in 4096 bytes that its agent maps and reads.

The agent creates the file (HOLDFAST_PROGRESS_PAGE) zero-filled for each attempt of each rank. One
process writes: the one whose pid stands in the page. A process claims the page at its first step,
progress or checkpoint call, when the pid is 0 or that process is dead; data loader workers and
launchers inside the rank never step, so they never claim it.

Layout, little-endian. Every field is written by one aligned 8-byte store, so a reader never sees a
torn number; `steps_this_attempt` is stored last, after the fields that belong to that step.

    offset  type  field
         0  8s    magic "HFPROG01", stored once the page is claimed
         8  u64   step: the user's if flags bit 0; else the steps of this attempt plus where it
                  began (restored by holdfast.checkpoint, or told by the optimizer's own state)
        16  u64   steps_this_attempt (stored last)
        24  i64   last_step_ns            CLOCK_MONOTONIC, as are all *_ns times
        32  f64   loss (NaN: unknown)
        40  u64   tokens of this attempt
        48  i64   restored_step + 1       (0: nothing restored)
        56  i64   restored_ns
        64  i64   committed_step + 1      (0: nothing committed by this attempt)
        72  i64   committed_ns
        80  u64   checkpoint_failures
        88  i64   errno of the last failure (0: it had none)
        96  i64   median_step_ns: over the last 64 steps, refreshed every 8
       104  i64   first_step_ns
       112  u64   pid of the writer
       120  i64   checkpoint_stall_ns: time that training stood still in save(), added up
       128  u64   flags: bit 0 user-given steps, bit 1 the main program ended without an exception
       136  u64   free bytes of the checkpoint folder's file system at the last failure
       504  u32   length of the text that follows
       508  utf8  last checkpoint error, up to byte 1024; the length is 0 while the text changes
"""
import errno
import fcntl
import math
import mmap
import os
import time
from collections import deque

SIZE = 4096
MAGIC = b"HFPROG01"
STEP, STEPS, LAST_NS, LOSS, TOKENS = 1, 2, 3, 4, 5  # index = offset / 8
RESTORED, RESTORED_NS, COMMITTED, COMMITTED_NS = 6, 7, 8, 9
FAILURES, FAILURE_ERRNO, MEDIAN_NS, FIRST_NS, PID, STALL_NS, FLAGS, FREE_BYTES = range(10, 18)
TEXT_LENGTH, TEXT, TEXT_END = 504, 508, 1024
USER_STEPS, ENDED = 1, 2


def _alive(pid):
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


def holder(path):
    """The pid of the live process that has claimed the page at `path`; 0: none."""
    with open(path, "rb") as file:
        file.seek(PID * 8)
        pid = int.from_bytes(file.read(8), "little")
    return pid if pid and _alive(pid) else 0


class ProgressPage:
    """The writer. Raises BlockingIOError when another live process holds the page."""

    def __init__(self, path):
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two claims at once: one of them sees the other's pid
            pid = holder(path)
            if pid not in (0, os.getpid()):
                raise BlockingIOError("the progress page belongs to process %d" % pid)
            self._map = mmap.mmap(file.fileno(), SIZE)
            whole = memoryview(self._map)
            # Native casts store 8 bytes at once; struct's "<Q" would store them one by one.
            self._u, self._i, self._d = whole.cast("Q"), whole.cast("q"), whole.cast("d")
            self._u[PID] = os.getpid()
            fcntl.flock(file, fcntl.LOCK_UN)  # the mapping keeps a duplicate, and so the lock, open
        if self._u[STEPS] == 0:
            self._d[LOSS] = math.nan
        self._map[0:8] = MAGIC
        self._gaps = deque(maxlen=64)
        self._base = None  # steps done before this attempt; settled at its first counted step
        self._optimizer_counts = False  # else user_step() calls are the steps

    def optimizer_step(self, optimizer):
        """One optimizer step is done."""
        taken_over = self._optimizer_counts or not self._u[FLAGS] & USER_STEPS
        self._optimizer_counts = True
        if not taken_over:
            return  # the user's call just before counted this very step
        if self._base is None:
            self._base = self._first_base(optimizer)
        if not self._u[FLAGS] & USER_STEPS:
            self._u[STEP] = self._base + self._u[STEPS] + 1
        self._tick()

    def user_step(self, step, loss, tokens):
        """See holdfast.progress. Counts as a step only where no optimizer does."""
        self._u[FLAGS] |= USER_STEPS
        self._u[STEP] = max(0, int(step))
        if loss is not None:
            self._d[LOSS] = float(loss)
        if tokens is not None:
            self._u[TOKENS] += int(tokens)
        if not self._optimizer_counts:
            self._tick()

    def _first_base(self, optimizer):
        if self._i[RESTORED]:
            return self._i[RESTORED] - 1
        if self._u[STEPS] == 0:
            try:  # the user's own restore shows in Adam's count, which includes the step just made
                state = next(iter(optimizer.state.values()))
                return max(0, int(state["step"]) - 1)
            except (StopIteration, KeyError, TypeError, ValueError):
                pass
        return 0

    def _tick(self):
        now, steps = time.monotonic_ns(), self._u[STEPS] + 1
        if steps == 1:
            self._i[FIRST_NS] = now
        else:
            self._gaps.append(now - self._i[LAST_NS])
            if steps % 8 == 0 or steps == 2:
                self._i[MEDIAN_NS] = sorted(self._gaps)[len(self._gaps) // 2]
        self._i[LAST_NS] = now
        self._u[STEPS] = steps

    def restored(self, step):
        self._i[RESTORED_NS] = time.monotonic_ns()
        self._i[RESTORED] = step + 1
        if not self._u[FLAGS] & USER_STEPS:
            self._u[STEP] = step

    def stalled(self, stall_ns):
        self._i[STALL_NS] += stall_ns

    def committed(self, step):
        self._i[COMMITTED_NS] = time.monotonic_ns()
        self._i[COMMITTED] = step + 1

    def checkpoint_failed(self, number, text, free_bytes):
        self._i[FAILURE_ERRNO] = number
        self._u[FREE_BYTES] = max(0, free_bytes)
        raw = text.encode("utf-8", "replace")[:TEXT_END - TEXT]
        raw = raw.decode("utf-8", "ignore").encode("utf-8")  # not half a character at the cut
        self._map[TEXT_LENGTH:TEXT] = bytes(4)
        self._map[TEXT:TEXT + len(raw)] = raw
        self._map[TEXT_LENGTH:TEXT] = len(raw).to_bytes(4, "little")
        self._u[FAILURES] += 1

    def ended(self):
        self._u[FLAGS] |= ENDED


_mine = None       # this process's page, or None
_asked_by = None   # the pid for which _mine was settled: a forked child settles its own


def current():
    """This process's page, claimed on the first call; None: there is none, or it is another's."""
    global _mine, _asked_by
    if _asked_by != os.getpid():
        _asked_by, _mine = os.getpid(), None
        from ._hooks import started_with
        path = os.environ.get("HOLDFAST_PROGRESS_PAGE") or started_with.get("HOLDFAST_PROGRESS_PAGE")
        if path:
            try:
                _mine = ProgressPage(path)
            except (OSError, ValueError):
                pass  # another's, gone, or cut short: training matters more than being watched
    return _mine


def claimed():
    """This process's page if it has claimed one; never claims."""
    return _mine if _asked_by == os.getpid() else None
