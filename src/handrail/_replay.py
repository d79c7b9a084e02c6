"""Where this process keeps its answers to keyed requests, as its settings want it."""

import functools
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote
from weakref import WeakSet

from ._shapes import ASGIApp, Receive, Scope, Send
from ._suppressed import silence
from .resilience.replay.work import Backend
from .settings import Settings

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from ._wire import Process
    from .resilience.inbound.idempotency import Idempotency
    from .resilience.replay.courier import Courier

__all__ = ["AUTO", "OFF", "Backend", "Replaying", "backend", "courier", "place", "sqlite_path"]

AUTO = "auto"
OFF = "off"
_SQLITE = "sqlite:///"
_LONGEST_NAME = 200
_PASSED = frozenset(
    {"handrail", "importlib", "_frozen_importlib", "_frozen_importlib_external", "functools", "contextlib", "wrapt"}
    | {"site", "sitecustomize"}
)
"""Whose code stands between the service's and ours when that is switched on."""

_running: "WeakSet[Courier]" = WeakSet()


class Replaying:
    """The layer of the process that is on: `protect` may change its settings after the layers were made."""

    def __init__(
        self,
        app: ASGIApp,
        live: "Callable[[], Process]",
        *,
        trace_id: Callable[[], str | None],
        path_of: Callable[[Scope], str],
        link: str = "",
    ) -> None:
        self._app = app
        self._live = live
        self._trace_id = trace_id
        self._path_of = path_of
        self._link = link
        self._of: Process | None = None
        self._layer: Idempotency | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        now = self._live()
        if now is not self._of:
            self._layer = self._made(now)
            self._of = now
        return (self._layer or self._app)(scope, receive, send)

    def _made(self, process: "Process") -> "Idempotency | None":
        if process.courier is None:
            return None
        from .resilience.inbound.idempotency import Idempotency

        return Idempotency(
            self._app,
            courier=process.courier,
            settings=process.settings.idempotency,
            emit=process.listeners,
            trace_id=self._trace_id,
            path_of=self._path_of,
            link=self._link,
        )


def courier(settings: Settings) -> "Courier | None":
    """What leads to the store of this process, or None where keys mean nothing.

    Its thread begins with the first POST or PATCH. Under pytest, and in what it starts, `auto` is off: a test that
    sends a fixed key would get the answer of its last run. Raises SettingsError where a library is missing or cannot
    use the URL; whether the server is there is no matter.
    """
    wanted = settings.idempotency.idempotency_store
    if wanted == OFF or (wanted == AUTO and _tested()):
        return None
    from .resilience.replay.courier import Courier

    make = backend(settings, place())
    make()

    def connect() -> Backend:
        silence()
        return make()

    made = Courier(connect, lease=settings.idempotency.idempotency_lease)
    _running.add(made)
    _watch_the_end()
    return made


def sqlite_path(settings: Settings, where: str) -> "Path | None":
    """The file, where it is one, for a service that is protected at `where`. Relative paths of a URL are those of the
    working folder.
    """
    from pathlib import Path

    wanted = settings.idempotency.idempotency_store
    if wanted == AUTO:
        name = quote(_service(settings, where), safe=" *")[:_LONGEST_NAME]
        return settings.state / "idempotency" / f"{name}.sqlite3"
    return Path(unquote(wanted.removeprefix(_SQLITE))) if wanted.startswith(_SQLITE) else None


def _tested() -> bool:
    return "pytest" in sys.modules or "PYTEST_VERSION" in os.environ


def place() -> str:
    """The file of the code that protects the service: two services of one folder have one name, unless they are given
    some, and must not have each other's answers.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).split(".")[0] in _PASSED:
        frame = frame.f_back
    if frame is None:
        return ""
    from pathlib import Path

    file = Path(frame.f_code.co_filename)
    try:
        return str(file.absolute().relative_to(Path.cwd()).with_suffix(""))
    except (OSError, ValueError):  # no working folder, or not in it
        return str(frame.f_globals.get("__name__", ""))


def _service(settings: Settings, where: str) -> str:
    """Whose answers they are: the name that the service was given, else the one that was found, and the place."""
    name, source = settings.tracing.service_name, settings.origins.get("service_name", "")
    return f"{name} {where}".strip() if source.startswith(("default", "pyproject.toml [project]")) else name


def backend(settings: Settings, where: str) -> Callable[[], Backend]:
    """What makes the store, for a service that is protected at `where`. Called, it raises SettingsError where a library
    is missing or cannot use the URL.
    """
    wanted, most = settings.idempotency.idempotency_store, settings.idempotency.idempotency_store_max
    service = _service(settings, where)
    path = sqlite_path(settings, where)
    if path is not None:
        from .resilience.replay.sqlite import SqliteStore

        return functools.partial(SqliteStore, path, most=most)
    if wanted.startswith(("postgresql://", "postgres://")):
        from .resilience.replay.postgres_store import PostgresStore

        return functools.partial(PostgresStore, wanted, service, most)
    from .resilience.replay.redis_store import RedisStore

    return functools.partial(RedisStore, wanted, service)


@functools.cache
def _watch_the_end() -> None:
    from .tracing.lifecycle import at_end

    at_end(_end)


def _end() -> None:
    """The end of the process: what was told is put down, within a second."""
    for one in list(_running):
        one.end()
