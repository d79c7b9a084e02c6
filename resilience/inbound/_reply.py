"""Sends a problem in place of the app: for people and for machines, with the trace id, and one line in the log."""

import logging
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ._accept import prefers_html
from ._answer import Answer
from ._prepared import Prepared

if TYPE_CHECKING:
    from starlette.types import Scope, Send

__all__ = ["ANSWERED", "Replies", "one_line"]

_log = logging.getLogger("handrail")
ANSWERED = "handrail.answered"
"""The entry of the scope that says: the client has its answer, and whatever the app still sends reaches nobody."""
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

    def prepared(self, answer: Answer) -> Prepared:
        """The same, for what is sent quietly and often."""
        return Prepared(answer, self, self._trace_id, self._link)

    async def send(
        self,
        answer: Answer,
        scope: "Scope",
        send: "Send",
        also: Iterable[Header] = (),
        *,
        quietly: bool = False,
        said: str = "",
    ) -> None:
        """The whole response: HTML where the request prefers it, else the problem document.

        `also` are further headers; `quietly`: no log line, for what comes in thousands; `said`: what the log says in
        place of the answer's detail.
        """
        if not quietly:
            path, why = one_line(self._path_of(scope)), one_line(said or answer.detail)
            _log.warning("%s %s answered %d: %s", scope["method"], path, answer.status, why)
        trace = self._trace_id()
        link = self._link.replace("{trace_id}", trace) if self._link and trace else ""
        if prefers_html(scope["headers"]):
            from . import _html

            body = _html.page(answer, trace, link)
            headers = [*also, *answer.headers(body, _html.HTML), _html.policy()]
        else:
            body = answer.body(trace, link)
            headers = [*also, *answer.headers(body)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def one_line(text: str) -> str:
    """The text as one line of a log that any file can take: a decoded path, or an error that quotes its input, may hold
    line ends, the escapes of a terminal, and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
