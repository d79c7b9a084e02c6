"""Breakers shared through Redis, as the settings of a process want them."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._suppressed import silence
from .resilience.events import Listeners
from .resilience.registry import Registry
from .settings import Settings

if TYPE_CHECKING:
    from .resilience.state.shared import SharedBreakers

__all__ = ["install"]

_running: "SharedBreakers | None" = None


def install(
    settings: Settings, registry: Registry, listeners: Listeners, *, at_once: bool = False
) -> Callable[[], None]:
    """Join the breakers of `registry` to those of the other instances of this service; returns the undo.

    The thread begins with the first origin, so that a server which forks its workers has none before; `at_once` where
    there is one already. Raises SettingsError where redis-py is missing or cannot use the URL; whether the server is
    there is no matter.
    """
    global _running
    from .resilience.state import _redis
    from .resilience.state.shared import SharedBreakers

    url, service = settings.service.shared_state, settings.tracing.service_name
    _redis.RedisVotes(url, service)

    def connect() -> _redis.RedisVotes:
        silence()
        return _redis.RedisVotes(url, service)

    shared = SharedBreakers(
        registry,
        connect,
        quorum=settings.service.shared_quorum,
        shown=_redis.shown(url),
    )
    listeners.add(shared.heard)
    registry.on_new.append(shared.begin)
    _running = shared
    _watch_the_end()
    if at_once and registry.entries():
        shared.begin()

    def undo() -> None:
        global _running
        registry.on_new.remove(shared.begin)
        listeners.remove(shared.heard)
        shared.end()
        if _running is shared:
            _running = None

    return undo


@functools.cache
def _watch_the_end() -> None:
    from .tracing.lifecycle import at_end

    at_end(_end)


def _end() -> None:
    """The end of the process: what it said is withdrawn, within a second."""
    if _running is not None:
        _running.end()
