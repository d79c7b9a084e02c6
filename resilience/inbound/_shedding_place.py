"""The place of one request, which is also the `send` that the app gets: it is given back with the end of the answer."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ._shedding_load import Load
from ._shedding_queue import Cell
from .streams import REFUSED, OpenStreams, TooManyStreams, is_events

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

__all__ = ["Place"]

LONG = 5.0
"""Seconds that a body runs, until it is a stream."""
_FINAL = ("http.response.pathsend", "http.response.zerocopysend")


class Place:
    """Of one request, from where it is let in."""

    __slots__ = (
        "_ahead",
        "_began",
        "_cell",
        "_load",
        "_scope",
        "_send",
        "_streams",
        "_until",
        "refused",
        "status",
        "streaming",
    )

    def __init__(
        self, load: Load, cell: Cell, began: float, streams: OpenStreams, scope: "Scope", send: "Send"
    ) -> None:
        self._load = load
        self._cell: Cell | None = cell
        self._ahead = load.under_way
        self._began = began
        self._streams = streams
        self._scope = scope
        self._send = send
        self._until = 0.0
        self.status = 0
        self.streaming = False
        self.refused = False

    def __call__(self, message: "Message") -> Awaitable[None]:
        if self.refused:
            raise TooManyStreams(REFUSED)
        kind = message["type"]
        if kind == "http.response.body":
            if not message.get("more_body"):
                self.leave()
            elif self._cell is not None:
                self._running()
        elif kind == "http.response.start":
            self.status = message["status"]
            if is_events(message) and not self._stream():
                self.refused = True
                raise TooManyStreams(REFUSED)
        elif kind in _FINAL:
            self.leave()
        return self._send(message)

    def leave(self) -> None:
        """It is over: what it took says something where it went well."""
        cell = self._cell
        if cell is not None:
            self._cell = None
            key = None
            if 200 <= self.status < 400:
                scope = self._scope
                key = scope.get("endpoint") or scope.get("route") or _first_segment(scope)
            self._load.leave(cell, key, self._began, self._ahead)

    def end(self) -> None:
        """The app has returned, or raised."""
        if self._cell is not None:
            cell, self._cell = self._cell, None
            self._load.leave(cell)
        if self.streaming:
            self.streaming = False
            self._streams.leave()

    def _running(self) -> None:
        now = self._load.now()
        if not self._until:
            self._until = now + LONG
        elif now >= self._until:
            self._streams.enter(over=True)
            self._become_stream()

    def _stream(self) -> bool:
        if not self._streams.enter():
            return False
        self._become_stream()
        return True

    def _become_stream(self) -> None:
        self.streaming = True
        cell, self._cell = self._cell, None
        if cell is not None:
            self._load.leave(cell)


def _first_segment(scope: "Scope") -> tuple[str, str]:
    return scope["method"], scope["path"][:64].partition("/")[2].partition("/")[0]
