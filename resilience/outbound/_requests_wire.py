"""A request of requests as the pipeline sees it: one hop, from the adapter to the end of its body."""

from collections.abc import Hashable
from math import inf
from typing import TYPE_CHECKING, Any

from ..call import Call
from ..classify import CANCELLED, Verdict, of_status
from ..events import AttemptFailed
from ..stale import Later, Snapshot
from . import _requests_keep as _keep
from . import _requests_library as library
from ._urllib3_body import bound, unbound
from ._urllib3_wire import SHORTEST, Sending, SyncWire, handler
from ._urllib3_wishes import cut

if TYPE_CHECKING:
    import requests

    from ..policy import Tools

__all__ = ["AdapterCall", "AdapterWire"]

BEFORE_HOOKS = 1024 * 1024
"""Bytes that are read early where the request has response hooks, which may want to refuse a body before."""

_CHUNK = 10 * 1024  # requests' own


class AdapterCall(Sending["requests.Response"]):
    """One `HTTPAdapter.send`. Unless it is a `stream`, the body belongs to the attempt, and is read with it."""

    tells_end = True

    __slots__ = ("adapter", "options", "request", "stream", "timeout")

    adapter: Any
    request: Any
    stream: bool
    timeout: Any
    options: dict[str, Any]

    def likeness(self) -> object:
        body = self.request.body
        if body is not None and not isinstance(body, bytes | str):
            return None
        return hash((self.request.url, body))


class AdapterWire(SyncWire["requests.Response"]):
    """Sends through the `HTTPAdapter.send` that was there before."""

    def __init__(self, original: Any, tools: "Tools") -> None:
        self.handle = handler(original)
        self._tools = tools
        self._now = tools.clock.now

    def send_sync(self, call: Call["requests.Response"]) -> "requests.Response":
        assert isinstance(call, AdapterCall)
        timeout, ends = call.timeout, call.attempt_ends
        if ends < inf:
            timeout = cut(call.wish, max(ends - self._now(), SHORTEST))
        call.ended = None
        try:
            response: requests.Response = self.handle(
                call.adapter, call.request, stream=call.stream, timeout=timeout, **call.options
            )
            if not call.stream and _is_to_be_held(response):
                self._hold(response, call)
            elif timeout is not call.timeout:
                unbound(response.raw, call.silence)
        except BaseException as error:
            call.seen(call.request.headers)
            if call.ended is not None:
                call.ended(error, None)
            raise
        if call.ended is not None:
            call.ended(None, response)
        if response.status_code >= 400:
            call.seen(call.request.headers)
        return response

    def _hold(self, response: "requests.Response", call: AdapterCall) -> None:
        """Read the body as `response.content` would, within the attempt's time."""
        raw: Any = response.raw
        if call.attempt_ends < inf:
            bound(raw, call.attempt_ends, self._now)
        try:
            _ = response.content
        except BaseException as error:
            response.close()
            verdict = library.judge(error)
            if verdict is not CANCELLED:
                self._tools.emit(AttemptFailed(call.target, call.operation, call.attempt, verdict.cause))
            raise

    def asked(self, call: Call["requests.Response"]) -> tuple[str, _keep.Pairs, Hashable]:
        """What an answer is kept by; see `stale`."""
        assert isinstance(call, AdapterCall)
        return _keep.asked(call)

    def snapshot(
        self,
        call: Call["requests.Response"],
        result: "requests.Response",
        most: int,
        later: Later,  # noqa: ARG002 (others need it)
    ) -> Snapshot | None:
        """The parts of a response whose body was held."""
        assert isinstance(call, AdapterCall)
        return _keep.parts(call, result, most)

    def restore(self, call: Call["requests.Response"], answer: Snapshot) -> "requests.Response":
        """A response of those parts."""
        assert isinstance(call, AdapterCall)
        return _keep.rebuilt(call, answer)

    def judge(self, result: "requests.Response") -> Verdict:
        return of_status(result.status_code)

    def judge_error(self, error: BaseException) -> Verdict:
        return library.judge(error)


def _is_to_be_held(response: "requests.Response") -> bool:
    if 300 <= response.status_code < 400:
        return False  # the session reads it, or not; what is wrong with it does not stop a redirect
    raw: Any = response.raw
    if raw is None or not hasattr(raw, "stream"):
        return False  # somebody's adapter
    if not response.request.hooks.get("response"):
        return True
    length = response.headers.get("content-length", "")
    return length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= BEFORE_HOOKS
