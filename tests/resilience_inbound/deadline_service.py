"""One request whose caller has little time, on a real loop."""

import asyncio
import json
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from handrail.resilience.clock import Clock
from handrail.resilience.inbound.deadline import Deadlines
from handrail.resilience.inbound.problem import ProblemDetails

__all__ = ["Asked", "ask"]


@dataclass
class Asked:
    """What was sent, and the tasks that are left."""

    sent: list[MutableMapping[str, Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the last byte."""

    @property
    def statuses(self) -> list[int]:
        """Of all answers that were begun."""
        return [message["status"] for message in self.sent if message["type"] == "http.response.start"]

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def problem(self) -> dict[str, Any]:
        """The document."""
        known: dict[str, Any] = json.loads(self.body)
        return known


async def ask(app: Any, path: str = "/", asked: Asked | None = None, clock: Clock | None = None) -> Asked:
    """A GET from a client that stays and has a tenth of a second."""
    asked = asked or Asked()
    here = asyncio.all_tasks()
    whole = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal whole
        if whole:
            await asyncio.get_running_loop().create_future()
        whole = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        asked.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            asked.answered.set()

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"test"), (b"x-envoy-expected-rq-timeout-ms", b"100")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    problems = ProblemDetails(app, trace_id=lambda: None)
    layer = Deadlines(problems, emit=lambda _: None, trace_id=lambda: None, clock=clock)
    await layer(scope, receive, send)
    asked.left = [str(task.get_coro()) for task in asyncio.all_tasks() - here]
    return asked
