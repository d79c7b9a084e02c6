"""Contrib's wrappers on single transports, put there before us or by hand: moved to where each attempt passes.

`instrument_client` wraps one transport object, and `(Async)OpenTelemetryTransport` is one around another. Both are
above the retries: their span would stand around those of the attempts, or a client would go past the class, with
neither retries nor a span for each. Where they lead to a transport that opens connections, they are moved there.
"""

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from ._contrib import METHODS, OWN, Engine, built, classes_by_hand, lean, wrapper_on

__all__ = ["adopt", "adopt_earlier", "pass_through", "wires"]

_DEPTH = 6


def wires(transport: object, module: Any, depth: int = _DEPTH) -> list[Any]:
    """The transports that open connections, at `transport` or below it."""
    if isinstance(transport, module.HTTPTransport | module.AsyncHTTPTransport):
        return [transport]
    if not depth or not isinstance(transport, module.BaseTransport | module.AsyncBaseTransport):
        return []
    return [wire for inner in _held(vars(transport).values()) for wire in wires(inner, module, depth - 1)]


def _held(values: Iterable[object]) -> Iterable[object]:
    for value in values:
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def adopt(engine: Engine, transport: Any) -> Callable[[], None] | None:
    """Move what `instrument_client` put on a transport to the wires below it; returns the undo."""
    below = wires(transport, engine.module)
    for name in METHODS if below else ():
        method = vars(transport).get(name)
        wrapper = wrapper_on(method)
        if wrapper is None:
            continue
        delattr(transport, name)
        for wire in below:
            vars(wire)[OWN] = lean(wrapper)
        return _giving_back(transport, name, method, below)
    return None


def _giving_back(transport: object, name: str, method: object, below: list[Any]) -> Callable[[], None]:
    of, wired = weakref.ref(transport), [weakref.ref(wire) for wire in below]

    def undo() -> None:
        found = of()
        if found is not None and name not in vars(found):
            setattr(found, name, method)
        for wire in filter(None, (one() for one in wired)):
            vars(wire).pop(OWN, None)

    return undo


def adopt_earlier(engine: Engine) -> Callable[[], None]:
    """The same for clients that were instrumented before us; nobody keeps a list of them but the collector."""
    kinds = (engine.module.BaseTransport, engine.module.AsyncBaseTransport)
    every = {cls for kind in kinds for cls in _subclasses(kind)}
    found = [found for found in gc.get_referrers(*every) if isinstance(found, kinds)]
    undos = [one for transport in found if (one := adopt(engine, transport)) is not None]

    def undo() -> None:
        for one in undos:
            one()

    return undo


def _subclasses(cls: type[Any]) -> Iterable[type[Any]]:
    yield cls
    for below in cls.__subclasses__():
        yield from _subclasses(below)


def pass_through(engine: Engine, instrumentor: Any) -> Callable[[], None]:
    """Have contrib's transport classes make no span where attempts below them make their own; returns the undo."""
    undos = []
    for cls, name in classes_by_hand():
        original = vars(cls)[name]
        if name == METHODS[0]:
            replaced = _sync(engine, instrumentor, original)
        else:
            replaced = _async(engine, instrumentor, original)
        setattr(cls, name, replaced)
        undos.append((cls, name, original, replaced))

    def undo() -> None:
        for cls, name, original, replaced in undos:
            if vars(cls).get(name) is replaced:
                setattr(cls, name, original)

    return undo


def _sync(engine: Engine, instrumentor: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    def handle_request(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Pass to the transport within, whose attempts have their own spans, or make the one that contrib makes."""
        if engine.sync is not None and _leads(self, engine, instrumentor):
            return self._transport.handle_request(*args, **kwargs)
        return original(self, *args, **kwargs)

    return handle_request


def _async(engine: Engine, instrumentor: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    async def handle_async_request(self: Any, *args: Any, **kwargs: Any) -> Any:
        """See `handle_request`."""
        if engine.asynchronous is not None and _leads(self, engine, instrumentor):
            return await self._transport.handle_async_request(*args, **kwargs)
        return await original(self, *args, **kwargs)

    return handle_async_request


def _leads(theirs: Any, engine: Engine, instrumentor: Any) -> bool:
    """Whether attempts pass a wire of ours below; the hooks move there at the first one."""
    key = f"_handrail_leads_{engine.module.__name__}"
    known: bool | None = vars(theirs).get(key)
    if known is None:
        below = wires(theirs._transport, engine.module)
        known = vars(theirs)[key] = bool(below)
        hooks = {"request_hook": theirs._request_hook, "response_hook": theirs._response_hook}
        if below and any(hooks.values()):
            either = hooks | {f"async_{name}": hook for name, hook in hooks.items()}
            made = built(instrumentor, **either)
            for wire in below:
                is_async = isinstance(wire, engine.module.AsyncHTTPTransport)
                vars(wire)[OWN] = made[METHODS[1] if is_async else METHODS[0]]
    return known
