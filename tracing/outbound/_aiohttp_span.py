"""What the CLIENT span of an attempt of aiohttp says, by the stable HTTP conventions (http-spans, "HTTP client")."""

import asyncio
from ipaddress import ip_address
from typing import Any

from opentelemetry.trace import Span, StatusCode
from opentelemetry.util.types import AnyValue

from .. import redact, semconv
from .._failure import mark
from .._naming import qualified_name
from . import _mend

__all__ = ["answered", "attributes", "failed", "name", "scheme", "version"]

_CALL = "_handrail_call"
_SCHEMES = {"ws": "http", "wss": "https"}
_VERSIONS = {(1, 1): "1.1", (1, 0): "1.0"}


def name(request: Any) -> str:
    """The span's name: the method, HTTP for one that is not known."""
    return _mend.name(request.method)


def scheme(url: Any) -> str:
    """That of HTTP, also for the handshake of a websocket."""
    found: str = url.scheme
    return _SCHEMES.get(found, found)


def attributes(request: Any) -> dict[str, AnyValue]:
    """What is known of an attempt before it is sent."""
    url, method = request.url, request.method
    told: dict[str, AnyValue] = {
        semconv.HTTP_METHOD: method,
        "url.full": redact.url(str(url)),
        semconv.SERVER_ADDRESS: url.host,
        semconv.SERVER_PORT: url.port,
    }
    if method not in semconv.KNOWN_METHODS:
        told[semconv.HTTP_METHOD] = semconv.OTHER_METHOD
        told[semconv.HTTP_METHOD_ORIGINAL] = method
    attempt = getattr(getattr(request, _CALL, None), "attempt", 1)
    if attempt > 1:
        told[semconv.HTTP_RESEND_COUNT] = attempt - 1
    return told


def version(response: Any) -> str:
    """The HTTP version of the answer; empty where there is none."""
    return "" if response is None else _VERSIONS.get(response.version, "")


def answered(span: Span, response: Any) -> str | None:
    """Say what the answer is and which machine gave it; returns the error.type."""
    status = response.status
    error_type = str(status) if status >= 400 else None
    if not span.is_recording():
        return error_type
    span.set_attribute(semconv.HTTP_STATUS, status)
    if known := version(response):
        span.set_attribute(semconv.PROTOCOL_VERSION, known)
    if error_type is not None:
        span.set_attribute(semconv.ERROR_TYPE, error_type)
        span.set_status(StatusCode.ERROR)
    transport = getattr(getattr(response, "_protocol", None), "transport", None)
    if transport is not None:
        try:
            address, port = transport.get_extra_info("peername")[:2]
            span.set_attribute(semconv.PEER_ADDRESS, str(ip_address(address)))
            span.set_attribute(semconv.PEER_PORT, port)
        except (TypeError, ValueError, OSError):  # a Unix socket, or a connection that is gone
            pass
    return error_type


def failed(span: Span, request: Any, error: BaseException) -> str | None:
    """Mark an attempt that `error` ended, and give its error.type.

    A caller that goes away is no error: only what our timer cancels, or aiohttp's, is one.
    """
    if isinstance(error, Exception) and not isinstance(error, TimeoutError):
        if span.is_recording():
            mark(span, error)
        return qualified_name(type(error))
    if not isinstance(error, TimeoutError) and not _timed_out(request, error):
        return None
    if span.is_recording():
        span.set_attribute(semconv.ERROR_TYPE, _mend.TIMED_OUT)
        span.set_status(StatusCode.ERROR, "attempt timeout")
    return _mend.TIMED_OUT


def _timed_out(request: Any, error: BaseException) -> bool:
    if not isinstance(error, asyncio.CancelledError):
        return False
    timer = getattr(request, "_timer", None)
    return getattr(getattr(request, _CALL, None), "timed_out", False) or getattr(timer, "_cancelled", False)
