"""A request that is sent twice acts once: answers to keyed requests are kept and given again.

draft-ietf-httpapi-idempotency-key-header, on the side of the service. Pure ASGI, POST and PATCH with an
`Idempotency-Key` alone; nothing is buffered. Everything else passes, and answers to POST and PATCH say that keys are
honoured, so that callers under handrail give them by themselves.
"""

import logging
import operator
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..clock import Clock, SystemClock
from ..events import IdempotencyMet, Listener
from ..keyed import METHODS
from ..replay.courier import StoreAway
from ..replay.record import Record, Unreadable
from ..replay.settings import IdempotencySettings
from ..replay.work import Begin, Free, Held, State
from ._idempotency_answer import Copy, replay
from ._idempotency_body import Gone, same_body
from ._idempotency_promise import Saying, saying
from ._idempotency_refusals import (
    BODY_SLOW,
    IN_FLIGHT_YET,
    INTERRUPTED,
    MISDIRECTED,
    REUSED,
    Refusal,
    away,
    invalid,
    not_kept,
)
from ._idempotency_request import KEY, Asked, InvalidKey, Reading
from ._idempotency_run import Courier, Running, current_key
from ._idempotency_task import KEYED, outlive
from ._reply import Replies, one_line

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Idempotency", "drain", "idempotency_key"]

BEGUN_WITHIN = 2.0
"""Seconds that a request waits for the store before it is begun."""
COMPARED_WITHIN = 30.0
"""Seconds in which the body of a repeated request must come, and one more for each `SLOWEST` bytes."""
SLOWEST = 65_536

_UNKEEPABLE = ("http.response.pathsend", "http.response.zerocopysend")
_log = logging.getLogger("handrail")


def idempotency_key() -> str | None:
    """The client's key of the request at hand, in the app, its tasks and threads; None without one.

    For a unique column beside the effect: what a killed worker leaves open ("was it carried out?") is then answered
    by the database of the effect itself.
    """
    return current_key.get()


async def drain(seconds: float, clock: Clock | None = None) -> None:
    """Wait for the requests of this loop that go on although their server has given them up: so many seconds at most.

    For the end of a process. What is not done by then is cut off with it, and its key refused from then on.
    """
    try:
        with (clock or SystemClock()).timeout(seconds):
            while left := Running.alone_here():
                await left[0].finished()
    except TimeoutError:
        _log.warning("%d requests with an Idempotency-Key are cut off at the end", len(Running.alone_here()))


