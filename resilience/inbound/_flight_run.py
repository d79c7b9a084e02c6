"""One run of the app for several requests that are the same: what it answers goes to all of them, as it comes.

The run is a task of its own: it goes on when the first of its clients leaves, and ends when the last does. An answer is
held for clients that are behind, at most `WINDOW` bytes of it; whoever comes later than that is not taken in.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable, Hashable
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING

import anyio

from ..clock import Clock
from ._flight_task import Apart
from ._idempotency_task import Calls, Cut

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["PATIENCE", "WINDOW", "Outcome", "Run", "Seat"]

WINDOW = 1_048_576
"""Bytes of an answer by which one client may be ahead of another."""
PATIENCE = 5.0
"""Seconds, over a whole answer, for which clients that read wait for one that does not; then it is cut off."""

_LEFT = {"type": "http.disconnect"}
_log = logging.getLogger("handrail")


class Outcome(Enum):
    """What became of a request."""

    SERVED = 1
    ALONE = 2
    """There is an answer, for nobody but the first."""
    FAILED = 3
    """There was no answer."""


class Seat:
    """One of the requests: the server's calls, how far it has got, and whether its client has said that it leaves."""

    __slots__ = ("at", "calls", "cut", "gone", "leading", "receive", "send", "taken", "wake")

    def __init__(self, receive: "Receive", send: "Send", *, leading: bool) -> None:
        self.receive = receive
        self.send = send
        self.leading = leading
        self.at = 0
        self.taken = 0
        self.gone = False
        self.cut = False
        self.wake: anyio.Event | None = None
        self.calls = Calls()


