"""Who holds the event loop: read from another thread, while it is held."""

import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Collection
from dataclasses import dataclass
from types import FrameType
from typing import Final

from .. import redact

MOST_FRAMES: Final = 24
"""Innermost frames that are told."""

_DEEPEST = 200
_LONGEST_LINE = 120
_DEBUGGERS = frozenset({"pdb", "bdb", "pydevd", "debugpy", "_pydevd_bundle", "ipdb", "pudb"})
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # noqa: PTH100, PTH120 (text, as frames have it)
_HANDRAIL = os.path.dirname(_OURS[:-1]) + os.sep  # noqa: PTH120 (see above)
_STANDARD = tuple({sysconfig.get_path("stdlib") + os.sep, sysconfig.get_path("platstdlib") + os.sep})
_SCRIPTS = sysconfig.get_path("scripts") + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_ADVICE: Final = (
    ("AsyncClient(", "make the client once, when the application starts: it reads the CA certificates"),
    ("time.sleep", "use `await asyncio.sleep(...)`"),
    ("requests", "use httpx.AsyncClient, or run it in a thread: `await asyncio.to_thread(...)`"),
    ("urllib", "use httpx.AsyncClient, or run it in a thread: `await asyncio.to_thread(...)`"),
    ("httpx", "use httpx.AsyncClient, or run it in a thread: `await asyncio.to_thread(...)`"),
    ("subprocess", "use `await asyncio.create_subprocess_exec(...)`"),
)
_AWAITED: Final = (
    "the line itself only waits: the time went into code just before it (an AsyncClient made for each call reads the "
    "CA certificates each time: make it once), or the machine was busy"
)
_SLEEP = re.compile(r"(?<![\w.])sleep\(").search
_OTHERWISE = "use an async library, or run it in a thread: `await asyncio.to_thread(...)`"


@dataclass(slots=True, kw_only=True)
class Place:
    """Where the service's own code holds the loop. `read` fills `line`, the source without secrets, and `advice`."""

    path: str
    number: int
    function: str
    stack: str
    inner: frozenset[str]
    line: str = ""
    advice: str = ""

    def read(self) -> None:
        """Read the line from its file, where that can be had."""
        line = linecache.getline(self.path, self.number).strip()
        self.line = redact.told(line)[:_LONGEST_LINE]
        self.advice = _advice(line[:_LONGEST_LINE], self.inner)

    def __str__(self) -> str:
        path = os.path.relpath(self.path) if self.path.startswith(os.getcwd() + os.sep) else self.path  # noqa: PTH109
        return f"{path}:{self.number} ({self.function})"


def frames(thread: int) -> list[FrameType]:
    """The frames of a thread, innermost first; none where it has ended."""
    found: list[FrameType] = []
    frame = sys._current_frames().get(thread)
    while frame is not None and len(found) < _DEEPEST:
        found.append(frame)
        frame = frame.f_back
    return found


def is_debugged(found: list[FrameType]) -> bool:
    """Whether somebody stands at a breakpoint."""
    return any(_module(frame).partition(".")[0] in _DEBUGGERS for frame in found)


def step(found: list[FrameType]) -> FrameType | None:
    """What tells one step of the loop from the next where no task runs: the frame that calls the callback."""
    for frame in reversed(found):
        if frame.f_code.co_name == "_run" and frame.f_code.co_filename.endswith("events.py"):
            return frame
    return None


def place(found: list[FrameType]) -> Place:
    """The innermost frame of the service's own code, else of a library. Nothing is read from a file here."""
    own = next((f for f in found if not _is_library(f.f_code.co_filename)), None)
    own = own or next((f for f in found if not _is_standard(f.f_code.co_filename)), found[0])
    code, module = own.f_code, _module(own)
    told = [
        f'  File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}\n'
        for frame in reversed(found[:MOST_FRAMES])
    ]
    return Place(
        path=code.co_filename,
        number=own.f_lineno or code.co_firstlineno,
        function=f"{module}.{code.co_qualname}" if module else code.co_qualname,
        stack="".join(told),
        inner=frozenset(_module(frame).partition(".")[0] for frame in found[: found.index(own)]),
    )


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def among(found: list[FrameType], candidates: Collection[object]) -> object | None:
    """The one of `candidates` that a frame works for: it is one of its locals."""
    by_id = {id(one): one for one in candidates}
    for frame in found:
        if frame.f_code.co_filename.startswith(_OURS):
            for value in list(frame.f_locals.values()):
                if id(value) in by_id:
                    return by_id[id(value)]
    return None


def _advice(line: str, modules: frozenset[str]) -> str:
    if "httpx" in modules and "await " in line and "AsyncClient(" not in line:
        return _AWAITED
    for word, advice in _ADVICE:
        if word in modules or word in line:
            return advice
    if _SLEEP(line):
        return _ADVICE[1][1]
    return _OTHERWISE


def _is_standard(path: str) -> bool:
    return path.startswith(("<frozen", *_STANDARD)) and not any(part in path for part in _INSTALLED)


def _is_library(path: str) -> bool:
    return (
        _is_standard(path)
        or path.startswith((_HANDRAIL, _SCRIPTS))  # a server's command is nobody's own code
        or any(part in path for part in _INSTALLED)
    )