class Idempotency:
    """ASGI middleware. `courier` leads to the store; `emit`, `trace_id`, `path_of`, `link`: those of other layers."""

    def __init__(
        self,
        app: "ASGIApp",
        *,
        courier: Courier,
        emit: Listener,
        trace_id: Callable[[], str | None],
        settings: IdempotencySettings | None = None,
        clock: Clock | None = None,
        path_of: "Callable[[Scope], str]" = operator.itemgetter("path"),
        link: str = "",
    ) -> None:
        self.app = app
        self._replies = Replies(trace_id=trace_id, path_of=path_of, link=link)
        self._courier = courier
        self._emit = emit
        self._trace_id = trace_id
        self._settings = settings or IdempotencySettings()
        self._clock = clock or SystemClock()
        self._path_of = path_of
        self._reading = Reading(self._settings.idempotency_callers)
        self._promise = Saying(courier)

    def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        if current_key.get() is not None and KEYED not in scope:
            return self._apart(scope, receive, send)
        if scope["method"] not in METHODS:
            return self.app(scope, receive, send)
        host = b""
        for name, value in scope["headers"]:
            if name == KEY:
                return self._keyed(scope, receive, send)
            if name == b"host":
                host = value
        said = self._promise.header(host)
        return self.app(scope, receive, send if said is None else saying(send, said))

    async def _apart(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """A request within another one's context (a call within the process, pipelining) has not that one's key."""
        token = current_key.set(None)
        try:
            await self(scope, receive, send)
        except GeneratorExit:
            raise  # thrown away with its event loop, in a context that is not ours to restore
        except BaseException:
            current_key.reset(token)
            raise
        current_key.reset(token)

    async def _keyed(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if KEYED in scope:  # another of these further out has looked after it
            await self.app(scope, receive, send)
            return
        scope[KEYED] = True
        try:
            asked = self._reading.read(scope)
        except InvalidKey as error:
            await self._refuse(invalid(str(error)), scope, send)
            return
        if self._promise.elsewhere(asked):
            await self._refuse(MISDIRECTED, scope, send, asked)
            return
        begin = self._begin(asked)
        try:
            held = await self._courier.ask(begin, BEGUN_WITHIN)
        except StoreAway as error:
            await self._without(error, asked, scope, receive, send)
            return
        assert isinstance(held, Held)
        if held.state is State.NEW:
            await self._first(begin, asked, held, scope, receive, send)
        elif held.state is State.KEPT:
            await self._again(held.answer or b"", asked, scope, receive, send)
        else:
            await self._refuse(IN_FLIGHT_YET if held.state is State.BUSY else INTERRUPTED, scope, send, asked)

    def _begin(self, asked: Asked) -> Begin:
        settings = self._settings
        return Begin(
            asked.digest,
            os.urandom(16).hex(),
            settings.idempotency_lease,
            settings.idempotency_retention,
            take_over=settings.idempotency_interrupted == "again",
        )

    async def _without(self, why: StoreAway, asked: Asked, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """The store is away: nobody knows whether the request was carried out before."""
        if self._settings.idempotency_unavailable != "run":
            await self._refuse(away(str(why)), scope, send, asked)
        elif asked.store is not None:  # its caller would send it again, since we said that this is safe
            await self._refuse(MISDIRECTED, scope, send, asked)
        else:
            self._tell(scope, asked, "ran_unguarded")
            token = current_key.set(asked.key)
            try:
                await self.app(scope, receive, send)
            except GeneratorExit:
                raise  # see above
            except BaseException:
                current_key.reset(token)
                raise
            current_key.reset(token)

    async def _first(
        self, begin: Begin, asked: Asked, held: Held, scope: "Scope", receive: "Receive", send: "Send"
    ) -> None:
        if self._promise.elsewhere(asked):  # known only now
            self._courier.tell(Free(begin.key, begin.owner))
            await self._refuse(MISDIRECTED, scope, send, asked)
            return
        try:
            running = self._made(begin, asked, scope, receive, send)
        except BaseException:
            self._courier.tell(Free(begin.key, begin.owner))
            raise
        if held.again:
            self._tell(scope, asked, "ran_again")
        self._courier.hold(begin)
        await outlive(running)

    def _made(self, begin: Begin, asked: Asked, scope: "Scope", receive: "Receive", send: "Send") -> Running:
        extensions = scope.get("extensions")
        if extensions and any(name in extensions for name in _UNKEEPABLE):
            scope["extensions"] = {name: extensions[name] for name in extensions if name not in _UNKEEPABLE}
        settings = self._settings
        return Running(
            self.app,
            scope,
            receive,
            send,
            asked=asked,
            begin=begin,
            copy=Copy(settings.idempotency_answer_max, settings.idempotency_cookies),
            courier=self._courier,
            clock=self._clock,
            said=self._promise.header(asked.host, asked),
            trace=self._trace_id(),
            called=f"{scope['method']} {one_line(self._path_of(scope))}",
        )

    async def _again(self, raw: bytes, asked: Asked, scope: "Scope", receive: "Receive", send: "Send") -> None:
        try:
            record = Record.load(raw)
        except Unreadable as error:
            await self._refuse(not_kept(None, str(error)), scope, send, asked)
            return
        refusal = None if record.missing is None else not_kept(record.status, record.missing)
        if (record.asked, record.cookies) != (asked.asked, asked.cookies):
            refusal = REUSED
        else:
            try:
                with self._clock.timeout(COMPARED_WITHIN + record.read // SLOWEST):
                    same = await same_body(receive, record, asked.length, asked.boundary)
            except Gone:
                return
            except TimeoutError:
                refusal = BODY_SLOW
            else:
                refusal = refusal if same else REUSED
        if refusal is not None:
            await self._refuse(refusal, scope, send, asked, record.trace)
            return
        self._tell(scope, asked, "replayed", record.trace)
        await replay(record, scope, send, self._promise.header(asked.host, asked))

    async def _refuse(
        self, refusal: Refusal, scope: "Scope", send: "Send", asked: Asked | None = None, trace: str | None = None
    ) -> None:
        self._tell(scope, asked, refusal.outcome, trace)
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        said = self._promise.header(host, asked)
        also = refusal.headers if said is None else [*refusal.headers, said]
        await self._replies.send(refusal.answer, scope, send, also)

    def _tell(self, scope: "Scope", asked: Asked | None, outcome: str, trace: str | None = None) -> None:
        key = "" if asked is None else asked.short
        self._emit(IdempotencyMet("", scope["method"], key, outcome, trace or ""))
