"""What a rank gets without changing its program: stacks on a signal, its fatal exception as a file,
its optimizer steps counted, a rendezvous without torch's pause of a second.

install() runs once per process, from `sitecustomize` (cold start) or in the warm child. It imports
neither torch nor anything that a short-lived helper process would pay for.

HOLDFAST_ERROR_FILE gets {"type", "message", "traceback", "rank", "pid", "time_unix_s"} of an uncaught
exception in the main thread, plus "earlier" (the same, of another process of this rank that failed
before). What a nested launcher (torchrun, multiprocessing.spawn) raises because a process of its own
failed is recorded as that failure. A process that does not hold the progress page writes aside, to
HOLDFAST_ERROR_FILE.other, while the one that does is alive: its failure is not the rank's, unless a
launcher ends for it.
"""
import os
import sys

_OPTIMIZER = "torch.optim.optimizer"
_RENDEZVOUS = "torch.distributed.rendezvous"
_RETRY_FIRST_S, _RETRY_MOST_S = 0.002, 0.25
_OTHERS_BEFORE_TAKEOVER = 64
_MESSAGE_MAX, _TRACEBACK_MAX = 4000, 16000  # characters: the agent reads small files only
_LAUNCHERS = ("ChildFailedError", "ProcessRaisedException", "ProcessExitedException")
_installed = False
started_with = {}  # the environment may be the program's by the time that we need it
_stacks = None    # keeps the file of the stacks signal open
_reported = None  # the exception that is in the error file


def install():
    """Idempotent. Each hook stands alone: one that cannot be had does not take the others along."""
    global _installed
    if _installed:
        return
    _installed = True
    for key in ("HOLDFAST_ERROR_FILE", "HOLDFAST_PROGRESS_PAGE", "RANK",
                "TORCHELASTIC_RESTART_COUNT"):
        started_with[key] = os.environ.get(key)
    for part in (_install_stacks, _install_errors, _install_steps, _install_rendezvous):
        try:
            part()
        except Exception as error:
            _say("%s failed: %r" % (part.__name__, error))


def _say(text):
    try:
        sys.stderr.write("holdfast: %s\n" % text)
    except Exception:
        pass


# Stacks of all threads, on demand.

def _install_stacks():
    global _stacks
    path, number = (os.environ.get("HOLDFAST_STACKS_" + key) for key in ("FILE", "SIGNAL"))
    if path and number:
        import faulthandler
        _stacks = open(path, "a")
        faulthandler.register(int(number), file=_stacks, all_threads=True, chain=False)


# The uncaught exception.

def _install_errors():
    import atexit
    previous = sys.excepthook

    def excepthook(kind, value, trace):
        _report(kind, value, trace)
        previous(kind, value, trace)

    sys.excepthook = excepthook
    atexit.register(_at_exit)


def _at_exit():
    """An excepthook of the user's own may have replaced ours: the interpreter remembers."""
    value = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if value is not None:
        _report(type(value), value, value.__traceback__)
        return
    from . import page
    mine = page.claimed()
    if mine is not None:
        mine.ended()


def _report(kind, value, trace):
    """Write HOLDFAST_ERROR_FILE, once per exception; never raises."""
    global _reported
    path = started_with.get("HOLDFAST_ERROR_FILE")
    if not path or value is _reported or kind is KeyboardInterrupt or sys.is_finalizing():
        return  # an interrupt is told by the exit status, which the imports below would change
    _reported = value
    try:
        import json
        import time
        import traceback
        record = {"type": _plain(kind.__name__, _MESSAGE_MAX), "message": _message(value),
                  "traceback": _plain("".join(traceback.format_exception(kind, value, trace)),
                                      _TRACEBACK_MAX),
                  "rank": int(started_with["RANK"] or 0), "pid": os.getpid(),
                  "restart": started_with["TORCHELASTIC_RESTART_COUNT"], "time_unix_s": time.time()}
        aside = path + ".other"
        if _rank_is_another_process():
            path = aside
            record = _first(_earlier(aside) + [record])
        else:
            # A launcher ends for its workers, and they for the first of them that failed.
            earlier = _first(_earlier(path) + (_earlier(aside) if kind.__name__ in _LAUNCHERS else []))
            if earlier and kind.__name__ in _LAUNCHERS:
                record.update(type=earlier["type"], message=earlier["message"],
                              traceback=earlier["traceback"] + "\n" + record["traceback"])
            elif kind.__name__ in _LAUNCHERS:  # it ends with the worker's own last words
                record["message"] = record["message"].strip().rpartition("\n")[2]
            elif earlier:
                record["earlier"] = earlier
        mine = "%s.%d" % (path, os.getpid())
        with open(mine, "w", encoding="utf-8", errors="replace") as file:
            json.dump(record, file)
        os.replace(mine, path)
    except Exception as error:
        _say("the error file %s could not be written: %r" % (path, error))


def _earlier(path):
    """The records in `path`, of which one may hold another: the whole ones of other processes."""
    import json
    found = []
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        while record is not None:
            nested = record.pop("earlier", None)
            whole = all(isinstance(record[key], str) for key in ("type", "message", "traceback"))
            if whole and record["pid"] != os.getpid() and isinstance(record["time_unix_s"], float):
                found.append(record)
            record = nested
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        pass
    return found


