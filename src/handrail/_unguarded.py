"""Connections past the policies: looked for in this process, and noted for `handrail doctor`, which is another one."""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .resilience.outbound._round import Round

if TYPE_CHECKING:
    from ._unguarded_notes import Note
    from .resilience.events import Listener
    from .settings import Settings

__all__ = ["install"]

_log = logging.getLogger("handrail")
_MOST = 64
"""Destinations in the note of one process."""
_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379, "postgres": 5432, "postgresql": 5432}


def install(settings: "Callable[[], Settings]", emit: "Listener", exporting: Callable[[], bool]) -> Callable[[], None]:
    """Watch from now on; returns the undo. `settings` is asked anew for each connection that no policy saw."""
    found: list[Note] = []
    lock = threading.Lock()

    def note() -> None:
        from ._unguarded_notes import write

        with lock:
            now = settings().tracing
            write(now.store, now.service_name, list(found))

    def said(target: str, place: str, known: bool) -> None:
        from ._unguarded_notes import Note  # most processes have nothing to note

        if len(found) < _MOST:
            found.append(Note(target=target, place=place, known=known))
            try:  # a disk is not waited for under a request
                threading.Thread(target=note, name="handrail-notes", daemon=True).start()
            except RuntimeError:  # the interpreter ends
                _log.debug("no note of %s: the process ends", target)

    def own() -> list[str]:
        return _own(settings())

    return Round(lambda: settings().service, emit, left_alone=exporting, own=own, said=said).install()


def _own(settings: "Settings") -> list[str]:
    """What the settings themselves name: the collector, the store that the breakers share, and that of answers."""
    out = []
    for url in (settings.tracing.endpoint, settings.service.shared_state, settings.idempotency.idempotency_store):
        parts = urlsplit(url or "")
        if parts.hostname:
            port = parts.port or _PORTS.get(parts.scheme)
            out.append(f"{parts.hostname}:{port}" if port else parts.hostname)
    return out
