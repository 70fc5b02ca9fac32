"""`python3 -m holdfast.warm`: imports torch once, then forks ranks on request, so that a restart does
not pay for the import.

The agent that starts it is a child subreaper and leaves a SOCK_STREAM descriptor, its number in
HOLDFAST_WARM_FD. Both sides speak lines of JSON:

    -> {"ready": true, "torch": "1.13.0" or null, "import_s": 1.23}        once
    <- {"start": ID, "kind": "script" or "module", "target": "train.py", "args": [...],
        "env": {all of the rank's}, "cwd": "/dir", "log": "/path", "parent": AGENT_PID,
        "cgroup_procs": ["/path/cgroup.procs", ...]}
    -> {"started": ID, "pid": N} or {"failed": ID, "error": "..."}
    end of the stream: exit

A rank is forked twice, so it becomes the agent's own child and the agent reaps it. It leads its own
session, dies with the agent, writes to `log`, and from there on behaves as `python3 target args` or
`python3 -m target args` would in `cwd` with `env`. Two things cannot be had and are refused or
accepted: an environment that differs from this process's own in what the interpreter and its
libraries read at their start (_READ_AT_START) is refused, so start this process with the job's
environment; the hash seed is that of this process.

This process has one thread, ignores SIGINT and never runs user code.
"""
import ctypes
import gc
import importlib.machinery
import importlib.util
import io
import json
import os
import runpy
import signal
import socket
import sys
import time
import types

_READ_AT_START = ("PYTHON", "LD_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_", "GLIBC_",
                  "TORCH_", "LANG", "LC_")
_APPLIED_HERE = ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONFAULTHANDLER")
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl


# The parent.

def _open_descriptors():
    return {int(name) for name in os.listdir("/proc/self/fd")}


def _import_all():
    """Import what ranks will want; returns torch's version or None."""
    from . import _hooks, page  # noqa: F401
    import traceback  # noqa: F401
    try:
        import torch
        return str(torch.__version__)
    except Exception as error:
        sys.stderr.write("holdfast: warm start goes without torch: %r\n" % (error,))
        return None


def _refusal(request, own_env):
    """Why this rank cannot be forked from here, or None."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA is initialised in the warm process; a forked rank could not use it"
    if request["kind"] not in ("script", "module"):
        return "kind is %r; it must be script or module" % request["kind"]
    env = request["env"]
    for key in sorted(set(env) | set(own_env)):
        if (key.startswith(_READ_AT_START) and key not in _APPLIED_HERE
                and env.get(key) != own_env.get(key)):
            return ("%s is %r for the rank and was %r when the warm process started; start the rank "
                    "cold" % (key, env.get(key), own_env.get(key)))
    return None


def _fork_rank(request):
    """Fork twice. Returns the rank's pid here; in the rank, once it is the agent's child: 0."""
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    pid_read, pid_write = os.pipe()
    go_read, go_write = os.pipe()
    middle = os.fork()
    if middle == 0:
        try:
            rank = os.fork()
            if rank:
                os.write(pid_write, b"%d" % rank)
                os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
        os.setsid()
        os.close(go_write)
        # The end of this pipe comes after the middle has been reaped, so after the reparenting;
        # a pipe held by the middle itself would end before (files close first in an exit).
        os.read(go_read, 1)
        _die_with(request["parent"])
        with open(os.devnull) as null:
            os.dup2(null.fileno(), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for descriptor in (log, pid_read, pid_write, go_read):
            os.close(descriptor)
        return 0
    for descriptor in (log, pid_write, go_read):
        os.close(descriptor)
    pid = os.read(pid_read, 32)
    _, status = os.waitpid(middle, 0)
    os.close(pid_read)
    os.close(go_write)
    if not pid:
        code = os.waitstatus_to_exitcode(status)
        raise OSError(code, "fork: " + (os.strerror(code) if code > 0 else "killed"))
    return int(pid)


def _serve(control, inherited, own_env):
    """Answer requests until the stream ends (returns None); in a rank, returns its request."""
    lines = control.makefile("r", encoding="utf-8")
    for line in lines:
        name = None
        try:
            request = json.loads(line)
            name = request["start"]
            error = _refusal(request, own_env)
            pid = None if error else _fork_rank(request)
        except (OSError, ValueError, KeyError, TypeError) as problem:
            error = "%s: %s" % (type(problem).__name__, problem)
        if error is None and pid == 0:
            for descriptor in inherited - {0, 1, 2}:
                try:
                    os.close(descriptor)
                except OSError:
                    pass
            control.detach()
            return request
        reply = {"failed": name, "error": error} if error else {"started": name, "pid": pid}
        control.sendall(json.dumps(reply).encode() + b"\n")
    return None


# The rank.

def _die_with(parent):
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died first, or never was a subreaper: nobody would reap this rank
        os._exit(1)


def _join_cgroups(paths):
    for path in paths:
        try:
            with open(path, "w") as file:
                file.write(str(os.getpid()))
        except OSError:
            pass  # the agent sees an empty cgroup; not a reason to refuse to train


def _default_signals():
    """As the interpreter leaves them at its start."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not None:  # None: not Python's, glibc keeps two of them
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _standard_streams():
    """stdin, stdout and stderr anew over 0, 1 and 2, buffered as PYTHONUNBUFFERED says."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        old = getattr(sys, name)
        if number == 0:
            binary = open(0, "rb", closefd=False)
        else:
            binary = open(number, "wb", buffering=0 if unbuffered else -1, closefd=False)
        getattr(binary, "raw", binary).name = "<%s>" % name
        stream = io.TextIOWrapper(binary, encoding=old.encoding, errors=old.errors,
                                  newline=None if number == 0 else "\n",
                                  line_buffering=number == 2,
                                  write_through=number != 0 and unbuffered)
        stream.mode = "r" if number == 0 else "w"
        setattr(sys, name, stream)
        setattr(sys, "__%s__" % name, stream)


def _search_path(old_env):
    """sys.path without its first entry, with the rank's PYTHONPATH in place of this process's."""
    old = [os.path.abspath(p) for p in old_env.get("PYTHONPATH", "").split(os.pathsep) if p]
    new = [os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    rest = sys.path[1:]
    if not old == rest[:len(old)]:
        old = []
    return list(dict.fromkeys(new + rest[len(old):]))


def _fresh_seeds():
    """Global generators start anew in each process, as without the fork; `random` has seen to itself."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.seed()  # the CPU's; a GPU's has a fixed first seed
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None:
        processes.current_process().authkey = os.urandom(32)
        processes.ORIGINAL_DIR = os.getcwd()  # spawned children look for __main__ from there


