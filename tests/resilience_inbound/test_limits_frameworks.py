"""Frameworks that read a body which is refused: one answer, one line in the log, no complaint of theirs."""

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any

import fastapi
import litestar
import pytest
import quart

from handrail.resilience.inbound._reply import Replies
from handrail.resilience.inbound.limits import Limits
from handrail.resilience.inbound.problem import ProblemDetails
from handrail.resilience.inbound.settings import InboundSettings
from handrail.resilience.testing import FakeClock, RecordingListener, run
from tests.resilience_inbound.idempotency_bench import Service

Message = MutableMapping[str, Any]


def of_fastapi() -> Any:
    app = fastapi.FastAPI()

    @app.post("/raw")
    async def raw(request: fastapi.Request) -> int:
        return len(await request.body())

    @app.post("/json")
    async def parsed(data: dict[str, Any]) -> int:
        return len(data)

    return app


def of_litestar() -> Any:
    @litestar.post("/raw")
    async def raw(request: litestar.Request[Any, Any, Any]) -> int:
        return len(await request.body())

    @litestar.post("/json")
    async def parsed(request: litestar.Request[Any, Any, Any]) -> int:
        return len(await request.json())

    return litestar.Litestar([raw, parsed], logging_config=None)


def of_quart() -> Any:
    app = quart.Quart(__name__)

    @app.post("/raw")
    async def raw() -> str:
        return str(len(await quart.request.get_data()))

    @app.post("/json")
    async def parsed() -> str:
        return str(len(await quart.request.get_json()))

    return app


async def ask(layer: Any, path: str, pieces: list[bytes], *, ends: bool) -> list[int]:
    """The statuses that a client got."""
    statuses = []

    async def receive() -> Message:
        if pieces:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces) or not ends}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [(b"host", b"service"), (b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("service", 80),
    }
    await layer(scope, receive, send)
    return statuses


@pytest.mark.parametrize("path", ["/raw", "/json"])
@pytest.mark.parametrize("make", [of_fastapi, of_litestar, of_quart])
def test_a_refused_body(make: Any, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """413 for too much and 408 for too little, whatever the framework makes of a client that has left."""
    clock = FakeClock()
    replies = Replies(trace_id=lambda: None)
    inner = ProblemDetails(make(), trace_id=lambda: None)
    settings = InboundSettings(body_max=10, body_timeout=5.0)
    layer = Limits(inner, settings=settings, replies=replies, emit=RecordingListener(), clock=clock)
    with caplog.at_level(logging.WARNING):
        assert run(ask(layer, path, [b"x" * 6, b"x" * 6, b"x"], ends=True), clock) == [413]
        assert run(ask(layer, path, [b"x"], ends=False), clock) == [408]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        f"POST {path} answered 413",
        f"POST {path} answered 408",
    ]


def test_a_keyed_request_whose_body_stops_is_408_and_its_key_is_free() -> None:
    """What waits for the body further in waits longer: it would make of the client one that has left."""
    there = Service()
    limits = Limits(
        there.layer,
        settings=InboundSettings(),
        replies=Replies(trace_id=lambda: None),
        emit=there.told,
        clock=there.clock,
    )
    there.layer = limits  # type: ignore[assignment] # all that is asked of it is to be called

    async def coming() -> dict[str, Any]:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(), "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    pieces = [b"{"]

    async def main() -> None:
        assert (await there.post("k", b"", (b"transfer-encoding", b"chunked"), receive=coming)).status == 408
        assert (await there.post("k", b"{}")).status == 201
        assert there.effects == 1

    run(main(), there.clock)
