"""Work that runs after the response: a span of its own, below the SERVER span and outside of its duration.

Starlette's, FastAPI's and Litestar's background tasks and Quart's `add_background_task` are known by their name.
Whatever else runs on after the last byte is found by what it leaves: a child span, an event or an exception.
"""

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import wrapt
from opentelemetry.context import attach, create_key, detach, get_current
from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context

from .. import semconv
from .._failure import mark
from ..spans.tracer import finish
from . import _outcome

if TYPE_CHECKING:
    from ._exchange import Exchange

__all__ = ["EXCHANGE", "Host", "Work", "begun", "ended", "install", "outermost", "settle"]

EXCHANGE = create_key("handrail-exchange")

_PLAIN = "__handrail_plain__"


class Host(Protocol):
    """The request that the work belongs to."""

    span: Span
    tracer: Tracer

    def respond(self) -> None:
        """The response is out and work begins: the SERVER span waits for nothing more."""
        ...

    def worked(self) -> None:
        """Work was told under its own name."""
        ...


class Work:
    """A block that runs `func` in the background of a request."""

    def __init__(self, host: Host, func: object) -> None:
        self._host = host
        self._name = named(func)

    def __enter__(self) -> None:
        host = self._host
        host.respond()
        host.worked()
        name = self._name
        self._span = begun(host, name, {semconv.CODE_FUNCTION: name})
        self._token = attach(set_span_in_context(self._span))

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        ended(self._span, error)
        if not isinstance(error, GeneratorExit):  # thrown away with its event loop, in a context that is not ours
            detach(self._token)


def begun(host: Host, name: str, attributes: dict[str, str] | None = None, start: int | None = None) -> Span:
    """The span of background work."""
    context = set_span_in_context(host.span)
    token = attach(context)  # a tracer or a processor that asks for the current span begins no work by that
    try:
        return host.tracer.start_span(
            f"{semconv.SPAN_BACKGROUND} {name}", context, SpanKind.INTERNAL, attributes, start_time=start
        )
    finally:
        detach(token)


def ended(span: Span, error: BaseException | None) -> None:
    """End it. Work that was cut off, by the end of the server as a rule, is told and no error."""
    if isinstance(error, asyncio.CancelledError):
        span.add_event(semconv.EVENT_BACKGROUND_CUT)
    elif error is not None and not _outcome.is_no_error(error, left=True):
        mark(span, error)
    finish(span, {})


def named(func: object) -> str:
    """What runs: `module.function`, through what partial, bound methods and Litestar put around it."""
    for _ in range(8):
        inner = getattr(func, "func", None)  # functools.partial, litestar's AsyncCallable
        if inner is None or not (isinstance(func, functools.partial) or not hasattr(func, "__qualname__")):
            break
        func = inner
    if not hasattr(func, "__qualname__"):
        func = type(func)
    module, name = getattr(func, "__module__", None), getattr(func, "__qualname__", "?")
    return f"{module}.{name}" if module else str(name)


def settle(exchange: "Exchange", raised: BaseException | None) -> None:
    """The application has returned after its last byte: end what ran on unnamed, or tell now what came out of it.

    Time alone is no sign of work: on a busy machine every return takes some.
    """
    work = exchange._work
    if exchange._named_work or (raised is not None and _outcome.is_no_error(raised, left=True)):
        raised = None
    if work is None:
        if raised is None:
            return
        work = exchange.work()
    ended(work, raised)


@functools.cache
def install() -> None:
    """Know the background work of the frameworks that this process imports, now or later."""
    wrapt.register_post_import_hook(lambda found: _tasks(found.BackgroundTask, "func"), "starlette.background")
    wrapt.register_post_import_hook(lambda found: _tasks(found.BackgroundTask, "fn"), "litestar.background_tasks")
    wrapt.register_post_import_hook(lambda found: _quart(found.Quart), "quart.app")


def outermost() -> None:
    """Be around the span that contrib's FastAPI instrumentation puts around every task, and make the only one."""
    cls: Any = getattr(sys.modules.get("starlette.background"), "BackgroundTask", None)
    if cls is not None and not hasattr(cls.__call__, _PLAIN):
        _tasks(cls, "func")


def _tasks(cls: Any, holding: str) -> None:
    original: Callable[[Any], Awaitable[None]] = cls.__call__
    plain: Any = getattr(cls, "_otel_original_call", original)
    plain = getattr(plain, _PLAIN, plain)

    @functools.wraps(original)
    async def __call__(self: Any) -> None:  # noqa: N807 (it replaces one)
        host: Any = get_current().get(EXCHANGE)
        if host is None:
            await original(self)
            return
        with Work(host, getattr(self, holding, self)):
            await plain(self)

    setattr(__call__, _PLAIN, plain)
    cls.__call__ = __call__


def _quart(cls: Any) -> None:
    original = cls.add_background_task

    @functools.wraps(original)
    def add_background_task(self: Any, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        host: Any = get_current().get(EXCHANGE)
        if host is None:
            original(self, func, *args, **kwargs)
            return

        @functools.wraps(func)
        async def told() -> None:
            with Work(host, func):
                await self.ensure_async(func)(*args, **kwargs)

        original(self, told)

    cls.add_background_task = add_background_task
