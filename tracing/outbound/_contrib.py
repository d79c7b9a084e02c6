"""opentelemetry-instrumentation-httpx as an engine: its wrappers, taken without its patching.

What we use of it is private (the two wrappers and the shape of `_instrument`); everything that
depends on that stands in this file, and tests/tracing_outbound pins it.
"""

from collections.abc import Callable
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import opentelemetry.instrumentation.httpx as contrib
from opentelemetry.instrumentation._semconv import _StabilityMode
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import ProxyTracer, Tracer

from .. import redact
from ..measure import ClientMeasure
from ..redact._headers import header_attributes
from ..spans.tracer import LightTracer, light
from ._body import watched

__all__ = [
    "METHODS",
    "OWN",
    "Engine",
    "below",
    "built",
    "classes_by_hand",
    "instrumentor_of",
    "lean",
    "steer",
    "wrapper_on",
]

Wrapper = Callable[..., Any]
"""Called as (wrapped, instance, args, kwargs), the way wrapt does."""

METHODS = ("handle_request", "handle_async_request")
_CAPTURES = ("captured_request_headers", "captured_response_headers")
_READERS = ("_apply_request_client_attributes_to_span", "_apply_response_client_attributes_to_span")
_TRACERS = 32
OWN = "_handrail_traced"
"""On a transport: the wrapper with the hooks of `instrument_client`."""


class Engine:
    """Which wrappers are in use for one client library, and how to take the layer off again."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.sync: Wrapper | None = None
        self.asynchronous: Wrapper | None = None
        self.undo: Callable[[], None] | None = None
        self.standing: set[str] = set()
        """The methods on which the layer is, also after an undo where others wrapped it."""
        self.plain_sync: Wrapper | None = None
        self.plain_async: Wrapper | None = None
        """Wrappers that do nothing which we cannot do without them."""
        self.measure: Callable[[], ClientMeasure | None] | None = None
        self.watched, self.watched_async = watched(module)
        self._tracers: dict[int, LightTracer] = {}

    def light(self, tracer: Tracer) -> LightTracer:
        """The light tracer beside one that contrib was given; a proxy is asked each time what it stands for."""
        if type(tracer) is ProxyTracer:
            tracer = tracer._tracer
        found = self._tracers.get(id(tracer))
        if found is None or found._tracer is not tracer:
            if len(self._tracers) >= _TRACERS:
                self._tracers.clear()
            found = self._tracers[id(tracer)] = light(tracer)
        return found

    def use(self, wrappers: dict[str, Wrapper], *, plain: bool = False) -> None:
        """Trace through these wrappers from the next attempt on; none of them: do not trace."""
        self.sync = wrappers.get("handle_request")
        self.asynchronous = wrappers.get("handle_async_request")
        self.plain_sync = self.sync if plain and _is_plain(self.sync) else None
        self.plain_async = self.asynchronous if plain and _is_plain(self.asynchronous) else None


def instrumentor_of(module: ModuleType) -> Any:
    """Contrib's instrumentor for `module`; a singleton, so it is the one that a service would ask."""
    if module.__name__ == "httpx2":
        return contrib.HTTPX2ClientInstrumentor()
    return contrib.HTTPXClientInstrumentor()


def steer(engine: Engine, instrumentor: Any, adopt: Callable[[Any], object]) -> Callable[[], None]:
    """Point the engine at contrib's wrappers, now and whenever a service instruments with hooks of its own.

    `adopt` takes what `instrument_client` put on a transport.
    """
    theirs = _wrappers_on_class(engine.module)
    if theirs:
        engine.use(theirs)
    else:
        engine.use(built(instrumentor), plain=True)
    kind: Any = type(instrumentor)
    was_on = instrumentor._is_instrumented_by_opentelemetry

    def instrument(**kwargs: Any) -> None:
        engine.use(built(instrumentor, **kwargs))

    def uninstrument(**_kwargs: Any) -> None:
        engine.use(built(instrumentor), plain=True)

    def instrument_client(_cls: type, /, client: Any, **kwargs: Any) -> None:
        inherited(client, **kwargs)
        for transport in (client._transport, *client._mounts.values()):
            adopt(transport)

    inherited = kind.instrument_client
    vars(instrumentor).update(_instrument=instrument, _uninstrument=uninstrument)
    kind.instrument_client = classmethod(instrument_client)

    def unsteer() -> None:
        for name in ("_instrument", "_uninstrument"):
            vars(instrumentor).pop(name, None)
        del kind.instrument_client
        instrumentor._is_instrumented_by_opentelemetry = was_on
        engine.use({})

    return unsteer


def below(method: Any) -> Callable[..., Any]:
    """What the layer goes around: the method without contrib's wrapper, which the layer calls itself."""
    found: Callable[..., Any] = method.__wrapped__ if wrapper_on(method) is not None else method
    return found