def _become(request, old_env):
    """Everything between the fork and the user's first line."""
    gc.enable()
    _join_cgroups(request.get("cgroup_procs", ()))
    os.environ.clear()
    os.environ.update(request["env"])
    _default_signals()
    _standard_streams()
    try:
        os.chdir(request["cwd"])
    except OSError as error:
        sys.exit("holdfast: cannot start the rank in its folder: %s" % error)
    sys.path[1:] = _search_path(old_env)
    _fresh_seeds()
    if os.environ.get("PYTHONFAULTHANDLER"):
        import faulthandler
        faulthandler.enable()
    if os.environ.get("HOLDFAST_PROGRESS_PAGE"):
        from . import _hooks
        _hooks.install()


def _new_main():
    """A `__main__` as the interpreter creates it, instead of this file's."""
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=sys.modules["builtins"], __annotations__={},
                         __loader__=importlib.machinery.BuiltinImporter)
    sys.modules["__main__"] = main
    if "__mp_main__" in sys.modules:  # what multiprocessing calls it, from its import on
        sys.modules["__mp_main__"] = main
    return main


def _run_script(target, args):
    """`python3 target args`. A folder or archive with a __main__.py inside works as it does there."""
    sys.argv[:] = [target] + args
    main = _new_main()
    if os.path.isdir(target) or _is_archive(target):
        sys.path[0] = os.path.abspath(target)
        return runpy._run_module_as_main("__main__", False)
    sys.path[0] = os.path.dirname(os.path.realpath(target))
    file = target if os.path.isabs(target) else os.path.join(os.getcwd(), target)
    try:
        with open(target, "rb") as stream:
            source = stream.read()
    except OSError as error:
        sys.stderr.write("%s: can't open file %r: [Errno %d] %s\n"
                         % (sys.executable, file, error.errno, error.strerror))
        sys.exit(2)
    main.__file__, main.__cached__ = file, None
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", file)
    exec(compile(source, file, "exec", dont_inherit=True), main.__dict__)


def _is_archive(target):
    if not os.path.isfile(target) or target.endswith(".py"):
        return False
    import zipfile
    return zipfile.is_zipfile(target)


def _run_module(target, args):
    """`python3 -m target args`, through the very function that the interpreter calls for it."""
    sys.argv[:] = ["-m"] + args
    sys.path[0] = os.getcwd()
    _new_main()
    runpy._run_module_as_main(target)


def _run(request):
    """Run the user's program; its exception, with our frames cut off, goes to the interpreter."""
    kind, target, args = request["kind"], request["target"], list(request["args"])
    sys.orig_argv[1:] = (["-m"] if kind == "module" else []) + [target] + args
    try:
        (_run_script if kind == "script" else _run_module)(target, args)
    except SystemExit:
        raise
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        hook = sys.excepthook

        def excepthook(kind, value, _):
            # Here, not before: raising adds frames, and the interpreter prints the value's own.
            value.__traceback__ = sys.last_traceback = trace
            hook(kind, value, trace)

        sys.excepthook = excepthook
        raise


def _main():
    """The parent's life; in a rank, returns what it has to run and this process's environment."""
    inherited = _open_descriptors()
    own_env = dict(os.environ)
    control = socket.socket(fileno=int(own_env["HOLDFAST_WARM_FD"]))
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    began = time.monotonic()
    version = _import_all()
    ready = {"ready": True, "torch": version, "import_s": round(time.monotonic() - began, 3)}
    control.sendall(json.dumps(ready).encode() + b"\n")
    gc.collect()
    gc.disable()
    gc.freeze()  # the collector of a rank shall not touch, and so copy, what it shares with its siblings
    return _serve(control, inherited, own_env), own_env


if __name__ == "__main__":
    _request, _own_env = _main()
    if _request is not None:
        _become(_request, _own_env)
        _run(_request)
