"""The watch as `protect` switches it on: events on spans, a histogram, nothing where it is off."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from handrail import _loops, _wire, protect
from handrail.tracing import semconv
from handrail.tracing.testing import Spans, as_global
from tests.tracing.asgi_server import Server


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """The global provider keeps spans in memory; after the test nothing is switched on any more."""
    monkeypatch.setattr(_loops, "_watch", None)  # that of the process may have loops of other tests to look at
    kept = Spans()
    with as_global(kept.provider):
        yield kept
    _wire.switch_off()


def held(**settings: Any) -> None:
    """One request that holds the loop for 0.3 s, through `protect`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        threading.Event().wait(0.3)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    protected = protect(app, **settings)

    async def main() -> None:
        await Server().call(protected, "/")
        await asyncio.sleep(0.1)  # noqa: TID251 (the heart of a real loop beats again)

    asyncio.run(main())


def test_protect_watches_the_loop(spans: Spans):
    """Without any setting, a request that holds the loop for longer than 0.1 s says so on its span."""
    for _ in range(60):  # on a machine so busy that the watch stands still as well, a later one tells
        spans.clear()
        held(metrics=False)
        if spans.server.events:
            break
    assert [event.name for event in spans.server.events] == [semconv.EVENT_LOOP_BLOCKED]


def test_zero_switches_it_off(spans: Spans):
    """blocked_loop=0: no event, and no watch at all."""
    held(blocked_loop=0, metrics=False)
    assert spans.server.events == ()
    process = _wire.current()
    assert process is not None
    assert _loops.end not in process.undo


def test_a_hold_is_measured():
    """The histogram counts each hold in seconds, in the instruments of the meter that is given."""
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("x")
    count = _loops._counting(lambda: meter)
    count(0.3)
    count(0.2)
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit) == ("handrail.event_loop.blocked.duration", "s")
    (point,) = metric.data.data_points
    assert point.count == 2  # type: ignore[union-attr] # a histogram
    assert isinstance(metrics.get_meter("x"), metrics.Meter)
