"""The caller's deadline: taken from the request's headers, put around everything that the request does.

Pure ASGI, HTTP alone. A request that says nothing passes through without a frame of ours. The modes are the stages
of Misk's roll-out: `observe` tells of requests that came too late, `propagate` also binds the calls that they make,
`enforce` refuses them with 504, and cancels those whose time is spent before their answer begins. What runs after the
answer is bound no longer (as in gRPC and Misk).
"""

import operator
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from ..clock import Clock, SystemClock
from ..events import Listener, RequestExpired, RequestRefused
from ..service import ServiceSettings
from ._answer import Answer
from ._deadline_cut import Bounded, Cancellable
from ._deadline_headers import DeadlineHeaders
from ._reply import Replies

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Deadlines"]

_NOTHING: dict[bytes, bytes] = {}
_LATE = Answer(504, "deadline", "the deadline of the caller had passed when the request came", "deadline")
_CUT = Answer(504, "deadline", "the deadline of the caller passed before the answer began: cancelled", "deadline")


class Deadlines:
    """ASGI middleware. `emit` is told of expired and cancelled requests; `trace_id`, `path_of` and `link` are those of
    `Replies`. `cancel`: requests whose time is spent are cancelled, where the mode is `enforce`.

    `found_in` names the entry of the scope in which an outer layer has put the headers called `names`, so that they
    are looked for once; where it is missing they are looked for here.
    """

    def __init__(
        self,
        app: "ASGIApp",
        *,
        emit: Listener,
        trace_id: Callable[[], str | None],
        service: ServiceSettings | None = None,
        clock: Clock | None = None,
        path_of: "Callable[[Scope], str]" = operator.itemgetter("path"),
        link: str = "",
        cancel: bool = True,
        found_in: str = "handrail.headers",
    ) -> None:
        self.app = app
        self.on_names: Callable[[frozenset[bytes]], None] | None = None
        """Told of the headers to be found from now on, where the settings come to name others."""
        self.follow(service or ServiceSettings())
        self._emit = emit
        self._replies = Replies(trace_id=trace_id, path_of=path_of, link=link)
        self._cancel = cancel
        self._clock = clock or SystemClock()
        self._found_in = found_in

    def follow(self, service: ServiceSettings) -> None:
        """Take these settings, at first or in place of others; requests under way keep theirs."""
        self._mode = service.deadline_mode
        self._max = service.deadline_max
        self._headers = DeadlineHeaders(service.timeout_header, service.attempt_header)
        self.names = self._headers.names
        self._silent = self.names.isdisjoint
        if self.on_names is not None:
            self.on_names(self.names)

    def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        found: Mapping[bytes, bytes] | None = scope.get(self._found_in)
        if found is None:
            found = self._find(scope)
        if self._silent(found):
            return self.app(scope, receive, send)
        scope[self._found_in] = _NOTHING  # another of these further in has nothing to add
        return self._bound(found, scope, receive, send)

    def left(self, scope: "Scope") -> float | None:
        """Seconds that the caller waits yet, by what it says; None where it says nothing, or nobody looked."""
        found: Mapping[bytes, bytes] | None = scope.get(self._found_in)
        return self._headers.left(found, self._clock.wall) if found else None

    def _find(self, scope: "Scope") -> Mapping[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in self.names:
                found[name] = found[name] + b"," + value if name in found else value
        return found

    def _bound(self, found: Mapping[bytes, bytes], scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        mode = self._mode
        left = self._headers.left(found, self._clock.wall)
        if left is not None:
            if left <= 0:
                self._emit(RequestExpired("", scope["method"], max(0.0, -left), mode))
                if mode == "enforce":
                    return self._refuse(_LATE, "expired", scope, send)
            left = None if mode == "observe" else min(left, self._max)
        attempt = self._headers.attempt(found)
        if left is None and attempt <= 1:
            return self.app(scope, receive, send)
        if left is None or mode != "enforce" or not self._cancel:
            return Bounded(self.app, scope, receive, send, attempt).run(left, self._clock)
        request = Cancellable(self.app, scope, receive, send, attempt)
        request.answer = self._spent
        return request.run(left, self._clock)

    def _spent(self, scope: "Scope", send: "Send") -> Coroutine[Any, Any, None]:
        return self._refuse(_CUT, "spent", scope, send)

    async def _refuse(self, answer: Answer, reason: str, scope: "Scope", send: "Send") -> None:
        self._emit(RequestRefused("", scope["method"], "deadline", reason, answer.status))
        await self._replies.send(answer, scope, send)
