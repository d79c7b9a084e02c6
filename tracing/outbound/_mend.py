"""What contrib's CLIENT span lacks, told from inside it: once per attempt, around the real sending."""

from ipaddress import ip_address
from typing import Any

from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span

__all__ = ["after", "before", "failed"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


def before(request: Any) -> Span | None:
    """Complete the span of this attempt and its headers; None where nothing is being recorded."""
    span = get_current_span()
    context = span.get_span_context()
    # A tracestate copied by hand belongs to another parent than the traceparent that we just wrote.
    if context.is_valid and not context.trace_state and "tracestate" in request.headers:
        del request.headers["tracestate"]
    if not span.is_recording() or getattr(span, "kind", None) is not SpanKind.CLIENT:
        return None
    url = request.url
    if url.port is None and url.scheme in _DEFAULT_PORTS:
        span.set_attribute("server.port", _DEFAULT_PORTS[url.scheme])
    attempt = getattr(request.extensions.get("handrail.call"), "attempt", 1)
    if attempt > 1:
        span.set_attribute("http.request.resend_count", attempt - 1)
    return span


def after(span: Span, response: Any) -> None:
    """Say which machine answered: contrib writes the host's name where its address belongs."""
    stream = response.extensions.get("network_stream")
    if stream is None:
        return
    try:
        address, port = stream.get_extra_info("server_addr")[:2]
        span.set_attribute("network.peer.address", str(ip_address(address)))
        span.set_attribute("network.peer.port", port)
    except (TypeError, ValueError, OSError):  # a Unix socket, or a connection that is gone
        return


def failed(span: Span, request: Any, error: BaseException) -> None:
    """Mark an attempt that our timer ends; a caller that goes away is no error (HTTP conventions, status)."""
    if isinstance(error, Exception) or not getattr(request.extensions.get("handrail.call"), "timed_out", False):
        return
    span.set_attribute("error.type", "timeout")
    span.set_status(StatusCode.ERROR, "attempt timeout")
