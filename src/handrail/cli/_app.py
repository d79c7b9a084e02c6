"""What is in force in an application, found by importing it: arguments of `protect()` stand nowhere else."""

import contextlib
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from .._settings_values import Problem
from ..settings import Settings
from ._findings import Finding

if TYPE_CHECKING:
    from ..resilience.errors import SettingsError

__all__ = ["settings_of"]


def settings_of(target: str, folder: Path, known: tuple[Problem, ...] = ()) -> tuple[Settings | None, list[Finding]]:
    """Import `module:app`, as servers write it, or `module:make()`; its own output goes to stderr.

    The settings that handrail runs with then; None where the import failed or handrail is not on. `known` are
    problems that are told already.
    """
    from .. import _wire
    from ..resilience.errors import SettingsError

    sys.path.insert(0, str(folder))  # where servers look
    try:
        # Whatever the service prints must not stand in our own output.
        with contextlib.redirect_stdout(sys.stderr):
            _load(target)
    except SettingsError as error:
        return None, _refused(target, folder, error, known)
    except (Exception, SystemExit) as error:
        return None, [_failed(target, folder, error)]
    process = _wire.current()
    if process is None:
        return None, [_not_on(target)]
    return process.settings, []


def _load(target: str) -> None:
    module, _, path = target.partition(":")
    found: object = import_module(module)
    name = path or "app"
    for part in name.removesuffix("()").split("."):
        found = getattr(found, part)
    if name.endswith("()") and callable(found):
        found()


_OURS = str(Path(__file__).parent.parent)


def _refused(target: str, folder: Path, error: "SettingsError", known: tuple[Problem, ...]) -> list[Finding]:
    """What the code itself gives to protect(): settings like any, but for where they stand."""
    place = _place(error, folder, _OURS)
    problems = [problem for problem in error.problems if isinstance(problem, Problem)]
    out = [
        Finding(
            id="HR001",
            severity="error",
            what=f"{problem.setting} cannot be used: the service does not start with it",
            where=f"{problem.origin} of the code, {place}" if problem.origin == "argument" else problem.origin,
            mend=problem.allowed,
        )
        for problem in problems
        if problem not in known
    ]
    if not problems:
        what = f"{target} cannot be imported: {_one_line(error)}"
        out.append(Finding(id="HR001", severity="error", what=what, where=place, mend="correct what the error names"))
    return out


def _failed(target: str, folder: Path, error: BaseException) -> Finding:
    return Finding(
        id="HR005",
        severity="error",
        what=f"{target} cannot be imported: {type(error).__name__}: {_one_line(error)}",
        where=_place(error, folder, __file__),
        mend="name it as a server is given it, in the folder where that starts; else see what the error says",
    )


def _one_line(error: BaseException) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines())


def _place(error: BaseException, folder: Path, beside: str) -> str:
    """The innermost file and line, but for those whose names begin with `beside`; the folder where there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [one for one in frames if not one.filename.startswith(beside) and "importlib" not in one.filename]
    return f"{inside[-1].filename}:{inside[-1].lineno}" if inside else str(folder)


def _not_on(target: str) -> Finding:
    return Finding(
        id="HR006",
        severity="info",
        what=f"{target} does not switch handrail on by itself: what is shown is what this folder and environment say",
        where=target,
        mend="nothing, where it is started by `handrail run`; else protect(app) or import handrail.auto",
    )
