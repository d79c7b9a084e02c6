"""Identical GETs that are under way at the same time are served by one run of the app.

Pure ASGI. An option, for routes that say the same to everybody who asks the same: all headers of a request count but
those that an answer never depends on, so no two callers with credentials of their own ever share.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from ..clock import Clock, SystemClock
from ..events import Listener, RequestShared
from ._flight_key import credentials, key_of, matcher
from ._flight_run import Outcome, Run, Seat

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SingleFlight"]

_HTTP_1 = frozenset({"1.1", "1.0"})
_SAFE = frozenset({"GET", "HEAD"})
_ONCE = "http.response.zerocopysend"


class SingleFlight:
    """ASGI middleware for the paths `routes` (`*` at the end: all that begin so). `callers`: further headers, beside
    Authorization and Cookie, that say who sends a request; `passing`: further ones that no answer depends on.
    """

    def __init__(
        self,
        app: "ASGIApp",
        *,
        routes: Iterable[str],
        emit: Listener,
        trace_id: Callable[[], str | None],
        callers: Iterable[str] = (),
        passing: Iterable[str] = (),
        clock: Clock | None = None,
    ) -> None:
        self.app = app
        self._fits = matcher(routes)
        self._emit = emit
        self._trace_id = trace_id
        self._callers = _names(callers)
        self._passing = _names(passing)
        self._clock = clock or SystemClock()
        self._runs: dict[Hashable, Run] = {}

    def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        if scope["type"] != "http" or scope["method"] not in _SAFE or not self._fits(scope["path"]):
            return self.app(scope, receive, send)
        key = key_of(scope, self._passing)
        if key is None:
            return self.app(scope, receive, send)
        return self._shared(key, scope, receive, send)

    async def _shared(self, key: Hashable, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope.get("http_version", "1.1") not in _HTTP_1:  # a body may follow of which no header tells
            message = await receive()
            if message["type"] != "http.request":
                return
            if message.get("body") or message.get("more_body"):
                await self.app(scope, _again(message, receive), send)
                return
        failed = False
        while True:
            run = self._runs.get(key)
            seat = Seat(receive, send, leading=run is None)
            if run is None:
                run = self._runs[key] = self._begun(key, scope)
            outcome = await run.attend(seat, partial(self._joined, run, scope, seat), again=failed)
            if outcome is Outcome.SERVED:
                return
            if failed or outcome is Outcome.ALONE:
                await self.app(scope, _bodiless(receive), send)
                return
            failed = True

    def _begun(self, key: Hashable, scope: "Scope") -> Run:
        extensions = scope.get("extensions")
        if extensions and _ONCE in extensions:
            scope["extensions"] = {name: extensions[name] for name in extensions if name != _ONCE}
        return Run(
            self.app,
            scope,
            key=key,
            trace=self._trace_id(),
            clock=self._clock,
            shareable=partial(_shareable, known=credentials(scope, self._callers)),
            closed=self._closed,
        )

    def _closed(self, run: Run) -> None:
        if self._runs.get(run.key) is run:
            del self._runs[run.key]

    def _joined(self, run: Run, scope: "Scope", seat: Seat) -> None:
        if seat.leading:
            return
        for name, value in run.scope.items():  # which route it was: for the span
            scope.setdefault(name, value)
        self._emit(RequestShared("", scope["method"], run.trace or ""))


def _names(headers: Iterable[str]) -> frozenset[bytes]:
    return frozenset(name.lower().encode("latin-1", "replace") for name in headers)


def _again(first: "Message", receive: "Receive") -> "Receive":
    messages = [first]

    async def received() -> "Message":
        return messages.pop() if messages else await receive()

    return received


def _bodiless(receive: "Receive") -> "Receive":
    """The empty body, which the server may have given to us already, and then the end of the connection."""
    asked = False

    async def received() -> "Message":
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await receive())["type"] == "http.request":
            pass
        return message

    return received


def _shareable(start: "Message", *, known: bool) -> bool:
    """Whether an answer may go to more than one. `known`: all of them come from one caller, who has said so."""
    for name, value in start.get("headers", ()):
        match bytes(name).lower():
            case b"set-cookie":
                return False  # a session of somebody
            case b"vary" if b"*" in value:
                return False  # on something that is not in the request
            case b"cache-control" if not known:
                said = {word.strip().partition(b"=")[0].lower() for word in bytes(value).split(b",")}
                if said & {b"private", b"no-store"}:
                    return False
    return True
