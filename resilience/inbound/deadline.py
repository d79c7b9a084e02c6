"""The caller's deadline: taken from the request's headers, put around everything that the request does.

Pure ASGI, HTTP alone. A request that says nothing passes through without a frame of ours. The modes are the stages
of Misk's roll-out: `observe` tells of requests that came too late, `propagate` also binds the calls that they make,
`enforce` refuses them with 504. What runs after the answer is bound no longer (as in gRPC and Misk).
"""

import logging
import operator
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Token
from typing import TYPE_CHECKING, Any

from ..bound import Bound, bind, variable
from ..call import inbound_attempt
from ..clock import Clock, SystemClock
from ..events import Listener, RequestExpired
from ..service import ServiceSettings
from ._answer import Answer
from ._deadline_headers import DeadlineHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Deadlines"]

_log = logging.getLogger("handrail")
_NOTHING: dict[bytes, bytes] = {}


class Deadlines:
    """ASGI middleware. `emit` is told of expired requests; `trace_id` and `path_of` are those of `ProblemDetails`.

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
        found_in: str = "handrail.headers",
    ) -> None:
        self.app = app
        self.on_names: Callable[[frozenset[bytes]], None] | None = None
        """Told of the headers to be found from now on, where the settings come to name others."""
        self.follow(service or ServiceSettings())
        self._emit = emit
        self._trace_id = trace_id
        self._clock = clock or SystemClock()
        self._path_of = path_of
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

    def _find(self, scope: "Scope") -> Mapping[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in self.names:
                found[name] = found[name] + b"," + value if name in found else value
        return found

    async def _bound(self, found: Mapping[bytes, bytes], scope: "Scope", receive: "Receive", send: "Send") -> None:
        left = self._headers.left(found, self._clock.wall)
        if left is not None and left <= 0:
            self._emit(RequestExpired("", scope["method"], max(0.0, -left), self._mode))
            if self._mode == "enforce":
                await self._refuse(scope, send)
                return
        attempt = self._headers.attempt(found)
        tokens: list[Token[Any]] = [inbound_attempt.set(attempt)] if attempt > 1 else []
        bound: Bound | None = None
        if left is not None and self._mode != "observe":
            bound = bind(self._clock.now() + min(left, self._max))
            tokens.append(variable.set(bound))
        try:
            await self.app(scope, receive, _until_answered(send, bound, attempt) if tokens else send)
        except GeneratorExit:
            raise  # thrown away with its event loop, in a context that is not ours to restore
        except BaseException:
            _end(bound, tokens)
            raise
        _end(bound, tokens)

    async def _refuse(self, scope: "Scope", send: "Send") -> None:
        answer = Answer(504, "deadline", "the deadline of the caller had passed when the request came", "deadline")
        _log.warning("%s %s answered %d: %s", scope["method"], self._path_of(scope), answer.status, answer.detail)
        body = answer.body(self._trace_id())
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers(body)})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _until_answered(send: "Send", bound: Bound | None, attempt: int) -> "Send":
    def sent(message: "Message") -> Awaitable[None]:
        kind = message["type"]
        if (kind == "http.response.body" and not message.get("more_body")) or kind == "http.response.pathsend":
            # A server may start the next request of the connection from within this send, and in this context.
            if attempt > 1:
                inbound_attempt.set(1)
            if bound is not None:
                bound.lift()
        return send(message)

    return sent


def _end(bound: Bound | None, tokens: list[Token[Any]]) -> None:
    if bound is not None:
        bound.lift()
    for token in tokens:
        token.var.reset(token)
