"""Frameworks that answer an unhandled error with their own bare 500 before anybody outside hears of it.

While they do, the error is still being handled further up the stack, so `sys.exception()`
names it, and the head of its traceback is the frame that caught it. Only where that frame is
the framework's last resort, in its plain form (no debug page, no handler of the app's own),
the 500 may be replaced. Quart and Django answer later, and tell of it before.
"""

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from ._framework_signals import TOLD, listen

if TYPE_CHECKING:
    from starlette.types import Message, Scope

__all__ = ["listen", "unhandled"]


def unhandled(scope: "Scope", start: "Message") -> Exception | None:
    """The error for which a framework is sending its default 500, which `start` begins, on the caller's stack."""
    told = scope.pop(TOLD, None)  # else they hold each other
    if isinstance(told, Exception):  # and the page is the one that was to come, not one of a layer between
        kinds = [value for name, value in start.get("headers", ()) if name.lower() == b"content-type"]
        return told if kinds and kinds[0].startswith(b"text/html") else None
    error = sys.exception()
    if not isinstance(error, Exception) or error.__traceback__ is None:
        return None
    frame = error.__traceback__.tb_frame
    return error if _starlette(frame) or _litestar(frame, error) else None


def _starlette(frame: FrameType) -> bool:
    """Starlette and FastAPI: caught by ServerErrorMiddleware, which has nothing better to say."""
    module: Any = sys.modules.get("starlette.middleware.errors")
    if module is None or frame.f_code is not module.ServerErrorMiddleware.__call__.__code__:
        return False
    caught_by: Any = frame.f_locals["self"]
    plain = type(caught_by).error_response is module.ServerErrorMiddleware.error_response
    return plain and caught_by.handler is None and not caught_by.debug


def _litestar(frame: FrameType, error: Exception) -> bool:
    """Litestar: no handler for this error on any layer, and not in debug mode."""
    module: Any = sys.modules.get("litestar.middleware._internal.exceptions.middleware")
    if module is None or frame.f_code is not module.ExceptionHandlerMiddleware.__call__.__code__:
        return False
    scope = frame.f_locals["scope"]
    handlers = module.ScopeState.from_scope(scope).exception_handlers
    if not isinstance(handlers, dict) or scope["litestar_app"].debug:
        return False
    return module.get_exception_handler(handlers, error) is None
