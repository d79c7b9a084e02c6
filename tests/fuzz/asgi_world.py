"""A server as strict as uvicorn's, clients that leave, and an application that does what a script says."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from handrail.resilience.testing import sleep

__all__ = ["ERRORS", "App", "Outcome", "Request", "Story", "drive", "scripted"]

Message = dict[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
Step = tuple[Any, ...]


class Boom(Exception):
    """The app's own."""


class Odd(BaseException):
    """Not even an Exception, as those of test runners and of old servers are."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "boom": lambda: Boom("a bug"),
    "group": lambda: ExceptionGroup("several", [Boom("one"), OSError("two")]),
    "os": lambda: OSError("client disconnected"),
    "key": lambda: KeyError("type"),
    "stop": StopAsyncIteration,
    "late": lambda: TimeoutError("slow"),
    "odd": lambda: Odd("odd"),
    "bad text": lambda: Boom("\udcff \x00 \r\n"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a client does: `pieces` are its messages, then it leaves after `stays` seconds, or (None) it stays."""

    scope: Message
    pieces: tuple[Message, ...]
    stays: float | None


@dataclass(frozen=True, slots=True)
class Story:
    """One request, the app that meets it, and the server: `raises`: one whose send says so when the client has left.

    `cancelled`: after so many seconds the server gives the request up.
    """

    request: Request
    script: tuple[Step, ...]
    raises: bool = False
    cancelled: float | None = None


@dataclass(slots=True)
class Outcome:
    """What the client saw (status 0: nothing), and how the call ended."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = field(default=b"", repr=False)
    complete: bool = False
    sent: list[str] = field(default_factory=list)
    error: BaseException | None = None
    cancelled: bool = False
    left_over: list[str] = field(default_factory=list)

    @property
    def ours(self) -> bool:
        """Answered in place of the app."""
        return (b"cache-control", b"no-store") in self.headers


class _Exchange:
    def __init__(self, story: Story) -> None:
        self._story = story
        self._pieces = list(story.request.pieces)
        self._over = asyncio.Event()
        self._gone = False
        self.seen = Outcome()
        self._socket = story.request.scope["type"] != "http"
        if story.request.stays is not None:
            asyncio.get_running_loop().call_later(story.request.stays, self._leave)

    def _leave(self) -> None:
        self._gone = True
        self._over.set()

    async def receive(self) -> Message:
        if self._pieces and not self._gone:
            return dict(self._pieces.pop(0))
        await self._over.wait()
        return {"type": "websocket.disconnect", "code": 1006} if self._socket else {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if self._gone:
            if self._story.raises:
                raise OSError("client disconnected")
            return
        seen = self.seen
        seen.sent.append(kind)
        if self._socket:
            return
        if not seen.status:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got {kind!r}.")
            seen.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", [])]
            if not isinstance(message["status"], int):
                raise TypeError("a status is a number")
            seen.status = message["status"]
        elif not seen.complete:
            if kind != "http.response.body":
                raise RuntimeError(f"Expected ASGI message 'http.response.body', but got {kind!r}.")
            seen.body += message.get("body", b"")
            if not message.get("more_body", False):
                seen.complete = True
                self._over.set()
        else:
            raise RuntimeError(f"Unexpected ASGI message {kind!r} sent, after response already completed.")


async def drive(app: App, story: Story, settle: float = 400.0) -> Outcome:
    """One request in a task of its own, `settle` seconds for what outlives it, and what is left over then."""
    exchange = _Exchange(story)
    scope = {**story.request.scope, "headers": list(story.request.scope["headers"])}

    async def call() -> None:
        await app(scope, exchange.receive, exchange.send)

    others = asyncio.all_tasks()
    task = asyncio.create_task(call())
    if story.cancelled is not None:
        asyncio.get_running_loop().call_later(story.cancelled, task.cancel)
    done, _ = await asyncio.wait([task], timeout=settle)
    if not done:
        task.cancel()
        await asyncio.wait([task])
    seen = exchange.seen
    if task.cancelled():
        seen.cancelled = True
    else:
        seen.error = task.exception()
    await sleep(settle)
    seen.left_over = [repr(one) for one in asyncio.all_tasks() - others - {task}]
    return seen


def scripted(script: tuple[Step, ...]) -> App:
    """The app of a story."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for step in script:
            if step == ("return",):
                return
            await _do(step, receive, send)

    return app


async def _do(step: Step, receive: Any, send: Any) -> None:
    match step:
        case ("receive",):
            await receive()
        case ("read",):
            while (await receive()).get("more_body"):
                pass
        case ("send", message):
            await send(message)
        case ("whole", int(status), headers, int(size)):
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"x" * size})
        case ("raise", str(name)):
            error = ERRORS[name]()
            raise error
        case ("raise chained", str(name)):
            try:
                raise ValueError("first")
            except ValueError as error:
                other = ERRORS[name]()
                raise other from error
        case _:
            await _wait(step, receive, send)


async def _wait(step: Step, receive: Any, send: Any) -> None:
    match step:
        case ("sleep", float(seconds)):
            await sleep(seconds)
        case ("swallow", float(seconds)):
            with contextlib.suppress(asyncio.CancelledError):
                await sleep(seconds)
        case ("shield", float(seconds)):
            try:
                await sleep(seconds)
            finally:
                await sleep(seconds)
        case ("until gone", float(seconds)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while (await receive()).get("type") not in ("http.disconnect", "websocket.disconnect"):
                        pass
        case ("together", int(number)):
            await _together(number, receive, send)
        case _:
            raise AssertionError(step)


async def _together(number: int, receive: Any, send: Any) -> None:
    """A stream, as Starlette sends it: one task writes, another one waits for the client to leave."""

    async def write() -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(number):
            await send({"type": "http.response.body", "body": b"piece ", "more_body": True})
            await sleep(0.5)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.create_task(write()), asyncio.create_task(listen())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
    for one in found:
        if isinstance(one, Exception):
            raise one
