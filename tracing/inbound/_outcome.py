"""When a SERVER span is an error, and what it then says (http-spans, "Status" and error.type).

4xx is no error of a server. A client that left, or a cancellation, is none either. An exception that chose the
status itself (an HTTPException of 503) is an answer: error.type is then the status.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span
from opentelemetry.util.types import AnyValue

from .. import redact, semconv
from .._failure import Error
from .._naming import qualified_name

WEBSOCKET_INTERNAL_ERROR = 1011  # RFC 6455, 7.4.1
NO_RESPONSE = "no_response"
INCOMPLETE_RESPONSE = "incomplete_response"

# By name, for no framework is imported; Cancelled is trio's.
_LEFT = frozenset({"ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect", "Cancelled"})


def of_http(status: int, error: BaseException | None, *, complete: bool, left: bool) -> Error:
    """What went wrong with a request: an exception, a word for error.type, or nothing."""
    if error is not None and not is_no_error(error, left=left):
        return str(status) if status >= 500 and getattr(error, "status_code", None) == status else error
    if status >= 500:
        return str(status)
    if error is not None or complete or left:
        return None
    return INCOMPLETE_RESPONSE if status else NO_RESPONSE


def of_websocket(status: int, code: int | None, error: BaseException | None) -> Error:
    """What went wrong with a connection; `code` is that of the server's own close."""
    if error is not None and not is_no_error(error, left=True):
        return error
    if status >= 500:
        return str(status)
    return str(code) if code == WEBSOCKET_INTERNAL_ERROR else None


def is_no_error(error: BaseException, *, left: bool) -> bool:
    """Whether this is somebody's wish, or the client's leaving."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return True
    if isinstance(error, BaseExceptionGroup):
        return all(is_no_error(leaf, left=left) for leaf in error.exceptions)
    return type(error).__name__ in _LEFT or (left and isinstance(error, OSError))


def error_type(error: Error) -> str | None:
    """What error.type says, on the span and on the metric alike."""
    return error if error is None or isinstance(error, str) else qualified_name(type(error))


def answered(
    span: Span, given: str, status: int, route: str | None, scope: Mapping[str, Any]
) -> tuple[dict[str, AnyValue], str | None]:
    """What the end adds: status and route, and the name by the route unless the application gave one of its own."""
    told: dict[str, AnyValue] = {semconv.HTTP_STATUS: status} if status else {}
    if route is None:
        return told, None
    told[semconv.HTTP_ROUTE] = route
    path = scope["path"]
    shown = redact.path(route, path)
    if shown is not path:
        told[semconv.URL_PATH] = shown
    return told, f"{given} {route}" if getattr(span, "name", given) == given else None
