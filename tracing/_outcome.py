"""When a SERVER span is an error, and what it then says (http-spans, "Status" and error.type).

4xx is no error of a server. A client that left, or a cancellation, is none either. An exception that chose the
status itself (an HTTPException of 503) is an answer: error.type is then the status.
"""

import asyncio

from opentelemetry.trace import Span, StatusCode

from . import semconv

Error = BaseException | str | None

WEBSOCKET_INTERNAL_ERROR = 1011  # RFC 6455, 7.4.1
NO_RESPONSE = "no_response"
INCOMPLETE_RESPONSE = "incomplete_response"

_LEFT = frozenset({"ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect"})  # by name: no framework import


def of_http(status: int, error: BaseException | None, *, complete: bool, left: bool) -> Error:
    """What went wrong with a request: an exception, a word for error.type, or nothing."""
    if error is not None and not _is_no_error(error, left=left):
        return str(status) if status >= 500 and getattr(error, "status_code", None) == status else error
    if status >= 500:
        return str(status)
    if error is not None or complete or left:
        return None
    return INCOMPLETE_RESPONSE if status else NO_RESPONSE


def of_websocket(status: int, code: int, error: BaseException | None) -> Error:
    """What went wrong with a connection."""
    if error is not None and not _is_no_error(error, left=True):
        return error
    if status >= 500:
        return str(status)
    return str(code) if code == WEBSOCKET_INTERNAL_ERROR else None


def _is_no_error(error: BaseException, *, left: bool) -> bool:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return True
    if isinstance(error, BaseExceptionGroup):
        return all(_is_no_error(leaf, left=left) for leaf in error.exceptions)
    return type(error).__name__ in _LEFT or (left and isinstance(error, OSError))


def mark(span: Span, error: Error, at: int | None = None) -> None:
    """Put the error, if there is one, on the span; `at` is its time in nanoseconds, now where None."""
    if error is None:
        return
    if isinstance(error, str):
        span.set_attribute(semconv.ERROR_TYPE, error)
        span.set_status(StatusCode.ERROR)  # no description: the status code or error.type says it all
    else:
        span.set_attribute(semconv.ERROR_TYPE, qualified_name(type(error)))
        span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
        if isinstance(error, Exception):
            span.record_exception(error, timestamp=at)


def qualified_name(cls: type) -> str:
    """How error.type names a class: with its module, unless that is builtins."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def routed(span: Span, given: str, route: str) -> None:
    """Set the route, and name the span after it unless the application gave it a name of its own."""
    span.set_attribute(semconv.HTTP_ROUTE, route)
    if getattr(span, "name", given) == given:
        span.update_name(f"{given} {route}")
