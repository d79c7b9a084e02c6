"""Faults on purpose under httpx and httpx2: around the pool of httpcore, whose errors they translate themselves."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..chaos.header import FROM, NAME
from ..chaos.rule import Call
from . import _chaos

if TYPE_CHECKING:
    from ..chaos.book import Book, Plan
    from ..chaos.fault import Fault

__all__ = ["install"]

_PORTS = {"http": 80, "https": 443}
_REPEATABLE = ("ByteStream", "MultipartStream")
_undo: dict[str, Callable[[], None]] = {}


class _Step:
    """For one of httpcore and httpcore2."""

    def __init__(self, core: ModuleType, book: "Book") -> None:
        self._core: Any = core
        self._book = book

    def around_async(self, original: Any) -> Any:
        """`handle_async_request` of the pool."""

        @wraps(original)
        async def handle_async_request(pool: Any, request: Any) -> Any:
            plan = self._plan(request)
            if plan is None:
                return await original(pool, request)
            fault, sleep = plan.fault, self._book.clock.sleep
            wait, late = self._wait(request, plan.delay)
            await sleep(wait)
            if late or fault is None:
                if late:
                    raise late
                return await original(pool, request)
            if fault.kind == "hang":
                wait, late = self._wait(request, _chaos.lasting(fault.seconds))
                await sleep(wait)
                raise late or self._disconnected()
            made = self._instead(fault)
            if made is not None:
                return made
            second = self._copy(request) if fault.kind == "duplicate" else None
            response = await original(pool, request)
            if fault.kind == "reset":
                response.stream = _TornAsync(response.stream, self._broken())
            elif fault.kind == "lost":
                await _drain_async(response)
                raise self._disconnected()
            elif second is not None:
                with suppress(Exception):  # the caller sees the first alone
                    await _drain_async(await original(pool, second))
            return response

        return handle_async_request

    def around_sync(self, original: Any) -> Any:
        """The same on a thread."""

        @wraps(original)
        def handle_request(pool: Any, request: Any) -> Any:
            plan = self._plan(request)
            if plan is None:
                return original(pool, request)
            fault, sleep = plan.fault, self._book.clock.sleep_sync
            wait, late = self._wait(request, plan.delay)
            sleep(wait)
            if late or fault is None:
                if late:
                    raise late
                return original(pool, request)
            if fault.kind == "hang":
                wait, late = self._wait(request, _chaos.lasting(fault.seconds))
                sleep(wait)
                raise late or self._disconnected()
            made = self._instead(fault)
            if made is not None:
                return made
            second = self._copy(request) if fault.kind == "duplicate" else None
            response = original(pool, request)
            if fault.kind == "reset":
                response.stream = _Torn(response.stream, self._broken())
            elif fault.kind == "lost":
                _drain(response)
                raise self._disconnected()
            elif second is not None:
                with suppress(Exception):
                    _drain(original(pool, second))
            return response

        return handle_request

    def _plan(self, request: Any) -> "Plan | None":
        url = request.url
        scheme = url.scheme.decode("ascii", "replace")
        headers = [(name, value) for name, value in request.headers if name.lower() != FROM.encode()]
        given = {name.lower() for name, _ in headers}
        for name, value in self._book.headers():
            if name != NAME or NAME.encode() not in given:
                headers.append((name.encode(), value.encode()))
        request.headers = headers
        path = url.target.decode("latin-1").partition("?")[0]
        port = _PORTS.get(scheme, 0) if url.port is None else url.port
        return self._book.of_call(Call(request.method.decode(), scheme, url.host.decode("latin-1"), port, path))

    def _wait(self, request: Any, seconds: float) -> tuple[float, Exception | None]:
        """How long to wait, and what happens then where the request waits less long for an answer."""
        read = (request.extensions.get("timeout") or {}).get("read")
        if read is not None and seconds >= read:
            return read, self._core.ReadTimeout("timed out")
        return min(seconds, _chaos.DAY), None

    def _instead(self, fault: "Fault") -> Any:
        """The answer that comes in place of the peer's; raises where none comes."""
        if fault.kind in ("refuse", "partition"):
            refused = _chaos.refusal(fault.kind)
            raise self._core.ConnectError(str(refused)) from refused
        if fault.kind != "error":
            return None
        body = _chaos.body_of(fault.kind, fault.status)
        headers = [(name.encode(), value.encode()) for name, value in _chaos.told(fault.retry_after, len(body))]
        return self._core.Response(
            fault.status, headers=headers, content=body, extensions={"http_version": b"HTTP/1.1"}
        )

    def _disconnected(self) -> Exception:
        made: Exception = self._core.RemoteProtocolError("Server disconnected without sending a response.")
        return made

    def _broken(self) -> Exception:
        made: Exception = self._core.ReadError(str(_chaos.broken()))
        return made

    def _copy(self, request: Any) -> Any:
        """The request once more; None where its body can be read only once."""
        if type(request.stream).__name__ not in _REPEATABLE:
            return None
        return self._core.Request(
            request.method,
            request.url,
            headers=request.headers,
            content=request.stream,
            extensions=dict(request.extensions),
        )


class _TornAsync:
    """Half of the first piece of a body, and then the end of the connection."""

    def __init__(self, stream: Any, error: Exception) -> None:
        self._stream = stream
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._stream.__aiter__()
        async for chunk in pieces:
            if len(chunk) > 1:
                yield chunk[: len(chunk) // 2]
            break
        await self.aclose()
        with suppress(Exception):  # to the end of its generators: trio complains of those that are left
            async for _ in pieces:
                pass
        raise self._error

    async def aclose(self) -> None:
        """Close what it comes from: its connection serves nobody else."""
        await self._stream.aclose()


class _Torn:
    """The same on a thread."""

    def __init__(self, stream: Any, error: Exception) -> None:
        self._stream = stream
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            if len(chunk) > 1:
                yield chunk[: len(chunk) // 2]
            break
        self.close()
        raise self._error

    def close(self) -> None:
        """Close what it comes from."""
        self._stream.close()


async def _drain_async(response: Any) -> None:
    try:
        async for _ in response.stream:
            pass
    finally:
        await response.aclose()


def _drain(response: Any) -> None:
    try:
        for _ in response.stream:
            pass
    finally:
        response.close()


def install(core: ModuleType, book: "Book") -> Callable[[], None]:
    """Patch the classes of the pools; see `_chaos.install`."""
    known = _undo.get(core.__name__)
    if known is not None:
        return known
    step = _Step(core, book)
    seams: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
        (core.AsyncConnectionPool, "handle_async_request", step.around_async),
        (core.ConnectionPool, "handle_request", step.around_sync),
    )
    put: list[tuple[Any, str, Any, Any]] = []
    for owner, name, around in seams:
        original = vars(owner)[name]
        ours = around(original)
        setattr(owner, name, ours)
        put.append((owner, name, original, ours))

    def undo() -> None:
        if _undo.pop(core.__name__, None) is None:
            return
        for owner, name, original, ours in put:
            if vars(owner).get(name) is ours:
                setattr(owner, name, original)

    _undo[core.__name__] = undo
    return undo
