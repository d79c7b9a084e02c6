"""The place of one request, with the `send` that the app gets: it is given back with the end of the answer."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ._shedding_load import Load
from ._shedding_queue import Cell
from .streams import REFUSED, TooManyStreams, is_events

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

__all__ = ["Place"]

LONG = 5.0
"""Seconds that a body runs, until it is a stream."""
_FINAL = ("http.response.pathsend", "http.response.zerocopysend")


class Place:
    """Of one request, from where it is let in. Made for every request: `send` does as little as it can."""

    __slots__ = (
        "_ahead",
        "_began",
        "_load",
        "_scope",
        "_send",
        "_status",
        "_until",
        "cell",
        "odd",
        "refused",
    )

    refused: bool
    """Set, as `_status` and the rest, by what happens first."""

    def __init__(self, load: Load, cell: Cell, scope: "Scope", send: "Send") -> None:
        self.cell: Cell | None = cell
        """Where it counts; None once it does no longer."""
        self.odd = False
        """Whether this is a stream, open or refused: not what most are."""
        self._load = load
        self._scope = scope
        self._send = send
        if load.skip:
            load.skip -= 1
            self._began = 0.0
        else:
            self._began = load.now()
            self._ahead = load.under_way

    def send(self, message: "Message") -> Awaitable[None]:
        """The app's."""
        kind = message["type"]
        if kind == "http.response.body":
            cell = self.cell
            if cell is None:
                self._after()
            elif message.get("more_body"):
                self._running()
            elif self._began:
                self.leave()
            else:
                load = self._load
                if load.room and cell.recent:
                    self.cell = None
                    load.ended += 1
                    load.under_way -= 1
                    cell.count -= 1
                else:
                    self.leave()
        elif kind == "http.response.start":
            self._status = message.get("status")
            if is_events(message):
                self._stream()
        elif kind in _FINAL and self.cell is not None:
            self.leave()
        return self._send(message)

    def leave(self) -> None:
        """The answer is there: what it took says something where it went well."""
        load, cell = self._load, self.cell
        assert cell is not None
        self.cell = None
        status = getattr(self, "_status", None)  # an app may forget the start of its answer
        if self._began and isinstance(status, int) and 200 <= status < 400:
            scope = self._scope
            key = scope.get("endpoint") or scope.get("route") or _first_segment(scope)
            load.leave(cell, key, self._began, self._ahead)
        else:
            load.leave(cell)

    def end(self) -> bool:
        """The app has returned without an answer, or raised; or a stream has ended. Whether one was refused."""
        self._give_back()
        if not self.odd:
            return False
        self.odd = False
        if not self.refused:
            self._load.streams.leave()
        return self.refused

    def _give_back(self) -> None:
        cell, self.cell = self.cell, None
        if cell is not None:
            self._load.leave(cell)

    def _after(self) -> None:
        if self.odd and self.refused:
            raise TooManyStreams(REFUSED)

    def _running(self) -> None:
        now = self._load.now()
        if not hasattr(self, "_until"):
            self._until = now + LONG
        elif now >= self._until:
            self._open(over=True)

    def _stream(self) -> None:
        self._after()
        if not self.odd:  # an app may begin twice
            self._open()
            self._after()

    def _open(self, *, over: bool = False) -> None:
        self.odd = True
        self.refused = not self._load.streams.enter(over=over)
        self._give_back()


def _first_segment(scope: "Scope") -> tuple[str, str]:
    return scope["method"], scope["path"][:64].partition("/")[2].partition("/")[0]
