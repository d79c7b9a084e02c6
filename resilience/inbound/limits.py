"""Limits on what comes in: headers, body, the pace of the body, and how much of one client is under way.

Pure ASGI; nothing is held. A request without a body passes without a frame of ours. HTTP/1 says in its headers that a
body follows (RFC 9112, 6.3); in HTTP/2 and 3 one may follow without a word (RFC 9113, 8.1), so there all are looked at.
"""

import logging
import operator
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import TYPE_CHECKING

from ..clock import Clock, SystemClock
from ..events import Listener, RequestRefused
from ._answer import Answer
from ._limits_body import SLOWEST, BoundedBody, lingering
from ._limits_clients import Clients
from ._reply import ANSWERED, Replies, one_line
from .settings import InboundSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Limits"]

_LENGTH, _CODING = b"content-length", b"transfer-encoding"
_COVERED = frozenset({"http", "websocket"})
_HTTP_1 = frozenset({"1.1", "1.0"})
_CLOSE = ((b"connection", b"close"),)
_STATUS = {"headers_max": 431, "body_max": 413, "body_timeout": 408, "client_max": 429}
_AGAIN = 1.0
"""Seconds after which a client with too many requests may come again: those that it has will be fewer then."""

_log = logging.getLogger("handrail")


class Limits:
    """ASGI middleware. `clients` counts the requests of each client, None: nobody does. `found_in` names the entry of
    the scope in which an outer layer has put the headers called `names`; where it is missing they are looked for here.
    """

    def __init__(
        self,
        app: "ASGIApp",
        *,
        settings: InboundSettings,
        replies: Replies,
        emit: Listener,
        clients: Clients | None = None,
        also: frozenset[bytes] = frozenset(),
        clock: Clock | None = None,
        path_of: "Callable[[Scope], str]" = operator.itemgetter("path"),
        found_in: str = "handrail.headers",
    ) -> None:
        self.app = app
        self.names = frozenset({_LENGTH, _CODING}) | also | frozenset(() if clients is None else clients.callers)
        self._replies = replies
        self._emit = emit
        self._clients = clients
        self.clock = clock or SystemClock()
        self._path_of = path_of
        self._found_in = found_in
        self._settings = settings
        self._headers_max: float = settings.headers_max or inf
        self.body_max: float = settings.body_max or inf
        self.timeout = settings.body_timeout

    def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        if scope["type"] not in _COVERED:
            return self.app(scope, receive, send)
        if len(scope["headers"]) > self._headers_max:
            return self._refuse("headers_max", "", scope, send)
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        found: Mapping[bytes, bytes] | None = scope.get(self._found_in)
        if found is None:
            found = self._find(scope)
        if self._clients is not None:
            return self._counted(self._clients, found, scope, receive, send)
        if _LENGTH in found or _CODING in found or scope.get("http_version", "1.1") not in _HTTP_1:
            return self._with_body(found, scope, receive, send)
        return self.app(scope, receive, send)

    def _find(self, scope: "Scope") -> Mapping[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in self.names:
                found[name] = found[name] + b"," + value if name in found else value
        return found

    async def _counted(
        self, clients: Clients, found: Mapping[bytes, bytes], scope: "Scope", receive: "Receive", send: "Send"
    ) -> None:
        client = clients.who(scope, found)
        if client is not None and not clients.enter(client):
            await self._refuse("client_max", "", scope, send)
            return
        try:
            if _LENGTH in found or _CODING in found or scope.get("http_version", "1.1") not in _HTTP_1:
                await self._with_body(found, scope, receive, send)
            else:
                await self.app(scope, receive, send)
        finally:
            if client is not None:
                clients.leave(client)

    def _with_body(
        self, found: Mapping[bytes, bytes], scope: "Scope", receive: "Receive", send: "Send"
    ) -> Awaitable[None]:
        length = found.get(_LENGTH, b"")
        if length.isdigit() and _CODING not in found:
            digits = length.lstrip(b"0") or b"0"
            declared = int(digits) if len(digits) < 20 else inf
            if declared > self.body_max:
                return self._declared(scope, receive, send)
            if not declared or not self.timeout:  # the server sees to it that no more than that comes
                return self.app(scope, receive, send)
        return self._bounded(scope, receive, send)

    async def _declared(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        await self._refuse("body_max", "declared", scope, _open_ended(send))
        if not any(name == b"expect" for name, _ in scope["headers"]):  # that one has not begun to send
            await self._ended(receive, send)
        else:
            await send(_LAST)

    async def _ended(self, receive: "Receive", send: "Send") -> None:
        """The end of an answer to a client that may be in the middle of its body.

        In HTTP/2 too: granian resets a stream that ends before its body, and takes the answer with it; in hypercorn
        what comes after the end is an error that takes the connection along, and on trio the server.
        """
        await lingering(receive, self.clock)
        await send(_LAST)

    async def _bounded(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        body = BoundedBody(self, scope, receive, send)
        try:
            await self.app(scope, body.receive, body.send)
        except Exception:
            if not body.refused:
                raise
            _log.debug("after a refused body", exc_info=True)  # the app was told that its client has left
        if body.answered == "body_max" or (body.answered and scope.get("http_version", "1.1") not in _HTTP_1):
            await self._ended(receive, send)
        elif body.answered:
            await send(_LAST)

    async def stop(self, scope: "Scope", send: "Send", setting: str, reason: str, *, begun: bool) -> None:
        """See `Bounds`."""
        scope[ANSWERED] = True
        if not begun:
            await self._refuse(setting, reason, scope, _open_ended(send))
            return
        self._emit(RequestRefused("", scope["method"], setting, reason, _STATUS[setting]))
        detail = self._detail(setting, reason)
        path = one_line(self._path_of(scope))
        _log.warning("%s %s dropped in the middle of its answer: %s", scope["method"], path, detail)

    async def _refuse(self, setting: str, reason: str, scope: "Scope", send: "Send") -> None:
        status = _STATUS[setting]
        if scope["type"] == "websocket":
            self._emit(RequestRefused("", "GET", setting, reason, 403))
            path = one_line(self._path_of(scope))
            _log.warning("websocket %s refused: %s", path, self._detail(setting, reason))
            await send({"type": "websocket.close", "code": 1008, "reason": "too many headers"})
            return
        self._emit(RequestRefused("", scope["method"], setting, reason, status))
        again = _AGAIN if status == 429 else None
        answer = Answer(status, setting.replace("_", "-"), self._detail(setting, reason), setting, retry_after=again)
        close = status in (408, 413) and scope.get("http_version", "1.1") in _HTTP_1
        await self._replies.send(answer, scope, send, _CLOSE if close else (), quietly=status == 429)

    def _detail(self, setting: str, reason: str) -> str:
        value = getattr(self._settings, setting)
        match setting, reason:
            case "headers_max", _:
                return f"the request has more headers than headers_max allows: {value}"
            case "body_max", _:
                return f"the body of the request is larger than body_max allows: {value} bytes"
            case "client_max", _:
                return f"as many requests of this client are under way as client_max allows: {value}"
            case _, "rate":
                return (
                    f"the body of the request came too slowly: body_timeout allows {value:g} s of waiting for it,"
                    f" and one more for each {SLOWEST} bytes"
                )
            case _:
                return f"no more of the body of the request came for as long as body_timeout allows: {value:g} s"


_LAST: "Message" = {"type": "http.response.body", "body": b""}


def _open_ended(send: "Send") -> "Send":
    """All of an answer but its end."""

    def sent(message: "Message") -> Awaitable[None]:
        return send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

    return sent
