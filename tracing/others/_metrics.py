"""What contrib's ASGI middleware counts, where the service listens to it; never what we count already.

Its old names (`http.server.duration`) and the sizes of bodies are nobody else's. To count them its own code runs,
with a tracer that makes no span, around the application in the context that it came from.
"""

from collections.abc import Callable
from typing import Any, Literal

from opentelemetry.context import attach, detach, get_current
from opentelemetry.metrics import NoOpUpDownCounter
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, get_current_span

from ..inbound._exchange import App, Receive, Scope, Send

__all__ = ["counted", "listening", "wanted"]

Listener = Literal["nobody", "ours", "theirs"]

_listener: Listener = "nobody"
_COUNTER = "_handrail_counter"
_NEW = "duration_histogram_new"
_INSTRUMENTS = (
    "duration_histogram_old",
    _NEW,
    "server_response_size_histogram",
    "server_response_body_size_histogram",
    "server_request_size_histogram",
    "server_request_body_size_histogram",
)


def listening(to: Listener) -> None:
    """Whose provider holds our metrics: ours, which nobody but us asked for, the service's, or none at all."""
    global _listener
    _listener = to


def wanted(theirs: Any) -> bool:
    """Whether the middleware counts anything that somebody reads and that we do not count."""
    if _listener == "ours":
        return False
    skipped = _NEW if _listener == "theirs" else None
    return any(_is_live(getattr(theirs, name, None)) for name in _INSTRUMENTS if name != skipped)


def _is_live(instrument: object) -> bool:
    """Whether a real instrument stands behind it: the API's stand-ins become one when a provider is set."""
    if instrument is None:
        return False
    if type(instrument).__module__.startswith("opentelemetry.metrics"):
        return getattr(instrument, "_real_instrument", None) is not None
    return True


def counted(original: Callable[..., Any], theirs: Any) -> App:
    """The middleware without spans and hooks, and without the names that we record."""
    kept = vars(theirs).get(_COUNTER)
    if kept is None or kept[0] != _listener:
        kept = vars(theirs)[_COUNTER] = _listener, _copy(theirs)

    one = object.__new__(type(theirs))  # it keeps the response's length on itself: one for each request
    vars(one).update(vars(kept[1]))

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await original(one, scope, receive, send)

    return call


def _copy(theirs: Any) -> Any:
    copy = object.__new__(type(theirs))
    vars(copy).update(vars(theirs))
    copy.tracer = _Silent()
    copy.app = _back(theirs.app)
    copy.exclude_receive_span = copy.exclude_send_span = True
    copy.server_request_hook = copy.excluded_urls = None
    copy.content_length_header = None
    if _listener == "theirs":
        copy.duration_histogram_new = None
        copy.active_requests_counter = NoOpUpDownCounter("http.server.active_requests")
    return copy


class _Aside(NonRecordingSpan):
    """Made current for contrib's code; `before` is the context that the application is to see."""


class _Silent(NoOpTracer):
    def start_span(self, *_args: object, **_kwargs: object) -> "_Aside":
        """No span: what is current already, told to nobody."""
        span = _Aside(get_current_span().get_span_context())
        span.before = get_current()  # type: ignore[attr-defined] # the API's spans have no slots
        return span


def _back(app: App) -> App:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        before = getattr(get_current_span(), "before", None)
        if before is None:
            await app(scope, receive, send)
            return
        token = attach(before)
        try:
            await app(scope, receive, send)
        except GeneratorExit:
            raise  # thrown away with its event loop, in a context that is not ours to restore
        except BaseException:
            detach(token)
            raise
        detach(token)

    return inner
