"""One request of httpx as the pipeline sees it: how to send, judge and throw away."""

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from ..call import Call
from ..classify import CANCELLED, TIMEOUT, Verdict, of_status
from ..errors import AttemptTimedOut, DeadlineExceeded
from ..events import AttemptFailed
from ._httpx_library import Library
from ._httpx_wishes import cut_to

if TYPE_CHECKING:
    import httpx

    from ..policy import Tools

__all__ = ["CALL", "Exchange"]

CALL = "handrail.call"
"""The request extension under which whatever lies below finds the `Call`."""

_SHORTEST = 0.001


class Exchange:
    """The `Wire` of one request. `buffered`: the body belongs to the attempt, and is read with it."""

    __slots__ = ("_buffered", "_library", "_request", "_send", "_tools")

    def __init__(
        self, library: Library, send: Callable[..., Any], request: "httpx.Request", tools: "Tools", buffered: bool
    ) -> None:
        self._library = library
        self._send = send
        self._request = request
        self._tools = tools
        self._buffered = buffered

    async def send(self, call: "Call[httpx.Response]") -> "httpx.Response":
        response: httpx.Response = await self._send(self._copy(call))
        if self._buffered and not isinstance(response.stream, self._library.byte_stream):
            await self._hold(response, call)
        return response

    def send_sync(self, call: "Call[httpx.Response]") -> "httpx.Response":
        request = self._copy(call)
        bounds: dict[str, float | None] | None = None
        if call.attempt_ends < inf:
            bounds = cut_to(request.extensions.get("timeout", {}), self._left(call))
            request.extensions["timeout"] = bounds
        response: httpx.Response = self._send(request)
        if self._buffered and not isinstance(response.stream, self._library.byte_stream):
            if bounds is not None:
                bounds.update(cut_to(bounds, self._left(call)))  # httpcore reads it anew for the body
            self._hold_sync(response, call)
        return response

    def judge(self, result: "httpx.Response") -> Verdict:
        return of_status(result.status_code)

    def judge_error(self, error: BaseException) -> Verdict:
        return self._library.judge(error)

    def retry_after(self, result: "httpx.Response") -> str | None:
        text: str | None = result.headers.get("retry-after")
        return text

    async def discard(self, result: "httpx.Response") -> None:
        await result.aclose()

    def discard_sync(self, result: "httpx.Response") -> None:
        result.close()

    def _copy(self, call: "Call[httpx.Response]") -> "httpx.Request":
        # Every attempt starts from the request as the code wrote it: what the layers below add
        # (trace headers, shortened timeouts) is theirs, and a request sent by several tasks at
        # once gets no other call's attempt number.
        request = self._request
        sent: httpx.Request = object.__new__(type(request))
        sent.__dict__.update(request.__dict__)
        sent.extensions = {**request.extensions, CALL: call}
        return sent

    def _left(self, call: "Call[httpx.Response]") -> float:
        return max(call.attempt_ends - self._tools.clock.now(), _SHORTEST)

    async def _hold(self, response: "httpx.Response", call: "Call[httpx.Response]") -> None:
        stream: Any = response.stream
        chunks: list[bytes] = []
        try:
            async for chunk in stream:
                chunks.append(chunk)  # noqa: PERF401  # a comprehension is one more frame for mostly one chunk
            await stream.aclose()
        except BaseException as error:
            await stream.aclose()
            self._report(call, error)
            raise
        response.stream = self._library.held_async(chunks)

    def _hold_sync(self, response: "httpx.Response", call: "Call[httpx.Response]") -> None:
        stream: Any = response.stream
        now = self._tools.clock.now
        chunks: list[bytes] = []
        try:
            for chunk in stream:
                chunks.append(chunk)
                if now() > call.attempt_ends:  # httpx's read timeout starts anew with each chunk
                    raise _out_of_time(call, now())
        except BaseException as error:
            self._report(call, error)
            raise
        finally:
            stream.close()
        response.stream = self._library.held_sync(chunks)

    def _report(self, call: "Call[httpx.Response]", error: BaseException) -> None:
        verdict = TIMEOUT if call.timed_out else self._library.judge(error)
        if verdict is not CANCELLED:
            self._tools.emit(AttemptFailed(call.target, call.operation, call.attempt, verdict.cause))


def _out_of_time(call: "Call[httpx.Response]", now: float) -> AttemptTimedOut | DeadlineExceeded:
    kind = DeadlineExceeded if call.ends <= call.attempt_ends else AttemptTimedOut
    elapsed = now - call.started
    limit = call.attempt_ends - call.started
    message = f"{call.operation} {call.target}: response body not complete after {elapsed:.3g} s"
    return kind(message, target=call.target, limit=limit, elapsed=elapsed)
