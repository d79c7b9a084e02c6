"""From where a call was made: the lines of the service's own code on the stack, and who else repeats it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from weakref import ReferenceType, ref

__all__ = ["Trail", "trail"]

_DEEPEST = 200
_NEAR = 5
"""Own frames whose variables are looked at: a retry by `with` is made in the function at hand or its caller."""

_OURS, _LIBRARY, _SERVICE, _JOB = "handrail", "library", "service", "job"
_LAYERS = {
    "tenacity": "tenacity",
    "stamina": "stamina",
    "backoff": "backoff",
    "httpx_retries": "httpx-retries",
    "retrying": "retrying",
    "aiohttp_retry": "aiohttp-retry",
    "urllib3": "urllib3",
}
_MANAGERS = {"AttemptManager": "tenacity", "Attempt": "stamina"}
"""The classes of `for attempt in ...: with attempt:`, whose module is not on the stack meanwhile."""
_STDLIB = f"{Path(os.__file__).parent}{os.sep}"
_EXECUTOR = f"{_STDLIB}concurrent{os.sep}futures{os.sep}thread.py"

_kinds: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Trail:
    """`steps` are file and line of the service's frames, innermost first; equal where a loop came round again.

    `job` is what an executor's thread is at work on: the next one may be for another request.
    """

    steps: tuple[tuple[str, int], ...]
    layer: str | None
    job: ReferenceType[object] | None = None

    def again(self, before: "Trail") -> bool:
        """Whether this is the same way once more, within the same job."""
        if self.steps != before.steps:
            return False
        if self.job is None or before.job is None:
            return self.job is before.job
        return self.job() is before.job()

    @property
    def place(self) -> str:
        """file:line of the innermost."""
        return "{}:{}".format(*self.steps[0]) if self.steps else "unknown"


def trail(*, named: bool = False) -> Trail:
    """The trail of whoever called into handrail. `named`: look for the layer too."""
    frame: FrameType | None = sys._getframe(1)
    steps: list[tuple[str, int]] = []
    packages: list[tuple[str, int]] = []
    layer = job = None
    for _ in range(_DEEPEST):
        if frame is None:
            break
        kind = _kind(frame)
        if kind is _SERVICE:
            steps.append((frame.f_code.co_filename, frame.f_lineno))
            if named and layer is None and len(steps) <= _NEAR:
                layer = _managed(frame)
        elif kind is _LIBRARY:
            packages.append((frame.f_code.co_filename, frame.f_lineno))
        elif kind is _OURS:
            if frame.f_globals.get("__name__") == "handrail.resilience._resends":
                layer = None  # that tenacity was our own
        elif kind is _JOB:
            if frame.f_code.co_name == "run":
                job = _referred(frame.f_locals.get("self"))
        elif layer is None and (kind != "urllib3" or frame.f_code.co_name == "urlopen"):
            layer = kind
        frame = frame.f_back
    # A service that is installed like a library has no frame of its own: then all lines together are the place.
    return Trail(tuple(steps or packages), layer, job)


def _kind(frame: FrameType) -> str:
    name = frame.f_code.co_filename
    kind = _kinds.get(name)
    if kind is None:
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if top == "handrail":
            kind = _OURS
        elif name == _EXECUTOR:
            kind = _JOB
        elif top in _LAYERS:
            kind = _LAYERS[top]
        else:
            foreign = "site-packages" in name or "dist-packages" in name or name.startswith((_STDLIB, "<frozen"))
            kind = _LIBRARY if foreign else _SERVICE
        if len(_kinds) < 10_000:  # code that is made at run time may have a new name each time
            _kinds[name] = kind
    return kind


def _referred(item: object) -> ReferenceType[object] | None:
    try:
        return ref(item)
    except TypeError:
        return None


def _managed(frame: FrameType) -> str | None:
    for value in list(frame.f_locals.values()):
        kind = type(value)
        layer = _MANAGERS.get(kind.__name__)
        if layer is not None and kind.__module__.partition(".")[0] == layer:
            return layer
    return None