class Run:
    """`closed` is told once, when no further request may be taken in; `shareable` looks at the start of the answer."""

    def __init__(
        self,
        app: "ASGIApp",
        scope: "Scope",
        *,
        key: Hashable,
        trace: str | None,
        clock: Clock,
        shareable: "Callable[[Message], bool]",
        closed: "Callable[[Run], None]",
    ) -> None:
        self.scope = scope
        self.key = key
        self.trace = trace
        self._app = app
        self._clock = clock
        self._shareable = shareable
        self._closed: Callable[[Run], None] | None = closed
        self._seats: list[Seat] = []
        self._kept: deque[tuple[Message, int]] = deque()
        self._first = 0  # the number of the first of them
        self._total = 0
        self._patience = PATIENCE
        self._room: anyio.Event | None = None
        self._asked = self._begun = self._parted = self._complete = self._over = False
        self._failed = False
        self._direct: Seat | None = None
        self._error: BaseException | None = None
        self._raised_at: TracebackType | None = None
        self._trailers = False
        self._task: Apart | None = None

    # -- the requests

    async def attend(self, seat: Seat, joined: Callable[[], None], *, again: bool) -> Outcome:
        """Give the answer to one request, from its beginning; `joined` is called before the first of it.

        What the app raises is raised where the answer has begun, in the request that began the run, and in one that
        has met with a failure before (`again`). A cancellation of the last request that waits ends the run.
        """
        self._seats.append(seat)
        if self._task is None:
            self._task = Apart(self._work, self._ended)
        try:
            outcome = await self._serve(seat, joined)
            if outcome is Outcome.FAILED and again and self._error is not None:
                joined()
                self._blame()
            return outcome
        except (Exception, GeneratorExit):
            raise  # nothing can be waited for in a loop that is thrown away
        except BaseException:
            self._leave(seat)
            if not self._seats:
                self._close()  # whoever comes while it ends has no part in that
                await self._task.end()
            raise
        finally:
            self._leave(seat)

    async def _serve(self, seat: Seat, joined: Callable[[], None]) -> Outcome:
        while True:
            if self._parted and not seat.leading and not self._failed:
                return Outcome.ALONE
            if seat.cut:
                return Outcome.SERVED
            if seat.at - self._first < len(self._kept):
                message, size = self._kept[seat.at - self._first]
                if message["type"] == "http.response.start":
                    message = {**message, "headers": list(message.get("headers", ()))}  # layers further out add theirs
                    joined()
                await seat.send(message)
                self._took(seat, size)
            elif self._over:
                return self._end_of(seat)
            elif self._complete and not seat.leading:
                return Outcome.SERVED
            else:
                seat.wake = anyio.Event()
                await seat.wake.wait()

    def _end_of(self, seat: Seat) -> Outcome:
        if not seat.leading and (self._failed or not self._begun):
            return Outcome.SERVED if seat.gone else Outcome.FAILED  # the app may have stopped because all had left
        if seat.leading or not self._complete:
            self._blame()
        return Outcome.SERVED

    def _blame(self) -> None:
        """Raise what the app raised, the same object, as it came out of the app."""
        if self._error is not None:
            raise self._error.with_traceback(self._raised_at)

    def _took(self, seat: Seat, size: int) -> None:
        seat.at += 1
        seat.taken += size
        self._prune()
        if self._room is not None:
            self._room.set()

    def _leave(self, seat: Seat) -> None:
        if seat in self._seats:
            self._seats.remove(seat)
            seat.calls.cut()
            self._prune()
            if self._room is not None:
                self._room.set()
        if self._over and not self._seats:
            self._error = self._raised_at = None  # its frames hold this: work for the collector

    # -- the app

    async def _work(self) -> None:
        await self._app(self.scope, self._receive, self._send)

    def _ended(self, error: BaseException | None) -> None:
        self._error = error
        self._raised_at = None if error is None else error.__traceback__
        self._over = True
        self._close()
        self._wake()

    async def _receive(self) -> "Message":
        """An empty body, and the news that the last client has left: not before."""
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (seat := next((one for one in self._seats if not one.gone), None)) is not None:
            try:
                message = await seat.calls.make(seat.receive())
            except Cut:
                continue
            seat.gone = message["type"] == "http.disconnect"
        self._close()
        return _LEFT

    async def _send(self, message: "Message") -> None:
        kind = message["type"]
        if kind == "http.response.start" and not self._begun:
            self._begin(message)
        if self._failed:
            if self._direct is None or self._direct not in self._seats:
                raise OSError("the client has left")
            await self._direct.send(message)
            return
        if not self._seats:
            self._close()
            raise OSError("all clients have left")
        size = 0
        if kind == "http.response.body":
            body = message.get("body", b"")
            size = len(body)
            if not isinstance(body, bytes):  # the app may use its buffer again
                message = {**message, "body": bytes(body)}
        self._kept.append((message, size))
        self._total += size
        self._complete = self._is_last(message)
        if self._complete or self._total > WINDOW:
            self._close()
        self._wake()
        if not self._complete:
            await self._hold()

    def _begin(self, start: "Message") -> None:
        if start["status"] >= 500 and sys.exception() is not None:
            # A framework answers from within its except block, and the layers outside look at what it caught: there the
            # answer has to be given from this stack.
            self._failed = True
            self._direct = next((seat for seat in self._seats if seat.leading), None)
            self._part()
        elif not self._shareable(start):
            self._part()
        self._begun = True
        self._trailers = bool(start.get("trailers", False))

    def _is_last(self, message: "Message") -> bool:
        match message["type"]:
            case "http.response.body":
                return not message.get("more_body", False) and not self._trailers
            case "http.response.trailers":
                return not message.get("more_trailers", False)
            case kind:
                return bool(kind == "http.response.pathsend")

    async def _hold(self) -> None:
        """Wait for those that are too far behind, and no longer than the others can bear."""
        while slow := [seat for seat in self._seats if self._total - seat.taken > WINDOW]:
            self._room = anyio.Event()
            if len(slow) == len(self._seats):
                await self._room.wait()
                continue
            since = self._clock.now()
            timer = self._clock.timeout(max(0.0, self._patience))
            try:
                with timer:
                    await self._room.wait()
            except TimeoutError:
                self._drop(slow)
            self._patience -= self._clock.now() - since

    def _drop(self, slow: list[Seat]) -> None:
        for seat in slow:
            if self._total - seat.taken > WINDOW and seat in self._seats:
                seat.cut = True
                self._leave(seat)
                _log.warning("a client that read too slowly was cut off: others waited for the answer that it shared")

    # -- both

    def _part(self) -> None:
        """From here on the answer is that of the first request alone."""
        self._parted = True
        self._close()
        self._wake()

    def _close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is not None:
            closed(self)
            self._prune()

    def _prune(self) -> None:
        """Forget what all have taken, where nobody else will come."""
        if self._closed is None and self._kept:
            least = min((seat.at for seat in self._seats), default=self._first + len(self._kept))
            while self._first < least:
                self._kept.popleft()
                self._first += 1

    def _wake(self) -> None:
        for seat in self._seats:
            wake, seat.wake = seat.wake, None
            if wake is not None:
                wake.set()
