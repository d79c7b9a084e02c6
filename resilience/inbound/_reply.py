"""Sends a problem in place of the app: for people and for machines, with the trace id, and one line in the log."""

import logging
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ._answer import Answer

if TYPE_CHECKING:
    from starlette.types import Scope, Send

__all__ = ["Replies"]

_log = logging.getLogger("handrail")
Header = tuple[bytes, bytes]


class Replies:
    """`trace_id` returns the current trace's id as 32 hex digits, or None; `path_of` the request's path for the log;
    `link` is a URL with `{trace_id}`, or empty.
    """

    def __init__(
        self,
        *,
        trace_id: Callable[[], str | None],
        path_of: "Callable[[Scope], str]" = operator.itemgetter("path"),
        link: str = "",
    ) -> None:
        self._trace_id = trace_id
        self._path_of = path_of
        self._link = link

    async def send(
        self, answer: Answer, scope: "Scope", send: "Send", also: Iterable[Header] = (), *, quietly: bool = False
    ) -> None:
        """The whole response. `also` are further headers; `quietly`: no log line, for what comes in thousands."""
        if not quietly:
            path = self._path_of(scope)
            _log.warning("%s %s answered %d: %s", scope["method"], path, answer.status, answer.detail)
        body = answer.body(self._trace_id())
        headers = [*also, *answer.headers(body)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
