"""Imported by every Python process under `handrail run`; see handrail/cli/run.py.

May be read by an interpreter that is older than handrail, or one that has no handrail: syntax
that any Python 3.6 reads, and never an exception.
"""

import importlib.machinery
import importlib.util
import os
import sys


def _run_the_next() -> None:
    """Run the sitecustomize that we hid: a distribution's, a coverage tool's, another tracer's."""
    here = os.path.realpath(os.path.dirname(__file__))  # noqa: PTH120 (pathlib would cost every process 5 ms)
    sys.path[:] = [path for path in sys.path if os.path.realpath(path) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize")
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _start_handrail() -> None:
    try:
        from handrail._startup import start
    except Exception as error:
        sys.stderr.write(f"handrail: not usable in {sys.executable} ({error}); this process runs without it\n")
    else:
        start()


try:
    _run_the_next()
except Exception as error:
    sys.stderr.write(f"handrail: another sitecustomize failed: {type(error).__name__}: {error}\n")
_start_handrail()
