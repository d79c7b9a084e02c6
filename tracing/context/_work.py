"""Work that another process does, or this one later: the context as a small dict, and a span for the work.

The semantic conventions for messaging name the span CONSUMER and join it to where the work came from by a link:
such work may begin hours later, run several times, or for many senders at once, and none of that fits under a
request that has been answered long ago.
"""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from contextvars import Token
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Tracer, get_current_span, set_span_in_context
from opentelemetry.util.types import Attributes

from .._failure import mark
from ..propagation import BAGGAGE, TRACEPARENT, TRACESTATE, W3CPropagator
from ..spans.tracer import finish

__all__ = ["Resume", "capture", "context_of", "refuse_generators"]

P = ParamSpec("P")
R = TypeVar("R")

Carrier = Mapping[str, str] | None
CarrierOf = Callable[..., Carrier]

_log = logging.getLogger("handrail")
_propagator = W3CPropagator()
_EMPTY = Context()


def capture(context: Context | None = None) -> dict[str, str]:
    """What joins later work to the current span: W3C `traceparent`, `tracestate` and `baggage`, as far as there are.

    Text only, so it fits into JSON, a job's arguments or a column; empty where no span is current. Baggage is
    bounded as on the wire: 64 members, 8192 bytes. Anybody's W3C propagator reads it, ours reads anybody's.
    """
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    return carrier


def context_of(carrier: object) -> Context:
    """What a carrier says, and nothing besides; whatever is not what `capture` makes is passed over."""
    if not isinstance(carrier, Mapping):
        return _EMPTY
    try:
        traceparent, tracestate, baggage = (_bytes(carrier.get(name)) for name in (TRACEPARENT, TRACESTATE, BAGGAGE))
        return _propagator.read(_EMPTY, traceparent, tracestate, baggage)
    except Exception:
        _log.debug("a carrier of trace context could not be read", exc_info=True)
        return _EMPTY


def _bytes(value: object) -> bytes | None:
    if isinstance(value, bytes):
        return value
    return value.encode("latin-1", "replace") if isinstance(value, str) else None


class Resume:
    """See `handrail.resume`. `tracer` is asked when the work begins; None: the work runs without a span."""

    def __init__(
        self,
        tracer: Callable[[], Tracer | None],
        carrier: Carrier | CarrierOf,
        name: str,
        *,
        link: bool = True,
        attributes: Attributes = None,
    ) -> None:
        self._tracer = tracer
        self._carrier = carrier
        self._name = name
        self._link = link
        self._attributes = attributes
        self._open: list[tuple[Span, Token[Context] | None]] = []

    def __enter__(self) -> Span:
        tracer = self._tracer()
        if tracer is None:
            self._open.append((INVALID_SPAN, None))
            return INVALID_SPAN
        carrier = self._carrier
        context = context_of(carrier)
        origin = get_current_span(context).get_span_context()
        here = get_current_span()
        # What this process itself does at the moment, such as the span of a task library, is never lost either.
        links = [Link(here.get_span_context())] if here.is_recording() and here.get_span_context() != origin else []
        if self._link and origin.is_valid:
            links.insert(0, Link(origin))
            context = set_span_in_context(INVALID_SPAN, context)
        span = tracer.start_span(self._name, context, SpanKind.CONSUMER, self._attributes, links)
        self._open.append((span, attach(set_span_in_context(span, context))))
        return span

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        span, token = self._open.pop()
        if isinstance(error, Exception):  # a cancellation, or the end of the process, is no failure of the work
            mark(span, error)
        finish(span, {})
        if token is not None and not isinstance(error, GeneratorExit):
            detach(token)  # after GeneratorExit the context is not ours to restore

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, at)

    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]:
        """Decorate: each call of `fn` is a piece of work of its own."""
        refuse_generators(fn, "resume")
        call: Callable[..., Any] = fn
        if inspect.iscoroutinefunction(fn):

            async def work_async(*args: Any, **kwargs: Any) -> Any:
                with self._of(args, kwargs):
                    return await call(*args, **kwargs)

            return cast("Callable[P, R]", functools.update_wrapper(work_async, fn))

        def work(*args: Any, **kwargs: Any) -> Any:
            with self._of(args, kwargs):
                return call(*args, **kwargs)

        return cast("Callable[P, R]", functools.update_wrapper(work, fn))

    def _of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Resume":
        carrier = self._carrier
        if callable(carrier):
            try:
                carrier = carrier(*args, **kwargs)
            except Exception:  # the work counts, not where it came from
                _log.warning("resume(%r): the carrier could not be taken from the arguments", self._name, exc_info=True)
                carrier = None
        return type(self)(self._tracer, carrier, self._name, link=self._link, attributes=self._attributes)


def refuse_generators(fn: object, name: str) -> None:
    """TypeError for a function whose body does not run when it is called."""
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(f"{name}() takes a function, {fn!r} makes a generator: no context is held across a yield")
