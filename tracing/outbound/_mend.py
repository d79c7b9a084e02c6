"""What a CLIENT span says of one attempt, by the stable HTTP conventions (http-spans, "HTTP client span")."""

from ipaddress import ip_address
from typing import Any

from opentelemetry.trace import Span, StatusCode
from opentelemetry.util.types import AnyValue

from .. import redact, semconv
from .._failure import mark
from .._naming import qualified_name

__all__ = ["DEFAULT_PORTS", "VERSIONS", "answered", "attributes", "before", "failure", "name"]

DEFAULT_PORTS = {"http": 80, "https": 443}
VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/2": "2", b"HTTP/1.0": "1.0", b"HTTP/3": "3"}
TIMED_OUT = "timeout"


def name(method: str) -> str:
    """The span's name: the method, HTTP for one that is not known."""
    return method if method in semconv.KNOWN_METHODS else "HTTP"


def attributes(request: Any) -> dict[str, AnyValue]:
    """What is known of an attempt before it is sent."""
    url = request.url
    method = request.method
    told: dict[str, AnyValue] = {
        semconv.HTTP_METHOD: method,
        "url.full": redact.url(str(url)),
        semconv.SERVER_ADDRESS: url.host,
    }
    if method not in semconv.KNOWN_METHODS:
        told[semconv.HTTP_METHOD] = semconv.OTHER_METHOD
        told[semconv.HTTP_METHOD_ORIGINAL] = method
    return told


def before(span: Span, request: Any) -> None:
    """Complete the span and the headers of an attempt."""
    context = span.get_span_context()
    # A tracestate copied by hand belongs to another parent than the traceparent that we just wrote.
    if not context.trace_state and "tracestate" in request.headers and context.is_valid:
        del request.headers["tracestate"]
    if not span.is_recording():
        return
    url = request.url
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    if port is not None:
        span.set_attribute(semconv.SERVER_PORT, port)
    attempt = getattr(request.extensions.get("handrail.call"), "attempt", 1)
    if attempt > 1:
        span.set_attribute(semconv.HTTP_RESEND_COUNT, attempt - 1)


def answered(span: Span, response: Any) -> None:
    """Say what the answer is and which machine gave it; a name is no address, and is not told as one."""
    stream = response.extensions.get("network_stream")
    if stream is None:
        return
    try:
        address, port = stream.get_extra_info("server_addr")[:2]
        span.set_attribute(semconv.PEER_ADDRESS, str(ip_address(address)))
        span.set_attribute(semconv.PEER_PORT, port)
    except (TypeError, ValueError, OSError):  # a Unix socket, or a connection that is gone
        return


def failure(span: Span, request: Any, error: BaseException) -> str | None:
    """Mark an attempt that `error` ended, and give its error.type.

    A caller that goes away is no error (HTTP conventions, status): only what our timer cancels is one.
    """
    timed_out = getattr(request.extensions.get("handrail.call"), "timed_out", False)
    if isinstance(error, Exception) and not isinstance(error, TimeoutError):
        if span.is_recording():
            mark(span, error)
        return qualified_name(type(error))
    if not timed_out and not isinstance(error, TimeoutError):
        return None
    if span.is_recording():
        span.set_attribute(semconv.ERROR_TYPE, TIMED_OUT)
        span.set_status(StatusCode.ERROR, "attempt timeout")
    return TIMED_OUT
