"""A request whose caller's time is spent: it is cancelled, unless its answer has begun."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ..bound import Bound
from ..call import inbound_attempt
from ..clock import Clock, Timer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["GRACE", "Sending", "within"]

GRACE = 0.05
"""Seconds between the deadline, at which calls end, and the end of the request: what the app makes of a call that ran
out of time (a kept answer, its own error page, a problem that names the dependency) is the better answer."""


class Sending:
    """The `send` of one request with a deadline: with the last byte of its answer nothing binds it any more."""

    __slots__ = ("_attempt", "_bound", "_send", "begun", "done", "over", "timer")

    def __init__(self, send: "Send", bound: Bound | None, attempt: int) -> None:
        self._send = send
        self._bound = bound
        self._attempt = attempt
        self.timer: Timer | None = None
        """Stopped when the answer begins: what streams goes on."""
        self.begun = self.done = False
        self.over = False
        """It was cut, and is answered by us: what the app leaves behind has nobody to talk to."""

    def __call__(self, message: "Message") -> Awaitable[None]:
        if self.over:
            return _unheard(message)
        kind = message["type"]
        if kind == "http.response.start":
            self.begun = True
            if self.timer is not None:
                self.timer.stop()
        elif (kind == "http.response.body" and not message.get("more_body")) or kind == "http.response.pathsend":
            self.done = True
            # A server may start the next request of the connection from within this send, and in this context.
            if self._attempt > 1:
                inbound_attempt.set(1)
            if self._bound is not None:
                self._bound.lift()
        return self._send(message)


async def within(
    seconds: float, clock: Clock, app: "ASGIApp", scope: "Scope", receive: "Receive", sending: Sending
) -> bool:
    """Run the app, for so many seconds until its answer begins. False where it was cut, and nobody has answered.

    The app is cancelled once. An answer that it gives nevertheless is its answer; what it raises, and a cancellation
    from outside, pass unchanged.
    """
    sending.timer = timer = clock.timeout(seconds)
    theirs = False
    try:
        with timer:
            try:
                await app(scope, receive, sending)
            except TimeoutError:
                theirs = True
                raise
    except TimeoutError:
        if theirs or (sending.begun and not sending.done):
            raise
    finally:
        sending.timer = None
    if sending.begun or not timer.expired():
        return True
    sending.over = True
    return False


async def _unheard(message: "Message") -> None:
    if message.get("more_body"):
        raise OSError("the request was cancelled, and answered with 504")  # nothing else ends an answer without end
