"""A request of httpx as the pipeline sees it: how to send, judge and throw away."""

from collections.abc import Callable, Hashable
from contextlib import suppress
from math import inf
from types import FunctionType
from typing import TYPE_CHECKING, Any

from ..call import Call, Resend
from ..classify import Verdict, of_status
from ..stale import Later, Snapshot
from ._credentials import one_time
from ._httpx_bodies import Chunks
from ._httpx_headers import Telling
from ._httpx_hold import Holder
from ._httpx_library import Library
from ._httpx_pool import reclaim, reclaim_async
from ._httpx_reads import bound
from ._httpx_way import way
from ._httpx_wishes import bound_to, cut_to, resend_class

if TYPE_CHECKING:
    import httpx

    from ..policy import Tools

__all__ = ["CALL", "Exchange", "Handler", "HttpxWire"]

CALL = "handrail.call"
"""The request extension under which whatever lies below finds the `Call`."""

_SHORTEST = 0.001
_FAILED = 400
_OWNER = "_handrail_call"
_ATTRIBUTES = 6
"""Of a request with its body in memory: method, url, headers, extensions, stream, _content."""

Handler = Callable[..., Any]
"""`handle_request` or `handle_async_request`, called with transport and request."""


class Exchange(Call["httpx.Response"]):
    """One request on its way. `hold`: the bytes of its body that belong to the attempt, and are read with it.

    `phases`: httpx's timeouts for it, where those of the client are not the code's own wish; else None.
    """

    phases: dict[str, float | None] | None = None
    headed = False
    """Whether the headers of the attempt under way are there; kept on a thread only."""

    def __init__(
        self, wire: "HttpxWire", target: str, transport: object, request: "httpx.Request", hold: float
    ) -> None:
        # Not by the base class: every call begins here, and all else that is in one stands on the class.
        self.wire = wire
        self.target = target
        self.operation = request.method
        self.resend = resend_class(request, wire.library.byte_stream)
        self.transport = transport
        self.request = request
        self.hold = hold

    def copy(self, telling: Telling) -> "httpx.Request":
        """The request for one attempt.

        Each starts from the request as the code wrote it: what the layers below add (trace
        headers, shortened timeouts) is theirs, and a request sent by several tasks at once gets
        no other call's attempt number.
        """
        request = self.request
        sent: httpx.Request = object.__new__(type(request))
        told = request.__dict__
        if len(told) == _ATTRIBUTES and "_content" in told:
            # One by one, the way that httpx makes them: a copied dict makes each look at the copy dearer.
            sent.method, sent.url, sent.stream = told["method"], told["url"], told["stream"]
            sent._content = told["_content"]
        else:
            sent.__dict__.update(told)
        extensions = sent.extensions = {**request.extensions, CALL: self}
        if self.phases is not None:
            extensions["timeout"] = self.phases
        sent.headers = telling.headers(request.headers, self)
        return sent

    def likeness(self) -> object:
        content = self.request.__dict__.get("_content")  # none where the body is not in memory
        return None if content is None else hash((str(self.request.url), content))

    def failed(self) -> None:
        """The peer may have seen this request: what is good for one sending is spent."""
        if self.resend is not Resend.ONE_SHOT and one_time(self.request.headers):
            self.resend = Resend.ONE_TIME

    def one_time(self) -> bool:
        return one_time(self.request.headers)

    def sent(self, request: Any) -> bool:
        """Whether a request found below is an attempt of this call."""
        return request.extensions.get(CALL) is self


