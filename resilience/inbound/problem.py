"""Turns what nobody handled into an honest answer: 503 or 504 for a refused call or a dependency that failed, else 500.

RFC 9457 `application/problem+json`, with `trace_id`, `policy`, `target` and `Retry-After`, or a page for browsers. The
app's own handling always wins; a 500 says nothing of the error; nothing is buffered.
"""

import operator
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ._answer import FAILED, answer_to
from ._frameworks import listen, unhandled
from ._reply import ANSWERED, Replies

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ProblemDetails"]

_OVER = Exception("answered")
_REPLACED = (b"content-type", b"content-length", b"content-encoding")


class ProblemDetails:
    """ASGI middleware; `trace_id`, `path_of` and `link` are those of `Replies`.

    `clean` takes secrets out of what an error says.

    An error about a dependency is answered, logged as one WARNING line of logger "handrail", and ends here. Any other
    is answered with a 500 and passes through, for the server to log; so does one after the response has begun.
    """

    def __init__(
        self,
        app: "ASGIApp",
        *,
        trace_id: Callable[[], str | None],
        clean: Callable[[str], str] = str,
        path_of: "Callable[[Scope], str]" = operator.itemgetter("path"),
        link: str = "",
    ) -> None:
        self.app = app
        self.clean = clean
        self.replies = Replies(trace_id=trace_id, path_of=path_of, link=link)
        listen()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        responder = _Responder(self, scope, send)
        try:
            await self.app(scope, receive, responder)
        except Exception as error:
            if await responder.raised(error):
                raise
        finally:
            if responder.told is not None:
                responder.told = _OVER  # else they hold each other, and all frames between: work for the collector


class _Responder:
    """The `send` of one request."""

    __slots__ = ("_layer", "_scope", "_send", "begun", "told")

    def __init__(self, layer: ProblemDetails, scope: "Scope", send: "Send") -> None:
        self._layer = layer
        self._scope = scope
        self._send = send
        self.begun = False
        self.told: Exception | None = None

    def __call__(self, message: "Message") -> Awaitable[None]:
        if self.told is not None:
            return _nothing()  # the rest of the response that was replaced
        if message["type"] == "http.response.start":
            if message["status"] == 500 and (error := unhandled(self._scope, message)) is not None:
                kept = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in _REPLACED]
                return self._tell(error, kept)
            self.begun = True
        return self._send(message)

    async def raised(self, error: Exception) -> bool:
        """Answer what the app raised, where nobody has; whether it is the server's business as well."""
        if self.told is error:  # Starlette raises it again, for servers to log
            return answer_to(error, self._layer.clean) is None
        if self.begun or self.told is not None:
            return True
        try:
            await self._tell(error, [])
        except Exception:  # of a server whose client has left: what the app raised is what counts
            return True
        return answer_to(error, self._layer.clean) is None

    async def _tell(self, error: Exception, kept: list[tuple[bytes, bytes]]) -> None:
        """Send the answer, with the headers that outer layers of the app had put on theirs."""
        self.begun = True
        self.told = error
        layer = self._layer
        answer = answer_to(error, layer.clean)
        said = ""
        if answer is None:
            answer = FAILED
            said = layer.clean(f"{type(error).__name__}: {error}".strip(": "))
        quietly = ANSWERED in self._scope
        await layer.replies.send(answer, self._scope, self._send, kept, said=said, quietly=quietly)


async def _nothing() -> None:
    pass
