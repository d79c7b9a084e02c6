"""One sending through urllib3: its span from `urlopen` to the headers, or to the end of the body where requests reads
it within the attempt.
"""

from collections.abc import Callable
from ipaddress import ip_address
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import propagate
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

from .. import semconv
from .._quietly import told as say
from ..measure import ClientMeasure
from ..spans.tracer import LightTracer
from . import _mend
from . import _urllib3_contrib as contrib

__all__ = ["Attempt", "Sent"]

_VERSIONS = {11: "1.1", 10: "1.0", 20: "2"}
_CALL = "handrail.call"


class Sent:
    """What is sent, in the words of `_mend`: method, url, headers, extensions. `headers` is a copy."""

    __slots__ = ("body", "extensions", "headers", "method", "of_requests", "pool", "url")

    def __init__(self, pool: Any, method: str, url: str, headers: Any, body: Any, call: Any) -> None:
        self.pool = pool
        self.method = method
        self.body = body
        self.headers: Any = headers.copy() if hasattr(headers, "copy") else dict(headers or {})
        self.url = Address(pool, url)
        self.of_requests: Any = getattr(call, "request", None)
        self.extensions: dict[str, Any] = {_CALL: call}

    def resent(self, times: int) -> None:
        """Count what urllib3 sent again by itself, redirects included (http-spans, resend count)."""
        self.extensions[_CALL] = _Numbered(self.extensions[_CALL], times)


class _Numbered:
    """A call, and how often urllib3 repeated it."""

    def __init__(self, call: Any, times: int) -> None:
        self.call = call
        self.attempt = getattr(call, "attempt", 1) + times
        self.timed_out = getattr(call, "timed_out", False)


class Address:
    """Where it goes; the whole URL is put together only where somebody looks at it."""

    __slots__ = ("_path", "host", "port", "scheme")

    def __init__(self, pool: Any, url: str) -> None:
        self.scheme, self.host, self.port = pool.scheme, pool.host, pool.port
        if not url.startswith("/"):  # through a proxy that is told the whole URL
            try:
                parts = urlsplit(url)
                scheme = parts.scheme or pool.scheme
                self.scheme, self.host, self.port = scheme, parts.hostname or "", parts.port
                url = parts._replace(scheme="", netloc="").geturl()
            except ValueError:
                url = "/"
        self._path = url

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port in (None, _mend.DEFAULT_PORTS.get(self.scheme)) else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self._path}"


class Attempt:
    """The state of one sending."""

    def __init__(
        self,
        tracer: LightTracer,
        measure: Callable[[], ClientMeasure | None] | None,
        sent: Sent,
        base: Context | None,
    ) -> None:
        self.pool = sent.pool
        self._base = base
        self._sent = sent
        self._measure = measure
        self._status = 0
        self._version = ""
        self._ended = False
        self._started = perf_counter()
        self._hooks = contrib.hooks(sent.of_requests)
        self._span = tracer.begin(_mend.name(sent.method), base, SpanKind.CLIENT, _mend.attributes, sent)
        self._token = attach(set_span_in_context(self._span, base))
        self._leaves()

    @property
    def base(self) -> Context:
        """The context that the attempt was begun in, or the one that it replaced."""
        if self._base is not None:
            return self._base
        found = self._token.old_value
        return found if isinstance(found, Context) else Context()

    def _leaves(self) -> None:
        sent, span = self._sent, self._span
        if self._hooks is not None:
            self._hooks.before(span, sent)
        told: dict[str, str] = {}
        try:
            propagate.inject(told)
        except Exception as error:  # of a propagator of the service's own
            say("the trace context cannot be put into a request", error)
        headers = sent.headers
        if type(headers) is dict and told:
            # One traceparent leaves, however those were written that the code copied from elsewhere.
            names = {name.lower() for name in told}
            for name in [name for name in headers if isinstance(name, str) and name.lower() in names]:
                del headers[name]
        for name, value in told.items():
            headers[name] = value
        _mend.before(span, sent)

    def answered(self, connection: Any, response: Any) -> None:
        """An answer came over `connection`: say its version, and which machine gave it."""
        self._version = version = _VERSIONS.get(getattr(response, "version", 0), "")
        span = self._span
        if not span.is_recording():
            return
        if version:
            span.set_attribute(semconv.PROTOCOL_VERSION, version)
        try:
            address, port = connection.sock.getpeername()[:2]
            span.set_attribute(semconv.PEER_ADDRESS, str(ip_address(address)))
            span.set_attribute(semconv.PEER_PORT, port)
        except (AttributeError, TypeError, ValueError, OSError):  # a Unix socket, or closed with the last byte
            return

    def replaced(self, by: Any) -> None:
        """Urllib3 sends again: `by` is its history's last entry, and says what this sending came to."""
        if by.error is not None:
            self._end(by.error)
        else:
            self._status = by.status or 0
            self._tell_status()
            self._end(None)

    def failed(self, error: BaseException) -> None:
        """`urlopen` raised; what is inside of MaxRetryError is what happened."""
        reason = getattr(error, "reason", None)
        self._end(reason if isinstance(reason, Exception) else error)

    def left(self, response: Any) -> None:
        """`urlopen` is over: give the context back, and end unless a body is still to come."""
        detach(self._token)
        if self._ended or response is None:
            return
        span = self._span
        self._status = response.status
        if span.is_recording():
            self._tell_status()
        call = self._sent.extensions[_CALL]
        call = getattr(call, "call", call)
        if getattr(call, "tells_end", False):
            call.ended = self._over
            return
        if self._hooks is not None:
            self._hooks.after(span, self._sent, response)
        self._end(None)

    def _over(self, error: BaseException | None, result: object) -> None:
        if self._hooks is not None and result is not None and not self._ended:
            self._hooks.after(self._span, self._sent, result)
        self._end(error)

    def _tell_status(self) -> None:
        span, status = self._span, self._status
        span.set_attribute(semconv.HTTP_STATUS, status)
        if status >= 400:
            span.set_attribute(semconv.ERROR_TYPE, str(status))
            span.set_status(StatusCode.ERROR)

    def _end(self, error: BaseException | None) -> None:
        if self._ended:
            return
        self._ended = True
        sent, span = self._sent, self._span
        told = str(self._status) if self._status >= 400 else None
        if error is not None:
            told = _mend.failure(span, sent, error) or told
        try:
            span.end()
            measure = None if self._measure is None else self._measure()
            if measure is not None:
                url, seconds = sent.url, perf_counter() - self._started
                port = url.port or _mend.DEFAULT_PORTS.get(url.scheme)
                measure.end(sent.method, url.scheme, url.host, port, self._status, told, self._version, seconds, span)
        except Exception as failed:  # of the service's own processors or MeterProvider
            say("an attempt cannot be told", failed)
