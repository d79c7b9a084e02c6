"""httpx and httpx2: one CLIENT span per attempt, with opentelemetry-instrumentation-httpx or without.

On the transport class stands one function of ours, the layer. Where a service gave hooks to
`HTTPXClientInstrumentor`, captures headers or excludes URLs, an attempt runs
layer > contrib's wrapper (attributes, hooks, headers) > `Attempt.send` > the original method, and
contrib gets the attempt in place of its tracer; else layer > `Attempt` > the original method, which
tells the same at a fraction of the cost. The layer reads contrib's wrapper from `Engine`, so hooks
that come later count from the next attempt on, and no second span appears.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from ..measure import ClientMeasure
from ._attempt import Attempt, through
from ._contrib import OWN, Engine, below, instrumentor_of, steer
from ._transports import adopt, adopt_earlier, pass_through

__all__ = ["install"]

_engines: dict[str, Engine] = {}

Send = Callable[[Any, Any], Any]


def install(module: ModuleType, measure: Callable[[], ClientMeasure | None] | None = None) -> Callable[[], None]:
    """Put the layer on both transport classes of `module`; see `outbound.install`."""
    engine = _engines.get(module.__name__)
    if engine is None:
        engine = _engines[module.__name__] = Engine(module)
    if engine.undo is not None:
        return engine.undo
    engine.measure = measure
    instrumentor = instrumentor_of(module)
    undos = [
        steer(engine, instrumentor, partial(adopt, engine)),
        adopt_earlier(engine),
        pass_through(engine, instrumentor),
    ]
    layers = (
        (module.HTTPTransport, "handle_request", _layer),
        (module.AsyncHTTPTransport, "handle_async_request", _async_layer),
    )
    for owner, name, make in layers:
        if name not in engine.standing:
            _put_on(engine, owner, name, make)
            engine.standing.add(name)

    def undo() -> None:
        if engine.undo is not undo:
            return
        engine.undo = None
        for one in reversed(undos):
            one()
        # Where somebody wrapped the layer since, it stays and only passes on.
        for owner, name, _make in layers:
            if _take_off(owner, name):
                engine.standing.discard(name)

    engine.undo = undo
    return undo


def _put_on(engine: Engine, owner: Any, name: str, make: Callable[[Engine, Send], Any]) -> None:
    found = owner.__dict__[name]
    layer = make(engine, below(found))
    layer.__handrail_restore__ = found
    setattr(owner, name, layer)


def _take_off(owner: Any, name: str) -> bool:
    found = getattr(owner.__dict__[name], "__handrail_restore__", None)
    if found is not None:
        setattr(owner, name, found)
    return found is not None


def _layer(engine: Engine, original: Send) -> Send:
    def handle_request(self: Any, request: Any) -> Any:
        """Send one attempt inside its CLIENT span."""
        wrapper = engine.sync
        if wrapper is None:
            return original(self, request)
        wrapper = self.__dict__.get(OWN, wrapper)
        attempt = Attempt(engine, original, self, wrapper.keywords["tracer"])
        if wrapper is engine.plain_sync:
            return attempt.send_plain(request)
        return through(wrapper, attempt, attempt.send, request, measured=engine.measure is not None)

    return handle_request


def _async_layer(engine: Engine, original: Send) -> Send:
    def handle_async_request(self: Any, request: Any) -> Any:
        """Send one attempt inside its CLIENT span."""
        wrapper = engine.asynchronous
        if wrapper is None:
            return original(self, request)
        wrapper = self.__dict__.get(OWN, wrapper)
        attempt = Attempt(engine, original, self, wrapper.keywords["tracer"])
        if wrapper is engine.plain_async:
            return attempt.send_plain_async(request)
        return through(wrapper, attempt, attempt.send_async, request, measured=engine.measure is not None)

    return handle_async_request