def _first(records):
    """The first of those that are of the same restart, by the launcher, as the last; None: no records."""
    if not records:
        return None
    last = max(records, key=lambda record: record["time_unix_s"])
    return min((record for record in records if record.get("restart") == last.get("restart")),
               key=lambda record: record["time_unix_s"])


def _message(value):
    try:
        return _plain(str(value), _MESSAGE_MAX)
    except Exception:
        return "(its text cannot be had)"


def _plain(text, most):
    """As UTF-8 can carry it, the middle of what is too long cut out."""
    if len(text) > most:
        text = text[:most // 2] + "\n... (cut) ...\n" + text[-most // 2:]
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _rank_is_another_process():
    from . import page
    try:
        return page.holder(started_with["HOLDFAST_PROGRESS_PAGE"]) not in (0, os.getpid())
    except (TypeError, OSError):
        return False


# Optimizer steps.

class StepCounter:
    """Counts the steps of one optimizer, the first that steps: a GAN's two make one step per round.

    When that one is gone, or others have made 64 steps since its last, the next to step takes its
    place: a phase of training with an optimizer of its own must not look like a hang.
    """

    def __init__(self, on_step):
        self._on_step = on_step
        self._chosen = lambda: None
        self._others = 0

    def __call__(self, optimizer):
        chosen = self._chosen()
        if chosen is not optimizer:
            self._others += 1
            if chosen is not None and self._others <= _OTHERS_BEFORE_TAKEOVER:
                return
            import weakref
            self._chosen = weakref.ref(optimizer)
        self._others = 0
        self._on_step(optimizer)


def _publish_step(optimizer):
    from . import page
    mine = page.current()
    if mine is not None:
        mine.optimizer_step(optimizer)


_counter = StepCounter(_publish_step)


def _stepped(optimizer, wrapper):
    """`wrapper`: the frame of torch's wrapper around step(), of which all have the same code.

    One further out means that this step is part of another (super().step(), an optimizer that
    wraps one), which will be counted itself.
    """
    try:
        frame, code = wrapper.f_back, wrapper.f_code
        while frame is not None:
            if frame.f_code is code:
                return
            frame = frame.f_back
        _counter(optimizer)
    except Exception as error:
        global _stepped
        _stepped = lambda optimizer, wrapper: None
        _say("steps are no longer counted: %r" % (error,))


def _hook_optimizers(module):
    """`module`: torch.optim.optimizer, just imported."""
    if hasattr(module, "register_optimizer_step_post_hook"):  # torch 2
        def after_step(optimizer, args, kwargs):
            _stepped(optimizer, sys._getframe(1))

        # As torch.compiler.disable() would say, which is not there before torch is: a step that is
        # compiled calls this as it is.
        after_step._torchdynamo_disable = True
        module.register_optimizer_step_post_hook(after_step)
        return

    # torch 1: its wrapper calls this empty method after each step. The profiler reads the argument
    # `self` from this method's frame, hence the name.
    def _optimizer_step_code(self):
        _stepped(self, sys._getframe(1))

    module.Optimizer._optimizer_step_code = _optimizer_step_code


class _AfterImport:
    """A meta path finder that runs `then(module)` after `name` has been imported by whoever does."""

    def __init__(self, name, then):
        self._name, self._then = name, then

    def find_spec(self, name, path=None, target=None):
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        import importlib.util
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            loader, execute = spec.loader, spec.loader.exec_module

            def exec_module(module):
                del loader.exec_module  # the loader is as it was, for whoever looks at it
                execute(module)
                try:
                    self._then(module)
                except Exception as error:
                    _say("%s failed: %r" % (self._then.__name__, error))

            loader.exec_module = exec_module
        return spec


def _after_import(name, then):
    module = sys.modules.get(name)
    if module is not None:
        then(module)
    else:
        sys.meta_path.insert(0, _AfterImport(name, then))


def _install_steps():
    _after_import(_OPTIMIZER, _hook_optimizers)


# The rendezvous.

def _install_rendezvous():
    _after_import(_RENDEZVOUS, _hook_rendezvous)


def _hook_rendezvous(module):
    """`module`: torch.distributed.rendezvous. A rank that comes before rank 0 listens finds nobody, and
    TCPStore then sleeps for a second: more than the rest of a warm restart takes."""
    real = module.TCPStore

    class TCPStore(real):
        def __init__(self, *args, **kwargs):
            _await_store(*args, **kwargs)
            super().__init__(*args, **kwargs)

    module.TCPStore = TCPStore


def _await_store(host_name, port, world_size=None, is_master=False, timeout=None, *args, **kwargs):
    """Until somebody listens there, or torch's own time is over: what to say then is torch's business."""
    if is_master:
        return
    import socket
    import time
    end = time.monotonic() + (60 if timeout is None else timeout.total_seconds())
    pause = _RETRY_FIRST_S
    while time.monotonic() < end:
        try:
            socket.create_connection((host_name, port), timeout=1).close()
            return
        except OSError:
            time.sleep(pause)
            pause = min(pause * 1.5, _RETRY_MOST_S)  # thousands of ranks knock at one door
