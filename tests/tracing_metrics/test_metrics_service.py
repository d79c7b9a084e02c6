"""A whole service under `protect`: what its collector has when it ended."""

import asyncio
import os
import subprocess
import sys
import time
from typing import Any

import httpx
from opentelemetry import metrics as api

from handrail import protect
from tests.tracing_metrics.metrics_collector import Collector

DEAD = "http://127.83.21.7:9/"
"""Refuses connections."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """/call calls somebody dead; /nope is nothing; the lifespan protocol is not known."""
    if scope["type"] != "http":
        return
    api.get_meter("shop").create_counter("shop.orders").add(1)
    if scope["path"] == "/call":
        async with httpx.AsyncClient() as client:
            try:
                await client.get(DEAD)
            except httpx.ConnectError:
                """Expected."""
    status = 200 if scope["path"] != "/nope" else 404
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def _live(service: Any) -> None:
    """The lifespan around three requests."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.create_task(service({"type": "lifespan", "asgi": {"version": "3.0"}}, heard.get, said.put))
    await heard.put({"type": "lifespan.startup"})
    await asyncio.wait_for(said.get(), 20)  # else a service that fails at its start would hang here
    for path in ("/", "/call", "/nope", "/healthz"):
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "scheme": "http",
        }
        scope |= {
            "headers": [],
            "http_version": "1.1",
            "query_string": b"",
            "root_path": "",
            "asgi": {"version": "3.0"},
        }
        scope |= {"server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}
        await service(scope, _nothing, _gone)
    await heard.put({"type": "lifespan.shutdown"})
    await asyncio.wait_for(said.get(), 20)  # else a service that fails at its start would hang here
    await life


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _gone(_message: Any) -> None:
    """Nobody reads it."""


def _run(endpoint: str, **more: str) -> tuple[subprocess.CompletedProcess[str], float]:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.tracing_metrics.test_metrics_service"],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "HANDRAIL_BACKOFF_BASE": "0.001", **more},
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done, time.monotonic() - begun


def test_one_export_has_it_all(collector: Collector) -> None:
    """Requests, attempts, retries, breakers, the service's own counter; no excluded path; all flushed at the end."""
    done, _ = _run(collector.url, OTEL_TRACES_EXPORTER="none")
    assert done.returncode == 0, done.stderr
    assert set(collector.paths) == {"/v1/metrics"}
    assert not any("shutting down" in line for line in done.stderr.splitlines())

    def points(name: str) -> Any:
        metric = collector.metric(name)
        return getattr(metric, metric.WhichOneof("data")).data_points

    statuses = {
        pair.value.int_value: point.count
        for point in points("http.server.request.duration")
        for pair in point.attributes
        if pair.key == "http.response.status_code"
    }
    assert statuses == {200: 2, 404: 1}
    assert [point.as_int for point in points("http.server.active_requests")] == [0]
    (attempts,) = points("http.client.request.duration")
    assert attempts.count == 3
    assert "httpx.ConnectError" in str(attempts.attributes)
    assert [point.as_int for point in points("handrail.client.retries")] == [2]
    assert [point.as_int for point in points("handrail.client.retries.exhausted")] == [1]
    assert [point.as_int for point in points("handrail.circuit_breaker.state")] == [0]
    assert [point.as_int for point in points("shop.orders")] == [4]


def test_a_dead_collector_costs_one_bound_for_both(collector: Collector) -> None:
    """Spans and metrics share flush_timeout: the process ends about as fast as with nobody to tell."""
    _, without = _run("", OTEL_TRACES_EXPORTER="none", OTEL_METRICS_EXPORTER="none")
    done, with_dead = _run("http://127.83.21.7:9", HANDRAIL_FLUSH_TIMEOUT="2")
    assert done.returncode == 0, done.stderr
    assert with_dead - without < 3.9  # one bound, and room for a busy machine; two bounds are 4 s
    lines = [line for line in done.stderr.splitlines() if "do not reach" in line]
    assert 1 <= len(lines) <= 2


if __name__ == "__main__":
    asyncio.run(_live(protect(app)))
