"""A request of aiohttp as the pipeline sees it: how to send, judge and throw away."""

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Any, Protocol

from ..call import Call, Resend
from ..classify import Verdict, of_status
from ..stale import Later, Snapshot
from ._aiohttp_keep import way
from ._aiohttp_library import Library
from ._aiohttp_wishes import resend_class
from ._credentials import one_time
from ._kept_headers import lower
from .headers import outgoing

if TYPE_CHECKING:
    import aiohttp

    from ..policy import Tools

__all__ = ["CALL", "AiohttpWire"]

CALL = "_handrail_call"
"""The attribute of an attempt's request under which whatever lies below finds the `Call`."""

_FAILED = 400
_OF_ONE_SENDING = ("_ClientRequest__writer", "response")
"""What aiohttp keeps on a request while it is sent."""

Response = Call["aiohttp.ClientResponse"]
Handler = Callable[["aiohttp.ClientRequest"], Awaitable["aiohttp.ClientResponse"]]


class Asker(Protocol):
    """Whose request it is."""

    session: Any
    decompress: object
    """What the call says of packed bodies; None: as its session."""


class Hop(Call["aiohttp.ClientResponse"]):
    """One hop of a request of the service."""

    __slots__ = ("_request",)

    def __init__(self, wire: "AiohttpWire", target: str, request: "aiohttp.ClientRequest", resend: Resend) -> None:
        super().__init__(wire, target=target, operation=request.method, resend=resend)
        self._request = request

    def likeness(self) -> object:
        body = self._request.body or b""
        content = getattr(body, "_value", body)
        return hash((str(self._request.url), content)) if isinstance(content, bytes) else None

    def one_time(self) -> bool:
        return one_time(self._request.headers)


class AiohttpWire:
    """The `Wire` of one hop of a request."""

    __slots__ = ("_asker", "_begun", "_handler", "_headers", "_library", "_request", "_tools")

    def __init__(
        self, library: Library, tools: "Tools", request: "aiohttp.ClientRequest", handler: Handler, asker: "Asker"
    ) -> None:
        self._library = library
        self._tools = tools
        self._request = request
        self._headers = request.headers
        self._handler = handler
        self._asker = asker
        self._begun = False

    def call(self, target: str) -> "Response":
        """The logical call whose attempts go over this wire."""
        request = self._request
        return Hop(self, target, request, resend_class(request, self._library.in_memory, self._library.multipart))

    async def send(self, call: "Response") -> "aiohttp.ClientResponse":
        request, written = self._request, self._headers
        sent = self._to_send()
        headers = sent.headers = written.copy()  # what the layers below add to them is this attempt's alone
        for name, value in outgoing(call, self._tools, written.get):
            headers[name] = value
        sent._handrail_call = call  # type: ignore[attr-defined] # CALL, for whatever lies below
        try:
            response = await self._handler(sent)
        except BaseException:
            self._failed(call)
            raise
        finally:
            request.headers = written
            sent._handrail_call = None  # type: ignore[attr-defined] # else each holds the other until a collection
            # aiohttp only writes it; the context of a connection holds its first call, and so would its body.
            sent.response = None
        if response.status >= _FAILED:
            self._failed(call)
        return response

    def _to_send(self) -> "aiohttp.ClientRequest":
        """The request itself for the first attempt, which is nearly always the only one; then a copy for each."""
        request = self._request
        if not self._begun:
            self._begun = True
            return request
        sent: aiohttp.ClientRequest = object.__new__(type(request))
        sent.__dict__.update(request.__dict__)
        for state in _OF_ONE_SENDING:
            sent.__dict__.pop(state, None)
        if request._continue is not None:  # the answer to an Expect: 100-continue comes to each attempt anew
            sent._continue = request.loop.create_future()
        return sent

    def _failed(self, call: "Response") -> None:
        # The peer may have seen this request: what is good for one sending is spent.
        if call.resend is not Resend.ONE_SHOT and one_time(self._request.headers):
            call.resend = Resend.ONE_TIME

    def send_sync(self, call: "Response") -> "aiohttp.ClientResponse":
        raise NotImplementedError("aiohttp runs on an event loop")

    def judge(self, result: "aiohttp.ClientResponse") -> Verdict:
        return of_status(result.status)

    def judge_error(self, error: BaseException) -> Verdict:
        return self._library.judge(error, self._request)

    def retry_after(self, result: "aiohttp.ClientResponse") -> str | None:
        text: str | None = result.headers.get("retry-after")
        return text

    def header(self, result: "aiohttp.ClientResponse", name: str) -> str | None:
        text: str | None = result.headers.get(name)
        return text

    async def discard(self, result: "aiohttp.ClientResponse") -> None:
        if result.content.is_eof():
            result.release()
        else:
            result.close()  # a connection with a body in its way serves nobody else

    def asked(self, call: "Response") -> tuple[str, tuple[tuple[str, str], ...], Hashable]:  # noqa: ARG002 (others need it)
        """What an answer is kept by; see `stale`."""
        request, asker = self._request, self._asker
        return str(request.url), lower(request.headers.items()), way(request, asker.session, asker.decompress)

    def snapshot(
        self,
        call: "Response",  # noqa: ARG002 (others need it)
        result: "aiohttp.ClientResponse",
        most: int,
        later: Later,
    ) -> Snapshot | None:
        """The parts of a response, the body when the service has read it."""
        return self._library.keeper.parts(result, most, later)

    def restore(self, call: "Response", answer: Snapshot) -> "aiohttp.ClientResponse":  # noqa: ARG002 (others need it)
        """A response of those parts."""
        return self._library.keeper.rebuilt(self._request, self._asker.session, answer)

    def discard_sync(self, result: "aiohttp.ClientResponse") -> None:
        result.close()
