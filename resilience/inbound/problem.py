"""Turns what nobody handled, a refused call or a dependency that failed, into an honest 503 or 504.

RFC 9457 `application/problem+json`, with `trace_id`, `policy`, `target` and `Retry-After`. The
app's own handling always wins; what is not about a dependency stays a 500; nothing is buffered.
"""

import logging
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._answer import Answer, answer_to
from ._frameworks import unhandled

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ProblemDetails"]

_log = logging.getLogger("handrail")
_OVER = Exception("answered")
_REPLACED = (b"content-type", b"content-length", b"content-encoding")


class ProblemDetails:
    """ASGI middleware; `trace_id` returns the current trace's id as 32 hex digits, or None.

    `clean` takes secrets out of what an error says; `path_of` gives the request's path for the log.

    An error that was answered is logged as one WARNING line of logger "handrail" and ends
    here; any other error, and one that comes after the response has begun, passes through.
    """

    def __init__(
        self,
        app: "ASGIApp",
        *,
        trace_id: Callable[[], str | None],
        clean: Callable[[str], str] = str,
        path_of: "Callable[[Scope], str]" = operator.itemgetter("path"),
    ) -> None:
        self.app = app
        self._trace_id = trace_id
        self._clean = clean
        self._path_of = path_of

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        responder = _Responder(scope, send, self._trace_id, self._clean, self._path_of)
        try:
            await self.app(scope, receive, responder)
        except Exception as error:
            if responder.told is error:  # Starlette raises it again, for servers to log
                return
            answer = None if responder.begun else answer_to(error, self._clean)
            if answer is None:
                raise
            await responder.tell(error, answer, [])
        finally:
            if responder.told is not None:
                responder.told = _OVER  # else they hold each other, and all frames between: work for the collector


class _Responder:
    """The `send` of one request."""

    __slots__ = ("_clean", "_path_of", "_scope", "_send", "_trace_id", "begun", "told")

    def __init__(
        self,
        scope: "Scope",
        send: "Send",
        trace_id: Callable[[], str | None],
        clean: Callable[[str], str],
        path_of: "Callable[[Scope], str]",
    ) -> None:
        self._scope = scope
        self._send = send
        self._trace_id = trace_id
        self._clean = clean
        self._path_of = path_of
        self.begun = False
        self.told: Exception | None = None

    async def __call__(self, message: "Message") -> None:
        if self.told is not None:
            return  # the rest of the response that was replaced
        if message["type"] == "http.response.start":
            if message["status"] == 500 and (error := unhandled()) and (answer := answer_to(error, self._clean)):
                kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in _REPLACED]
                await self.tell(error, answer, kept)
                return
            self.begun = True
        await self._send(message)

    async def tell(self, error: Exception, answer: Answer, kept: list[tuple[bytes, bytes]]) -> None:
        """Send the answer, with the headers that outer layers of the app had put on theirs."""
        self.begun = True
        self.told = error
        method, path = self._scope["method"], self._path_of(self._scope)
        _log.warning("%s %s answered %d: %s", method, path, answer.status, answer.detail)
        body = answer.body(self._trace_id())
        await self._send(
            {"type": "http.response.start", "status": answer.status, "headers": [*kept, *answer.headers(body)]}
        )
        await self._send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
