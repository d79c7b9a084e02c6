"""Deadlines, problems and shielded work as `protect` puts them in: inside the SERVER span, and told before the end."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import httpx
from opentelemetry import trace

import handrail
from handrail.tracing.testing import Spans

TIME = {"x-envoy-expected-rq-timeout-ms": "50"}


def test_shielded_work_is_a_child_and_the_end_of_the_service_waits_for_it(spans: Spans) -> None:
    """The client has 504 with the trace id; the work's span is in its trace, and there before the flush is over."""
    going = asyncio.Event()

    async def refund() -> None:
        with trace.get_tracer("shop").start_as_current_span("refund"):
            await going.wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await handrail.shield(refund())

    service: Any = handrail.protect(app, trace_link="http://jaeger/trace/{trace_id}")

    async def main() -> httpx.Response:
        asked: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        said: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        lifespan = asyncio.create_task(service({"type": "lifespan", "state": {}}, asked.get, said.put))
        await asked.put({"type": "lifespan.startup"})
        assert (await said.get())["type"] == "lifespan.startup.complete"
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://shop") as client:
            answer = await client.post("/", headers=TIME)
        assert [span.name for span in spans.finished] == ["POST"]
        await asked.put({"type": "lifespan.shutdown"})
        asyncio.get_running_loop().call_later(0.05, going.set)
        assert (await said.get())["type"] == "lifespan.shutdown.complete"
        assert going.is_set()
        await lifespan
        return answer

    answer = asyncio.run(main())
    request, work = spans.finished
    assert (request.attributes or {})["http.response.status_code"] == 504
    assert [event.name for event in request.events] == ["handrail.request.refused"]
    assert work.parent is not None
    assert request.context is not None
    assert work.parent.span_id == request.context.span_id
    trace_id = trace.format_trace_id(request.context.trace_id)
    assert answer.json()["trace_id"] == trace_id
    assert answer.json()["trace"] == f"http://jaeger/trace/{trace_id}"


def test_a_bug_has_its_trace_id_and_its_exception_on_the_span(spans: Spans) -> None:
    """Strangers get the id, the trace has the error."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError("a bug")

    service: Any = handrail.protect(app)

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(service, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.get("/")

    answer = asyncio.run(main())
    (request,) = spans.finished
    assert request.context is not None
    assert answer.status_code == 500
    assert answer.json()["trace_id"] == trace.format_trace_id(request.context.trace_id)
    assert "bug" not in answer.text
    assert [event.name for event in request.events] == ["exception"]
    assert not request.status.is_ok
