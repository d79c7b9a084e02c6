"""The settings file, read again when it changes: what outbound calls may do changes without a restart.

A file that cannot be used, or is gone, changes nothing: the settings that were there stay, and that is said once.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ._settings_file import OWN, PROJECT
from ._settings_resolve import KINDS, ORIGINS
from ._settings_values import message
from .resilience.errors import SettingsError
from .resilience.origins import OriginRule
from .resilience.service import ServiceSettings
from .resilience.settings import ResilienceSettings
from .settings import Overrides, Resolution, Settings, resolve

if TYPE_CHECKING:
    from ._wire import Process

__all__ = ["Follower", "has_file", "install"]

_log = logging.getLogger("handrail")

LIVE = frozenset({spec.name for spec in (*fields(ResilienceSettings), *fields(ServiceSettings))} | {ORIGINS})
"""What a process takes over while it runs; the rest is built into it at its start."""

SETTLE = 0.1
"""Seconds that a changed file must stay as it is before it is read: an editor may be at work."""

Mark = tuple[tuple[int, int, int] | None, ...]


def has_file(settings: Settings) -> bool:
    """Whether a file has settings, also where others win over all of them."""
    return not {OWN, PROJECT}.isdisjoint(settings.origins.values()) or Path(OWN).exists()


def install(process: "Process", arguments: Overrides) -> Callable[[], None]:
    """Follow the settings file of the working directory, from the first origin or request on; returns the undo.

    Not before: a server that forks its workers has no thread of ours until then.
    """
    try:
        follower = process.follower = Follower(process, arguments, dict(os.environ), Path.cwd())
    except OSError:
        return lambda: None  # the folder is gone
    process.registry.on_new.append(follower.begin)

    def undo() -> None:
        process.registry.on_new.remove(follower.begin)
        follower.end()

    return undo


class Follower:
    """Looks at the files of a folder every `reload_every` seconds, on one daemon thread; `begin` in each process."""

    def __init__(self, process: "Process", arguments: Overrides, environ: Mapping[str, str], folder: Path) -> None:
        self._process = process
        self._arguments = arguments
        self._environ = environ
        self._paths = (folder / OWN, folder / PROJECT)
        self._folder = folder
        self._known = self._mark()
        self._changing: Mark | None = None
        self._said = ""
        self._fresh()
        if hasattr(os, "register_at_fork"):
            again = weakref.WeakMethod(self._in_child)

            def in_child() -> None:
                method = again()
                if method is not None:
                    method()

            os.register_at_fork(after_in_child=in_child)

    def _fresh(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _in_child(self) -> None:
        ran = self._thread is not None and not self._stop.is_set()
        self._fresh()
        if ran:
            self.begin()

    def begin(self) -> None:
        """Start the thread, where there is none yet and `reload_every` is not 0."""
        if self._thread is not None:  # asked for each new origin
            return
        with self._lock:
            wanted = self._process.settings.service.reload_every and not self._stop.is_set()
            if wanted and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="handrail-reload", daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Stop for good; waits a second at most."""
        with self._lock:
            self._stop.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def _run(self) -> None:
        pause = self._process.settings.service.reload_every
        while pause and not self._stop.wait(pause):
            try:
                changing = self.look()
            except Exception:
                _log.exception("the settings file could not be followed; the settings stay as they are")
                return
            pause = SETTLE if changing else self._process.settings.service.reload_every

    def look(self) -> bool:
        """Look once; true where the file has just changed, and is to be looked at again before it is read."""
        mark = self._mark()
        if mark == self._known:
            self._changing = None
        elif mark != self._changing:
            self._changing = mark
        else:
            self._known, self._changing = mark, None
            self._read()
        return self._changing is not None

    def _mark(self) -> Mark:
        return tuple(_mark_of(path) for path in self._paths)

    def _read(self) -> None:
        found = resolve(self._arguments, self._environ, self._folder)
        name = found.file.name
        own = self._known[0]
        if name is not None and found.problems:
            self._refuse(name, message(found.problems))
        elif name is None or (name == OWN and own is not None and own[1] == 0):
            self._say(f"{OWN} is gone or empty: the settings stay as they were")
        else:
            self._apply(found)

    def _refuse(self, name: str | None, why: str) -> None:
        self._say(f"{name} has changed and cannot be used, the settings stay as they were: {why}")

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            _log.warning(text)

    def _apply(self, found: Resolution) -> None:
        process, old, new = self._process, self._process.settings, found.settings
        changes = list(_changes(old, new))
        late = [name for name in KINDS if name not in LIVE and old.value(name) != new.value(name)]
        taken = replace(
            old, resilience=new.resilience, per_origin=new.per_origin, service=new.service, origins=new.origins
        )
        try:
            process.follow(taken)
        except SettingsError as error:
            self._refuse(found.file.name, str(error))
            return
        self._said = ""
        if changes:
            process.registry.renew(new.resilience, new.per_origin)
            _log.info("%s read again: %s", found.file.name, ", ".join(changes))
        if late:
            _log.warning("%s has changed: %s will hold from the next start on", found.file.name, ", ".join(late))


def _mark_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _changes(old: Settings, new: Settings) -> Iterator[str]:
    """What is different, in the words of the file."""
    for name in KINDS:
        if name in LIVE and name != ORIGINS and old.value(name) != new.value(name):
            yield f"{name} {_shown(old.value(name))} -> {_shown(new.value(name))}"
    before, after = _by_pattern(old.per_origin), _by_pattern(new.per_origin)
    for pattern in dict.fromkeys([*before, *after]):
        was, now = before.get(pattern, {}), after.get(pattern, {})
        for name in dict.fromkeys([*was, *now]):
            value, other = was.get(name, old.value(name)), now.get(name, new.value(name))
            if (name in was) != (name in now) or value != other:
                yield f"{name} {_shown(value)} -> {_shown(other)} ({pattern})"


def _by_pattern(rules: tuple[OriginRule, ...]) -> dict[str, dict[str, object]]:
    return {rule.pattern: dict(rule.values) for rule in rules}


def _shown(value: object) -> str:
    if isinstance(value, str) and "://" in value:  # it may hold a password
        from .tracing import redact

        return redact.destination(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value) or "none"