class HttpxWire:
    """The `Wire` of one transport class; what belongs to a request is in its `Exchange`."""

    def __init__(self, library: Library, original: Any, tools: "Tools") -> None:
        self.library = library
        self._tools = tools
        self._holder = Holder(library, tools)
        self._telling = Telling(library.module, tools)
        # A tracer's wrapper must be bound to see the transport as its instance; isinstance() takes it for a function.
        self.handle: Handler = original if type(original) is FunctionType else _binding(original)

    async def send(self, call: Call["httpx.Response"]) -> "httpx.Response":
        assert isinstance(call, Exchange)
        try:
            response: httpx.Response = await self.handle(call.transport, call.copy(self._telling))
            if call.hold and self._holder.wants(response, call.hold):
                await self._holder.hold(response, call, call.hold)
        except BaseException:
            call.failed()
            await reclaim_async(call.transport, call.sent)
            raise
        if response.status_code >= _FAILED:
            call.failed()
            with suppress(AttributeError):  # somebody's own kind of stream may have no place for it
                setattr(response.stream, _OWNER, call)
        return response

    def send_sync(self, call: Call["httpx.Response"]) -> "httpx.Response":
        assert isinstance(call, Exchange)
        request = call.copy(self._telling)
        theirs = request.extensions.get("timeout", {})
        bounds: dict[str, float | None] | None = None  # httpcore reads them anew for the body
        if call.attempt_ends < inf:
            call.headed = False
            bound(call.transport)
            bounds = request.extensions["timeout"] = cut_to(theirs, self.left(call))
        try:
            response: httpx.Response = self.handle(call.transport, request)
            call.headed = True
            if call.hold and self._holder.wants(response, call.hold):
                if bounds is not None:
                    # What is not held to its end must not keep the attempt's bounds.
                    cut = cut_to if call.hold == inf else bound_to
                    bounds.update(cut(theirs, self.left(call)))
                self._holder.hold_sync(response, call, call.hold)
            elif bounds is not None:
                bounds.clear()
                bounds.update(theirs)
        except BaseException:
            call.failed()
            reclaim(call.transport, call.sent)
            raise
        if response.status_code >= _FAILED:
            call.failed()
        return response

    def judge(self, result: "httpx.Response") -> Verdict:
        return of_status(result.status_code)

    def judge_error(self, error: BaseException) -> Verdict:
        return self.library.judge(error)

    def retry_after(self, result: "httpx.Response") -> str | None:
        text: str | None = result.headers.get("retry-after")
        return text

    def header(self, result: "httpx.Response", name: str) -> str | None:
        text: str | None = result.headers.get(name)
        return text

    async def discard(self, result: "httpx.Response") -> None:
        try:
            await result.aclose()
        except BaseException:
            call = getattr(result.stream, _OWNER, None)
            if call is not None:
                await reclaim_async(call.transport, call.sent)
            raise

    def discard_sync(self, result: "httpx.Response") -> None:
        result.close()

    def asked(self, call: Call["httpx.Response"]) -> tuple[str, tuple[tuple[str, str], ...], Hashable]:
        """What an answer is kept by; see `stale`."""
        assert isinstance(call, Exchange)
        by = way(call.transport, self.library.module.__name__)
        return str(call.request.url), tuple(call.request.headers.multi_items()), by

    def snapshot(
        self,
        call: Call["httpx.Response"],  # noqa: ARG002 (others need it)
        result: "httpx.Response",
        most: int,
        later: Later,  # noqa: ARG002 (likewise)
    ) -> Snapshot | None:
        """The parts of a response whose body was held."""
        stream: object = result.stream
        body = stream.whole(most) if isinstance(stream, Chunks) else None
        if body is None:
            return None
        note = {
            name: result.extensions[name] for name in ("http_version", "reason_phrase") if name in result.extensions
        }
        return Snapshot(result.status_code, tuple(result.headers.multi_items()), body, note)

    def restore(self, call: Call["httpx.Response"], answer: Snapshot) -> "httpx.Response":  # noqa: ARG002 (others need it)
        """A response of those parts, for a client of either kind."""
        return self.library.restored(answer)

    def left(self, call: Call["httpx.Response"]) -> float:
        """Seconds of the attempt under way."""
        return max(call.attempt_ends - self._tools.clock.now(), _SHORTEST)


def _binding(original: Any) -> Handler:
    return lambda transport, request: original.__get__(transport, type(transport))(request)
