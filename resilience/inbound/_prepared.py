"""An answer of which thousands are sent in a second: its document is written once, but for the id of the trace."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._accept import prefers_html
from ._answer import Answer

if TYPE_CHECKING:
    from starlette.types import Scope, Send

    from ._reply import Replies

__all__ = ["Prepared"]

_TRACE = "0" * 32
"""Where the id of a trace stands: as long as one."""


class Prepared:
    """One answer. Whoever prefers HTML, or has no trace, gets it by way of `replies`."""

    def __init__(self, answer: Answer, replies: "Replies", trace_id: Callable[[], str | None], link: str) -> None:
        self._answer = answer
        self._replies = replies
        self._trace_id = trace_id
        body = answer.body(_TRACE, link.replace("{trace_id}", _TRACE))
        self._parts = body.split(_TRACE.encode())
        self._headers = answer.headers(body)

    async def send(self, scope: "Scope", send: "Send") -> None:
        """The whole response, without a line in the log."""
        trace = self._trace_id()
        if trace is None or prefers_html(scope["headers"]):
            await self._replies.send(self._answer, scope, send, quietly=True)
            return
        body = b"" if scope["method"] == "HEAD" else trace.encode().join(self._parts)
        await send({"type": "http.response.start", "status": self._answer.status, "headers": [*self._headers]})
        await send({"type": "http.response.body", "body": body})
