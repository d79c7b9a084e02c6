"""Health and drain around an application: what its readiness depends on, and where its own answers win."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from . import _drain, _siblings
from ._shapes import ASGIApp, Receive, Scope, Send
from .resilience.inbound._health_document import FAIL, PASS, WARN, Check
from .resilience.origins import parts, text_of

if TYPE_CHECKING:
    from ._wire import Process
    from .resilience.registry import Entry
    from .tracing.inbound.routes import Routes
    from .tracing.settings import Telling

__all__ = ["Readiness", "around", "telling"]

OFF = "off"
_DISPATCHED = ("route", "endpoint", "path_template", "handrail.route")
"""What routers leave in the scope."""


class Readiness:
    """Whether requests should be sent to one application."""

    def __init__(self, live: "Callable[[], Process]") -> None:
        self._live = live
        self.starting = False
        """Whether its startup is under way."""

    async def during(self, lifespan: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """The lifespan of the application. Where it ends by an error the server may go on without one."""
        self.starting = True
        try:
            await lifespan(scope, receive, send)
        except GeneratorExit:
            raise  # thrown away with its event loop
        except BaseException:
            self._ended()
            raise
        self._ended()

    def ending(self) -> None:
        """Its server has told it to end."""
        _drain.DRAIN.begin(self)

    def _ended(self) -> None:
        self.starting = False
        _drain.DRAIN.over(self)
        _siblings.leave()

    def checks(self) -> list[Check]:
        """All that it depends on."""
        process = self._live()
        draining = _drain.DRAIN.draining()
        found = [
            Check("startup", FAIL, "it has not ended") if self.starting else Check("startup"),
            Check("drain", FAIL, "the service is about to end") if draining else Check("drain"),
        ]
        for name in process.settings.inbound.ready_requires:
            if name == "answers":
                found.append(_answers(process))
            elif name == "breakers":
                found.append(_breakers())
            else:
                found.append(_origin(process, name))
        return found


def _answers(process: "Process") -> Check:
    courier = process.courier
    if courier is None:
        return Check("answers", PASS, "no answers are kept: idempotency_store is off", "datastore")
    if courier.identity is None:
        return Check("answers", FAIL, "the store of answers to keyed requests is away, or not yet found", "datastore")
    return Check("answers", kind="datastore")


def _breakers() -> Check:
    from . import _shared

    shared = _shared._running
    if shared is None:
        return Check("breakers", PASS, "not shared: shared_state is not set", "datastore")
    if shared.away:
        return Check("breakers", FAIL, "the store of the shared state is away", "datastore")
    return Check("breakers", kind="datastore")


def _origin(process: "Process", name: str) -> Check:
    """Not ready while its breaker refuses calls. One due for a probe is: without requests nobody would probe."""
    target = text_of(parts(name))
    for entry in process.registry.entries():
        if entry.target == target:
            return _of_entry(name, entry)
    return Check(name)


def _of_entry(name: str, entry: "Entry") -> Check:
    whole, *routes = entry.breakers()
    wait = whole.retry_after()
    if whole.state == "open" and wait > 0:
        until = "until it is closed by hand" if wait == inf else f"for {wait:.1f} s more"
        return Check(name, FAIL, f"its breaker is open {until}: {whole.reason}")
    if whole.state != "closed":
        return Check(name, WARN, "its breaker is due for a probe")
    opened = [route.target for route in routes if route.state != "closed"]
    return Check(name, WARN, f"the breaker of a route is open: {', '.join(opened)}") if opened else Check(name)


def around(
    inner: ASGIApp, app: ASGIApp, routes: "Routes", process: "Process", trace_id: Callable[[], str | None]
) -> tuple[ASGIApp, Readiness]:
    """The two layers around `inner`; `app` is the application itself. And what its lifespan has its part in."""
    from ._wire import live
    from .resilience.inbound._reply import Replies
    from .resilience.inbound.drain import Draining
    from .resilience.inbound.health import Health

    settings = process.settings.inbound
    readiness = Readiness(lambda: live(process))
    replies = Replies(trace_id=trace_id, path_of=routes.shown_path, link=settings.trace_link)
    inner = Draining(inner, _drain.DRAIN, emit=lambda event: live(process).listeners(event), replies=replies)
    live_path, ready_path = (None if path == OFF else path for path in (settings.live_path, settings.ready_path))
    if live_path is not None or ready_path is not None:
        inner = Health(
            inner,
            live_path=live_path,
            ready_path=ready_path,
            ready=readiness.checks,
            asked=lambda: _drain.asked(live(process).settings.state),
            closing=_drain.DRAIN.draining,
            own=_own(routes),
            asking=app,
        )
    return inner, readiness


def telling(process: "Process") -> "Telling":
    """What the tracing is told: probes make no span, whatever they are called; unless the paths without are chosen."""
    from .tracing.settings import EXCLUDED

    told, settings = process.settings.tracing.telling, process.settings.inbound
    if told.exclude_routes != EXCLUDED:
        return told
    own = (path for path in (settings.live_path, settings.ready_path) if path not in (OFF, *EXCLUDED))
    return replace(told, exclude_routes=(*EXCLUDED, *own))


def _own(routes: "Routes") -> Callable[[Scope], bool | None]:
    def own(scope: Scope) -> bool | None:
        """Whether the route that answers, or would, has the path for its name; None where that is not known."""
        template = routes.template(scope)
        if template is None:
            return None
        root = scope.get("app_root_path", scope.get("root_path", "")) or ""
        if template.removeprefix(root) == scope["path"].removeprefix(root):
            return True
        return False if any(name in scope for name in _DISPATCHED) else None

    return own
