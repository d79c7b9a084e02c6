"""Trouble on demand: `PUT /_faults` switches it on, an empty object off. `Faults` is in the application, and does what
a service does that is in trouble; `Line` is around the whole of it, and does what a network does.

    {"slow": 0.5}         every call waits half a second before it is served
    {"error_every": 3}    each third call answers 503 before it has any effect
    {"hang_every": 1}     every call is left without an answer, before it has any effect
    {"reset_every": 5}    each fifth call is served, then the line is cut in the middle of the answer
    {"paths": ["/charges"]}   which paths are meant; all but the health check by default

Calls are counted from one, so a run repeats itself. A refused connection is not made here:
stop the process, and nothing listens.
"""

import asyncio
from dataclasses import asdict, dataclass, fields

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Faults", "Line"]

_CUT = "order_service.cut"
_SPARED = ("/_faults", "/healthz")


@dataclass
class Plan:
    """What goes wrong. `slow` is in seconds, `*_every` counts calls, 0 is never."""

    slow: float = 0.0
    error_every: int = 0
    hang_every: int = 0
    reset_every: int = 0
    paths: tuple[str, ...] = ("/",)

    def __post_init__(self) -> None:
        self.paths = tuple(self.paths)


class Faults:
    """ASGI middleware that does to each call what the plan says."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.plan = Plan()
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the switch itself, spare the health check, trouble the rest."""
        if scope["type"] == "http" and scope["path"] == "/_faults":
            await self._switch(Request(scope, receive), send)
        elif scope["type"] == "http" and self._meant(scope["path"]):
            await self._trouble(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _meant(self, path: str) -> bool:
        return path not in _SPARED and path.startswith(self.plan.paths)

    async def _switch(self, request: Request, send: Send) -> None:
        if request.method == "PUT":
            wish = await request.json()
            unknown = sorted(set(wish) - {field.name for field in fields(Plan)})
            if unknown:
                answer = JSONResponse({"error": f"unknown faults: {', '.join(unknown)}"}, 422)
                await answer(request.scope, request.receive, send)
                return
            self.plan, self.calls = Plan(**wish), 0
        await JSONResponse(asdict(self.plan))(request.scope, request.receive, send)

    async def _trouble(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        call, plan = self.calls, self.plan
        await asyncio.sleep(plan.slow)
        if _hit(call, plan.hang_every):
            await _hang(receive)
        elif _hit(call, plan.error_every):
            await JSONResponse({"error": "injected fault"}, 503)(scope, receive, send)
        else:
            scope[_CUT] = _hit(call, plan.reset_every)
            await self.app(scope, receive, send)


class Line:
    """ASGI middleware around all others: cuts the answers that the plan of `Faults` gives up."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through, but for half of such an answer's body."""
        await self.app(scope, receive, _cut(scope, send) if scope["type"] == "http" else send)


def _hit(call: int, every: int) -> bool:
    return every > 0 and call % every == 0


async def _hang(receive: Receive) -> None:
    """Say nothing until the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _cut(scope: Scope, send: Send) -> Send:
    """Let half of the first piece of the body out, then break off."""

    async def cut(message: Message) -> None:
        body = message.get("body", b"")
        if not body or not scope.get(_CUT):
            await send(message)
            return
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        raise ConnectionResetError("injected fault: cut in the middle of the body")

    return cut
