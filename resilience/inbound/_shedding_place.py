"""The place of one request, with the `send` that the app gets: it is given back with the end of the answer."""

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
    """Of one request, from where it is let in. On the way of each request: the rarer fields are the class's."""

    status = 0
    streaming = False
    refused = False
    _began = _until = 0.0
    """None of its latency is told where it is 0."""

    def __init__(self, load: Load, cell: Cell, scope: "Scope", send: "Send", streams: OpenStreams) -> None:
        self.cell: Cell | None = cell
        """Where it counts; None once it does no longer."""
        self._load = load
        self._scope = scope
        self._send = send
        self._streams = streams
        if load.skip:
            load.skip -= 1
        else:
            self._began = load.now()
            self._ahead = load.under_way

    def send(self, message: "Message") -> Awaitable[None]:
        """The app's."""
        kind = message["type"]
        if kind == "http.response.body":
            if self.refused:
                raise TooManyStreams(REFUSED)
            if self.cell is not None:
                if message.get("more_body"):
                    self._running()
                else:
                    self.leave()
        elif kind == "http.response.start":
            if self.refused:
                raise TooManyStreams(REFUSED)
            self.status = message["status"]
            if is_events(message) and not self._stream():
                self.refused = True
                raise TooManyStreams(REFUSED)
        elif kind in _FINAL and self.cell is not None:
            self.leave()
        return self._send(message)

    def leave(self) -> None:
        """The answer is there: what it took says something where it went well."""
        load, cell = self._load, self.cell
        assert cell is not None
        self.cell = None
        if not self._began and load.room and cell.recent:
            load.ended += 1
            load.under_way -= 1
            cell.count -= 1
        elif self._began and 200 <= self.status < 400:
            scope = self._scope
            key = scope.get("endpoint") or scope.get("route") or _first_segment(scope)
            load.leave(cell, key, self._began, self._ahead)
        else:
            load.leave(cell)

    def end(self) -> None:
        """The app has returned without an answer, or raised; or a stream has ended."""
        self._give_back()
        if self.streaming:
            self.streaming = False
            self._streams.leave()

    def _give_back(self) -> None:
        cell, self.cell = self.cell, None
        if cell is not None:
            self._load.leave(cell)

    def _running(self) -> None:
        now = self._load.now()
        if not self._until:
            self._until = now + LONG
        elif now >= self._until:
            self.streaming = self._streams.enter(over=True)
            self._give_back()

    def _stream(self) -> bool:
        self.streaming = self._streams.enter()
        self._give_back()
        return self.streaming


def _first_segment(scope: "Scope") -> tuple[str, str]:
    return scope["method"], scope["path"][:64].partition("/")[2].partition("/")[0]
