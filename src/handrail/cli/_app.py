"""What is in force in an application, found by importing it: arguments of `protect()` stand nowhere else."""

import contextlib
import sys
import traceback
from importlib import import_module
from pathlib import Path

from ..settings import Settings
from ._findings import Finding

__all__ = ["settings_of"]


def settings_of(target: str, folder: Path) -> tuple[Settings | None, list[Finding]]:
    """Import `module:app`, as servers write it, or `module:make()`; its own output goes to stderr.

    The settings that handrail runs with then; None where the import failed or handrail is not on.
    """
    from .. import _wire

    sys.path.insert(0, str(folder))  # where servers look
    try:
        # Whatever the service prints must not stand in our own output.
        with contextlib.redirect_stdout(sys.stderr):
            _load(target)
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


def _failed(target: str, folder: Path, error: BaseException) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    said = "; ".join(line.strip() for line in str(error).splitlines())
    return Finding(
        id="HR005",
        severity="error",
        what=f"{target} cannot be imported: {type(error).__name__}: {said}",
        where=f"{inside[-1].filename}:{inside[-1].lineno}" if inside else str(folder),
        mend="name it as a server is given it, in the folder where that starts; else see what the error says",
    )


def _not_on(target: str) -> Finding:
    return Finding(
        id="HR006",
        severity="info",
        what=f"{target} does not switch handrail on by itself: what is shown is what this folder and environment say",
        where=target,
        mend="nothing, where it is started by `handrail run`; else protect(app) or import handrail.auto",
    )
