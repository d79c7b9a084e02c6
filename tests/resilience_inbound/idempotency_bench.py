"""A service behind the layer, a store in memory, and requests to it; what the tests of the layer share."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from handrail.resilience.events import IdempotencyMet
from handrail.resilience.inbound.idempotency import Idempotency
from handrail.resilience.replay.courier import StoreAway
from handrail.resilience.replay.settings import IdempotencySettings
from handrail.resilience.replay.testing import DirectCourier, MemoryBackend
from handrail.resilience.replay.work import Begin, Free, Held, State, Work
from handrail.resilience.testing import FakeClock, RecordingListener, sleep

TRACE = "0af7651916cd43dd8448eb211c80319c"
KEY = b"idempotency-key"
Header = tuple[bytes, bytes]
App = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Got:
    """What a client got: `start` is None where nothing came."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int | None:
        return self.messages[0]["status"] if self.messages else None

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def problem(self) -> str:
        """The end of the problem's type."""
        kind = json.loads(self.body)["type"]
        return str(kind).removeprefix("urn:handrail:problem:")

    @property
    def replayed(self) -> bool:
        return self.headers.get(b"idempotent-replayed") == b"true"


def _clock_of_loop() -> FakeClock | None:
    try:
        clock: object = getattr(asyncio.get_running_loop(), "clock", None)
    except RuntimeError:
        return None
    return clock if isinstance(clock, FakeClock) else None


class SlowCourier(DirectCourier):
    """The same with a turn of the loop before and after the store; a Begin whose asker is gone is freed."""

    async def ask(self, work: Work, seconds: float, /) -> Held | bool:
        await sleep()
        result = await super().ask(work, seconds)
        try:
            await sleep()
        except BaseException:
            if isinstance(work, Begin) and isinstance(result, Held) and result.state is State.NEW:
                self.tell(Free(work.key, work.owner))
            raise
        return result


class Service:
    """Counts what it does: each POST is one effect, and answers its number. `app` replaces it."""

    def __init__(
        self,
        app: App | None = None,
        *,
        courier: DirectCourier | None = None,
        backend: MemoryBackend | None = None,
        clock: FakeClock | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or _clock_of_loop() or FakeClock()
        self.backend = backend or MemoryBackend(self.clock)
        self.courier = courier or DirectCourier(self.backend)
        self.told = RecordingListener()
        self.effects = 0
        self.layer = Idempotency(
            app or self.charge,
            courier=self.courier,
            emit=self.told,
            trace_id=lambda: TRACE,
            settings=IdempotencySettings(**settings),
            clock=self.clock,
        )

    async def charge(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the body, act, answer."""
        await whole(receive)
        self.effects += 1
        await answer(send, 201, b'{"charge": %d}' % self.effects)

    @property
    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.told.of(IdempotencyMet)]

    @property
    def states(self) -> list[str]:
        """Of each key in the store: begun or kept."""
        return ["begun" if row.answer is None else "kept" for row in self.backend.rows.values()]

    async def post(
        self,
        key: str | None = '"abc"',
        body: bytes | list[bytes] = b"{}",
        *headers: Header,
        got: Got | None = None,
        left: asyncio.Event | None = None,
        receive: Any = None,
        send: Any = None,
        **extra: Any,
    ) -> Got:
        """One request; `got` fills while it comes. The client stays until it has its answer, or `left` is set."""
        got = got or Got()
        over = left or asyncio.Event()
        parts = [body] if isinstance(body, bytes) else list(body)

        async def coming() -> dict[str, Any]:
            if parts:
                part = parts.pop(0)
                return {"type": "http.request", "body": part, "more_body": bool(parts)}
            await over.wait()
            return {"type": "http.disconnect"}

        async def going(message: Any) -> None:
            got.messages.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                over.set()

        keyed = [] if key is None else [(KEY, key.encode("latin-1"))]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/pay",
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"x"), *keyed, *headers],
            **extra,
        }
        await self.layer(scope, receive or coming, send or going)
        return got


async def whole(receive: Any) -> bytes:
    """Read a body to its end."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError("the client left")
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def answer(send: Any, status: int, body: bytes, *headers: Header) -> None:
    """The two messages of an ordinary answer."""
    given = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})


async def turns(number: int) -> None:
    """Let the other tasks of the virtual loop run."""
    for _ in range(number):
        await sleep()


@asynccontextmanager
async def left_behind(task: "asyncio.Task[Any]") -> AsyncIterator[None]:
    """Cancel a request as a server does; it must end at once."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        yield
        return
    raise AssertionError("the cancellation did not pass")


__all__ = ["KEY", "TRACE", "Got", "Service", "SlowCourier", "StoreAway", "answer", "left_behind", "turns", "whole"]