def classes_by_hand() -> list[tuple[type, str]]:
    """The classes that define what contrib's transports do, of both libraries, and the method."""
    found: dict[tuple[type, str], None] = {}
    for public, name in zip(("SyncOpenTelemetryTransport", "AsyncOpenTelemetryTransport"), METHODS, strict=True):
        for suffix in ("", "Httpx2"):
            mro = getattr(contrib, public + suffix, object).__mro__
            found |= {(cls, name): None for cls in mro if name in vars(cls) and cls.__module__ == contrib.__name__}
    return list(found)


def built(instrumentor: Any, **kwargs: Any) -> dict[str, Wrapper]:
    """Contrib's wrappers with stable attribute names, whatever the environment asks of others.

    Runs a copy of `_instrument` that sees other globals; nothing that others use is changed.
    """
    built: dict[str, Wrapper] = {}

    def keep(_module: str, path: str, wrapper: Wrapper) -> None:
        built[path.rpartition(".")[2]] = lean(wrapper)

    if not kwargs:
        kwargs["meter_provider"] = NoOpMeterProvider()  # nobody asked contrib for metrics
    source = type(instrumentor)._instrument
    names = {"wrap_function_wrapper": keep, "_OpenTelemetrySemanticConventionStability": _Stable}
    copy = FunctionType(source.__code__, {**source.__globals__, **names})
    copy.__kwdefaults__ = source.__kwdefaults__
    copy(instrumentor, **kwargs)
    return built


def lean(wrapper: Wrapper) -> Wrapper:
    """The wrapper without two detours that take a quarter of what contrib's span costs.

    It parses the request's URL anew, though that is immutable already; and where no header is
    asked for, it reads all of them twice for an empty result. What it reads, it redacts by our rules.
    """
    if not isinstance(wrapper, partial):
        return wrapper
    source = wrapper.func
    captures = any(wrapper.keywords.get(name) for name in _CAPTURES)
    names: dict[str, object] = {"_extract_parameters": _parameters}
    names |= {name: _discreet(source.__globals__[name], captures=captures) for name in _READERS}
    copy = FunctionType(source.__code__, {**source.__globals__, **names})
    copy.__kwdefaults__ = source.__kwdefaults__
    return partial(copy, *wrapper.args, **wrapper.keywords)


def _parameters(args: tuple[Any, ...], _kwargs: object, _module: object) -> tuple[bytes, Any, Any, Any, Any]:
    request = args[0]
    return request.method.encode(), request.url, request.headers, request.stream, request.extensions


def _discreet(source: FunctionType, *, captures: bool) -> FunctionType:
    """The reader with our redaction in place of contrib's, whose list is short and whose headers are in clear."""
    names: dict[str, object] = {"redact_url": redact.url, "get_custom_header_attributes": header_attributes}
    if not captures:
        names["_normalize_headers"] = lambda _headers, _module: {}
    copy = FunctionType(source.__code__, {**source.__globals__, **names}, argdefs=source.__defaults__)
    copy.__kwdefaults__ = source.__kwdefaults__
    return copy


def _is_plain(wrapper: Wrapper | None) -> bool:
    """Whether contrib's wrapper has nothing to do that `Attempt` does not: no hook, no header, no excluded URL."""
    if not isinstance(wrapper, partial):
        return False
    given = wrapper.keywords
    excluded = getattr(given.get("excluded_urls"), "_excluded_urls", None)
    return not (excluded or any(given.get(name) for name in (*_CAPTURES, "request_hook", "response_hook")))


class _Stable:
    """Answers contrib's question about attribute names with: the stable ones."""

    @staticmethod
    def _initialize() -> None:
        """Nothing to read."""

    @staticmethod
    def _get_opentelemetry_stability_opt_in_mode(_signal: object) -> _StabilityMode:
        return _StabilityMode.HTTP


def _wrappers_on_class(module: ModuleType) -> dict[str, Wrapper]:
    found: dict[str, Wrapper] = {}
    for owner, name in ((module.HTTPTransport, METHODS[0]), (module.AsyncHTTPTransport, METHODS[1])):
        wrapper = wrapper_on(owner.__dict__.get(name))
        if wrapper is not None:
            found[name] = lean(wrapper)
    return found


def wrapper_on(method: object) -> Wrapper | None:
    """Contrib's wrapper if it is the outermost on `method`, telling stable names as well as the old ones."""
    wrapper = getattr(method, "_self_wrapper", None)
    if not isinstance(wrapper, partial) or "sem_conv_opt_in_mode" not in wrapper.keywords:
        return None
    if wrapper.keywords["sem_conv_opt_in_mode"] is not _StabilityMode.DEFAULT:
        return wrapper
    return partial(wrapper.func, *wrapper.args, **{**wrapper.keywords, "sem_conv_opt_in_mode": _StabilityMode.HTTP_DUP})
