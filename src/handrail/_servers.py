"""Where servers take their application: the way in for plain callables under `import handrail.auto`.

The import happens inside the application's module, so the server is already in the middle of
loading it. Each seam here is reached after the load: uvicorn and its gunicorn worker make the
lifespan object, hypercorn its wrapper, granian its callback.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ._shapes import ASGIApp, when_imported

__all__ = ["at_end", "watch"]

Wrap = Callable[[ASGIApp], ASGIApp]


def watch(wrap: Wrap) -> None:
    """Pass every application that a known server is given through `wrap`."""
    for module in ("uvicorn.lifespan.on", "uvicorn.lifespan.off"):
        when_imported(module, lambda found: _uvicorn(found, wrap))
    when_imported("hypercorn.app_wrappers", lambda found: _first_argument(found.ASGIWrapper, wrap))
    when_imported("granian.asgi", lambda found: _first_argument(found.LifespanProtocol, wrap))
    for module in ("granian.server.mp", "granian.server.mt", "granian.server.embed"):
        when_imported(module, lambda found: _granian(found, wrap))


def at_end(flush: Callable[[], Awaitable[None]]) -> None:
    """Run `flush` at the end of a server that does not go through the end of the lifespan protocol.

    It was told to skip the protocol (uvicorn's `--lifespan off`), or goes on without it since the application raised.
    """
    seams = (
        ("uvicorn.lifespan.off", "LifespanOff", "shutdown", lambda _self: True),
        ("uvicorn.lifespan.on", "LifespanOn", "shutdown", lambda self: self.error_occurred),
        ("hypercorn.asyncio.lifespan", "Lifespan", "wait_for_shutdown", lambda self: not self.supported),
        ("hypercorn.trio.lifespan", "Lifespan", "wait_for_shutdown", lambda self: not self.supported),
        ("granian.asgi", "LifespanProtocol", "shutdown", lambda self: self.errored),
    )
    for module, cls, method, without in seams:
        when_imported(module, partial(_after_shutdown, cls, method, without, flush))


def _after_shutdown(
    name: str, method: str, without: Callable[[Any], bool], flush: Callable[[], Awaitable[None]], module: Any
) -> None:
    cls = getattr(module, name)
    original = getattr(cls, method)

    async def shutdown(self: Any) -> None:
        skipped = without(self)
        await original(self)
        if skipped:
            await flush()

    setattr(cls, method, shutdown)


def _uvicorn(module: Any, wrap: Wrap) -> None:
    cls = getattr(module, "LifespanOn", None) or module.LifespanOff
    original = cls.__init__

    def __init__(self: Any, config: Any) -> None:  # noqa: N807 (it replaces one)
        if not config.loaded:
            config.load()
        _replace_innermost(config, "loaded_app", wrap)
        original(self, config)

    cls.__init__ = __init__


def _replace_innermost(holder: Any, attribute: str, wrap: Wrap) -> None:
    # uvicorn's own wrappers stay outside, so that the client address behind a proxy is known.
    app = getattr(holder, attribute)
    while type(app).__module__.startswith("uvicorn.middleware.") and hasattr(app, "app"):
        holder, attribute, app = app, "app", app.app
    setattr(holder, attribute, wrap(app))


def _first_argument(cls: Any, wrap: Wrap) -> None:
    original = cls.__init__

    def __init__(self: Any, app: ASGIApp, *rest: object) -> None:  # noqa: N807 (it replaces one)
        original(self, wrap(app), *rest)

    cls.__init__ = __init__


def _granian(module: Any, wrap: Wrap) -> None:
    original = getattr(module, "_asgi_call_wrap", None)
    if original is not None:
        module._asgi_call_wrap = lambda app, *rest, **options: original(wrap(app), *rest, **options)
