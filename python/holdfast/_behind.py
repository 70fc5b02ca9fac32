"""Writes what save() has taken to the folder, on a thread beside training."""
import atexit
import sys
import threading
import time

from ._engine import Fenced

_LAST_LANDING_S = 2  # of a program that failed: its GPU may never come to it
_AT_EXIT_S = 60  # for the last state to become durable when the program ends
# From the start of one write to that of the next, where what lies in memory meanwhile outlives this process.
# To commit each of a small model's ten steps a second would take a tenth of two cores from its training.
_PACE_S = 1


class Behind:
    """One step is written at a time. What is taken meanwhile stays in memory, and the last of it is
    written by drain(). Calls come from one thread at a time."""

    def __init__(self, engine, threads, committed, failed):
        self._engine, self._threads = engine, threads
        self._committed, self._failed = committed, failed
        self._changed = threading.Condition()
        self._next = self._current = None  # (what, problem)
        self._in_memory = None             # the newest that was not given to the thread
        self._durable = True               # what was taken last
        self._thread = self._landing = None
        self._next_at = 0                  # time.monotonic()
        self.fenced = None                 # the error, once a newer attempt has begun
        atexit.register(self._at_exit)

    def use(self, engine):
        """From the next step on."""
        self._engine = engine

    def busy(self):
        with self._changed:
            return self._next is not None or self._current is not None

    def rests(self):
        """Whether it is too early for the next write."""
        return self._engine.outlives_us and time.monotonic() < self._next_at

    def taken(self, what, write, problem=None):
        """what: (step, rank, world size, name of the save). problem: this rank has nothing to write."""
        if write:
            self._in_memory = None
            self._start(what, problem)
        elif problem is None:
            self._in_memory = what
        self._durable = False

    def land(self, action):
        """action() on a thread, beside training; it ends with taken(). landed() comes before any other call."""
        self._landing = threading.Thread(target=action, name="holdfast-landing", daemon=True)
        self._landing.start()

    def landed(self, timeout_s=None):
        """Whether no landing is under way any more."""
        if self._landing is not None:
            self._landing.join(timeout_s)
            if self._landing.is_alive():
                return False
            self._landing = None
        return True

    def drain(self, timeout_s=None):
        end = None if timeout_s is None else time.monotonic() + timeout_s
        if not self.landed(timeout_s):
            return False
        if not self._idle(end):
            return False
        if self._in_memory is not None and self.fenced is None:
            what, self._in_memory = self._in_memory, None
            self._start(what, None)
            if not self._idle(end):
                return False
        return self._durable

    def _start(self, what, problem):
        self._next_at = time.monotonic() + _PACE_S
        with self._changed:
            self._next = (what, problem)
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="holdfast-checkpoint", daemon=True)
            self._thread.start()

    def _idle(self, end):
        with self._changed:
            return self._changed.wait_for(lambda: self._next is None and self._current is None,
                                          None if end is None else max(0, end - time.monotonic()))

    def _run(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next is not None)
                self._current, self._next = self._next, None
            what, problem = self._current
            try:
                self._write(what, problem)
            except OSError as error:
                if isinstance(error, Fenced):
                    self.fenced = error
                elif problem is None:
                    self._let_others_go(what, error)
                self._failed(what[0], error)
            except Exception as error:  # a thread's last words would go unread
                self._failed(what[0], OSError(str(error)))
            with self._changed:
                self._current = None
                self._changed.notify_all()

    def _write(self, what, problem):
        if problem is not None:
            return self._engine.refuse(*what, str(problem))
        self._engine.persist(*what, self._threads)
        self._durable = self._in_memory is None
        self._committed(what[0])

    def _let_others_go(self, what, error):
        """The snapshot server may have died in the middle: nobody shall wait for this rank."""
        try:
            self._engine.refuse(*what, error.strerror or str(error))
        except OSError:
            pass

    def _at_exit(self):
        failed = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if failed is not None:
            # The others may never write theirs. What is in flight goes on where memory outlives us.
            self.landed(_LAST_LANDING_S)
            if not self._engine.outlives_us:
                self._idle(time.monotonic() + 2)
            return
        if not self.drain(_AT_EXIT_S) and self.busy():
            sys.stderr.write("holdfast: the last checkpoint was not durable within %d s; the program ends "
                             "without it\n" % _AT_EXIT_S)
