"""Reads a body within the attempt, so that one that hangs or breaks off is the attempt's failure."""

from collections.abc import AsyncIterator
from math import inf
from typing import TYPE_CHECKING, Any

from ..call import Call
from ..classify import CANCELLED, TIMEOUT
from ..errors import AttemptTimedOut, DeadlineExceeded
from ..events import AttemptFailed
from ._httpx_bodies import Rest
from ._httpx_library import Library

if TYPE_CHECKING:
    import httpx

    from ..policy import Tools

__all__ = ["BEFORE_HOOKS", "Holder"]

BEFORE_HOOKS = 1024 * 1024
"""Bytes that are held where the client has response hooks, which may want to refuse a body before it is read."""
_DIGITS = 100
"""Of a length that is read; Python refuses thousands of them."""


class Holder:
    """Puts what it read in the place of the response's stream. `limit`: bytes, infinity for the whole body."""

    def __init__(self, library: Library, tools: "Tools") -> None:
        self._library = library
        self._tools = tools

    def wants(self, response: "httpx.Response", limit: float) -> bool:
        """Whether there is a body to be read, of no more than `limit` bytes as far as is known."""
        if isinstance(response.stream, self._library.byte_stream):
            return False
        return limit == inf or _declared(response) <= limit

    async def hold(self, response: "httpx.Response", call: Call["httpx.Response"], limit: float) -> None:
        """Read on a loop; a body that turns out to be longer than `limit` is left at that, and goes on as a stream."""
        stream: Any = response.stream
        source: AsyncIterator[bytes] = stream if limit == inf else Rest(stream)
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in source:
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    response.stream = self._library.begun_async(chunks, source, stream)
                    return
            await stream.aclose()
        except BaseException as error:
            await stream.aclose()
            self._report(call, error)
            raise
        response.stream = self._library.held_async(chunks)

    def hold_sync(self, response: "httpx.Response", call: Call["httpx.Response"], limit: float) -> None:
        """The same on a thread."""
        stream: Any = response.stream
        source = iter(stream)
        now = self._tools.clock.now
        chunks: list[bytes] = []
        size = 0
        try:
            for chunk in source:
                chunks.append(chunk)
                size += len(chunk)
                if now() > call.attempt_ends:  # httpx's read timeout starts anew with each chunk
                    raise _out_of_time(call, now())
                if size > limit:
                    response.stream = self._library.begun_sync(chunks, source, stream)
                    return
            stream.close()
        except BaseException as error:
            stream.close()
            self._report(call, error)
            raise
        response.stream = self._library.held_sync(chunks)

    def _report(self, call: Call["httpx.Response"], error: BaseException) -> None:
        verdict = TIMEOUT if call.timed_out else self._library.judge(error)
        if verdict is not CANCELLED:
            self._tools.emit(AttemptFailed(call.target, call.operation, call.attempt, verdict.cause))


def _declared(response: "httpx.Response") -> float:
    length: str = response.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return 0
    return int(length) if len(length) <= _DIGITS else inf


def _out_of_time(call: Call["httpx.Response"], now: float) -> AttemptTimedOut | DeadlineExceeded:
    kind = DeadlineExceeded if call.ends <= call.attempt_ends else AttemptTimedOut
    elapsed = now - call.started
    limit = call.attempt_ends - call.started
    message = f"{call.operation} {call.target}: response body not complete after {elapsed:.3g} s"
    return kind(message, target=call.target, limit=limit, elapsed=elapsed)
