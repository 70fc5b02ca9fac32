"""Runs in every Python process that finds this folder on PYTHONPATH: a rank, and whatever it starts.

Contract: does nothing unless HOLDFAST_PROGRESS_PAGE is set, never breaks the user's program, and
lets the `sitecustomize` that this file shadows, if there is one, run exactly as if this one were not
here.
"""
import os
import sys


def _install():
    if os.environ.get("HOLDFAST_PROGRESS_PAGE"):
        try:
            from holdfast import _hooks
            _hooks.install()
        except Exception as error:  # the user's program goes on without hooks
            sys.stderr.write("holdfast: hooks are off in this process: %r\n" % (error,))


def _run_shadowed():
    # What importlib.machinery and importlib.util hand out, without the 3 ms that importing those costs.
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    here = os.path.dirname(os.path.abspath(__file__))
    spec = PathFinder.find_spec("sitecustomize", [p for p in sys.path if os.path.abspath(p) != here])
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)  # its errors are the user's: site reports them as always


_install()
_run_shadowed()
