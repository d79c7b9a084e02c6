"""httpx and httpx2: opentelemetry-instrumentation-httpx makes the span, we mend what it gets wrong.

On the transport class stands one function of ours, the layer. Each attempt runs
layer > contrib's wrapper (span, headers) > mend > the original method. The layer reads contrib's
wrapper from `_Engine`, so hooks that a service gives to `HTTPXClientInstrumentor` later replace
ours in place, and no second span appears.
"""

from collections.abc import Callable
from types import MethodType, ModuleType
from typing import Any

from ._contrib import OWN, Engine, below, instrumentor_of, steer
from ._mend import after, before, failed

__all__ = ["install"]

_engines: dict[str, Engine] = {}

Send = Callable[[Any, Any], Any]


def install(module: ModuleType) -> Callable[[], None]:
    """Put the layer on both transport classes of `module`; see `outbound.install`."""
    engine = _engines.get(module.__name__)
    if engine is None:
        engine = _engines[module.__name__] = Engine(module)
    if engine.undo is not None:
        return engine.undo
    unsteer = steer(engine, instrumentor_of(module))
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
        unsteer()
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
    def mend(transport: Any, request: Any) -> Any:
        span = before(request)
        if span is None:
            return original(transport, request)
        try:
            response = original(transport, request)
        except BaseException as error:
            failed(span, request, error)
            raise
        after(span, response)
        return response

    def handle_request(self: Any, request: Any) -> Any:
        """Send one attempt inside its CLIENT span."""
        wrapper = engine.sync
        if wrapper is None:
            return original(self, request)
        wrapper = self.__dict__.get(OWN, wrapper)
        return wrapper(MethodType(mend, self), self, (request,), {})

    return handle_request


def _async_layer(engine: Engine, original: Send) -> Send:
    async def mend(transport: Any, request: Any) -> Any:
        span = before(request)
        if span is None:
            return await original(transport, request)
        try:
            response = await original(transport, request)
        except BaseException as error:
            failed(span, request, error)
            raise
        after(span, response)
        return response

    def handle_async_request(self: Any, request: Any) -> Any:
        """Send one attempt inside its CLIENT span."""
        wrapper = engine.asynchronous
        if wrapper is None:
            return original(self, request)
        wrapper = self.__dict__.get(OWN, wrapper)
        return wrapper(MethodType(mend, self), self, (request,), {})

    return handle_async_request
