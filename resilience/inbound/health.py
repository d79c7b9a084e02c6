"""The two questions of an orchestrator: does the process live, and should requests be sent here?

Kubernetes' `/livez` and `/readyz`. Outside of all that refuses requests: a service that is full is alive, and says so.
The app's own answer to these paths always wins.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import anyio

from ._directly import directly
from ._health_document import FAIL, Check, document, worst

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Check", "Health"]

_log = logging.getLogger("handrail")
_METHODS = ("GET", "HEAD")


class Health:
    """ASGI middleware. A path of None is not answered.

    `ready` gives the checks; `asked` is told of each question for readiness; `closing` says whether connections shall
    end. `own` says whether the app has a route of exactly this name (None: that cannot be known), before the app was
    called and after its routing. `asking` is the app without the layers around it: where nobody can look into its
    routes it is asked, and its own is what it answers by a route of this name, or where that is not known by 2xx or
    503. A GET that it answered with 404 is not asked again.
    """

    def __init__(
        self,
        app: "ASGIApp",
        *,
        live_path: str | None,
        ready_path: str | None,
        ready: Callable[[], Sequence[Check]],
        asked: Callable[[], None],
        closing: Callable[[], bool],
        own: "Callable[[Scope], bool | None]",
        asking: "ASGIApp",
    ) -> None:
        self.app = app
        self._call = directly(app)
        self._ready_path = ready_path
        self._paths = {path for path in (live_path, ready_path) if path is not None}
        self._ready = ready
        self._asked = asked
        self._closing = closing
        self._own = own
        self._asking = asking
        self._absent: set[str] = set()
        self._failing: tuple[str, ...] = ()

    def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        path = scope["path"]
        if path not in self._paths:
            if "root_path" not in scope or not (root := scope["root_path"]):  # cheaper than get
                return self._call(scope, receive, send)
            path = path.removeprefix(root)
            if path not in self._paths:
                return self._call(scope, receive, send)
        if scope["type"] != "http" or scope["method"] not in _METHODS:
            return self._call(scope, receive, send)
        return self._probed(path, scope, receive, send)

    async def _probed(self, path: str, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if path == self._ready_path:
            self._asked()
        if self._own(scope):
            await self.app(scope, receive, send)
            return
        if path not in self._absent:
            first = _Asked(scope, receive, send, self._own)
            await self._asking(scope, first.receive, first.send)
            if first.passed:
                return
            if scope["method"] == "GET" and (first.status == 404 or 200 <= first.status < 300):
                self._absent.add(path)  # a 404 to HEAD tells nothing of GET
        await self._answer(path, scope, send)

    async def _answer(self, path: str, scope: "Scope", send: "Send") -> None:
        checks = self._ready() if path == self._ready_path else ()
        body = document(checks, verbose=b"verbose" in scope.get("query_string", b""))
        if path == self._ready_path:
            self._tell(checks)
        headers = [
            (b"content-type", b"application/health+json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        if self._closing() and scope.get("http_version") in ("1.0", "1.1"):
            headers.append((b"connection", b"close"))
        status = 503 if worst(checks) == FAIL else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _tell(self, checks: Sequence[Check]) -> None:
        """One line in the log for each change. By name: a reason may count seconds, and is another at each question."""
        failing = tuple(check.name for check in checks if check.status == FAIL)
        if failing == self._failing:
            return
        self._failing = failing
        if failing:
            _log.warning(
                "not ready: %s", "; ".join(f"{one.name}: {one.output}" for one in checks if one.name in failing)
            )
        else:
            _log.info("ready again")


class _Asked:
    """The answer of an app that is asked whether it knows the path: passed on where it does.

    Where it does not, its client has gone with the end of its answer: Quart waits for that before it returns.
    """

    def __init__(self, scope: "Scope", receive: "Receive", send: "Send", own: "Callable[[Scope], bool | None]") -> None:
        self.status = 0
        self.passed = False
        self._receive = receive
        self._received = False
        self._over = anyio.Event()
        self._send = send
        self._scope = scope
        self._own = own

    async def receive(self) -> "Message":
        if self._received:
            await self._over.wait()
            if not self.passed:
                return {"type": "http.disconnect"}
        self._received = True
        return await self._receive()

    async def send(self, message: "Message") -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = self._own(self._scope)
            self.passed = own is True or (own is None and (200 <= self.status < 300 or self.status == 503))
        if self.passed or (message["type"] == "http.response.body" and not message.get("more_body")):
            self._over.set()
        if self.passed:
            await self._send(message)
