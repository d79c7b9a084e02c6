"""Resilience's events as metrics: which question each answers, and that targets are bounded."""

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from handrail._bridge_metrics import MetricsBridge, observe
from handrail.resilience import Call, ResilienceSettings, events
from handrail.resilience.registry import Registry
from handrail.resilience.testing import Reply, ScriptedWire
from tests.tracing_metrics.meters import by_name

TARGET = "http://payment:8003"


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def meter(reader: InMemoryMetricReader) -> Iterator[api.Meter]:
    provider = MeterProvider([reader])
    yield provider.get_meter("handrail")
    provider.shutdown()


def _told(reader: InMemoryMetricReader) -> dict[str, list[tuple[dict[str, Any], float]]]:
    data = reader.get_metrics_data()
    assert data is not None
    return {name: [(dict(one.attributes), one.value) for one in points] for name, points in by_name(data).items()}


EVENTS = [
    (
        events.RetryScheduled(TARGET, "GET", 1, 0.1, "503"),
        "handrail.client.retries",
        {"handrail.retry.cause": "503"},
    ),
    (
        events.NotRetried(TARGET, "POST", 1, "timeout", "unsafe_method"),
        "handrail.client.retries.refused",
        {"handrail.retry.cause": "timeout", "handrail.retry.reason": "unsafe_method"},
    ),
    (
        events.RetriesExhausted(TARGET, "GET", 3, 0.4, "connect"),
        "handrail.client.retries.exhausted",
        {"handrail.retry.cause": "connect"},
    ),
    (
        events.CircuitChanged(TARGET, "GET", "closed", "open", 0.6, 12, 15.0),
        "handrail.circuit_breaker.transitions",
        {
            "handrail.circuit_breaker.from": "closed",
            "handrail.circuit_breaker.to": "open",
            "handrail.circuit_breaker.cause": "failures",
        },
    ),
    (
        events.CallRejected(TARGET, "GET", "circuit_breaker", "CircuitOpen", 3.0),
        "handrail.client.calls.rejected",
        {"handrail.policy": "circuit_breaker"},
    ),
    (
        events.CallTimedOut(TARGET, "GET", "attempt_timeout", 1, 2.0, 2.0),
        "handrail.client.timeouts",
        {"handrail.policy": "attempt_timeout"},
    ),
    (
        events.AttemptFailed(TARGET, "GET", 1, "network"),
        "handrail.client.bodies.failed",
        {"handrail.retry.cause": "network"},
    ),
    (events.CallQueued(TARGET, "GET", 0.2, 10), "handrail.client.calls.queued", {}),
    (events.HedgeSent(TARGET, "GET", 0.2), "handrail.client.hedges", {}),
    (events.HedgeWon(TARGET, "GET", 0.1), "handrail.client.hedges.won", {}),
    (
        events.FallbackUsed(TARGET, "GET", "stale", "connect", 4.0),
        "handrail.client.fallbacks",
        {"handrail.fallback.kind": "stale"},
    ),
    (
        events.IdempotencyMet(TARGET, "POST", "0123", "replayed", "ab"),
        "handrail.server.requests.repeated",
        {"handrail.idempotency.outcome": "replayed"},
    ),
    (
        events.RequestExpired(TARGET, "GET", 0.1, "observe"),
        "handrail.server.requests.expired",
        {"handrail.deadline.mode": "observe"},
    ),
    (
        events.RequestRefused(TARGET, "GET", "load_shedding", "limit", 503),
        "handrail.server.requests.refused",
        {"handrail.policy": "load_shedding", "handrail.request.refused.reason": "limit"},
    ),
    (events.RequestShared(TARGET, "GET", "ab" * 16), "handrail.server.requests.shared", {}),
    (
        events.LoadSheddingChanged(TARGET, "", True, "limit", 60, 40, 1, 0.0),
        "handrail.server.load_shedding.changes",
        {"handrail.load_shedding.began": True},
    ),
    (
        events.ConnectionUnguarded(TARGET, "connect", "app.py:3", False),
        "handrail.connections.unguarded",
        {"handrail.connection.refused": False},
    ),
    (
        events.SecondRetry(TARGET, "GET", "tenacity", "app.py:3"),
        "handrail.client.retries.second_layer",
        {"handrail.retry.layer": "tenacity"},
    ),
    (
        events.FaultInjected(TARGET, "GET", "refuse", "out", "out refuse"),
        "handrail.chaos.faults",
        {"handrail.chaos.injected": "refuse", "handrail.chaos.direction": "out"},
    ),
]

NOT_COUNTED = {"KeysHonoured"}  # what a peer says of itself, told in the trace


@pytest.mark.parametrize(("event", "name", "attributes"), EVENTS, ids=[name for _, name, _ in EVENTS])
def test_each_event_is_counted(
    reader: InMemoryMetricReader, meter: api.Meter, event: events.Event, name: str, attributes: dict[str, Any]
) -> None:
    """One counter for each kind of event, with the target and what tells its cases apart."""
    bridge = MetricsBridge(lambda: meter)
    bridge(event)
    bridge(event)
    assert _told(reader) == {name: [({"handrail.target": TARGET, **attributes}, 2)]}


def test_every_kind_of_event_has_a_metric() -> None:
    """A new event without one fails here."""
    kinds = {kind.__name__ for kind in events.Event.__subclasses__()}  # slots make two classes of each
    assert {type(event).__name__ for event, _, _ in EVENTS} | NOT_COUNTED == kinds


def test_targets_are_bounded(reader: InMemoryMetricReader, meter: api.Meter) -> None:
    """A crawler meets any number of origins: from the limit on they share one series."""
    bridge = MetricsBridge(lambda: meter, limit=2)
    for target in ("a", "b", "c", "d", "a"):
        bridge(events.CallTimedOut(target, "GET", "attempt_timeout", 1, 2.0, 2.0))
    policy = {"handrail.policy": "attempt_timeout"}
    assert sorted(_told(reader)["handrail.client.timeouts"], key=str) == [
        ({"handrail.target": "a", **policy}, 2),
        ({"handrail.target": "b", **policy}, 1),
        ({"otel.metric.overflow": True}, 2),
    ]


def test_without_a_meter_nothing_is_kept() -> None:
    """Nobody wants metrics: the bridge holds nothing, and asks again at the next event."""
    bridge = MetricsBridge(lambda: None)
    bridge(EVENTS[0][0])
    assert not bridge._counters
    assert not bridge._targets


def test_the_state_of_each_breaker(reader: InMemoryMetricReader, meter: api.Meter) -> None:
    """0 closed, 1 half open or due for a probe, 2 open, for each target known now; none once handrail is off."""
    registry: Registry | None = Registry()
    observe(meter, lambda: registry)
    assert registry is not None
    entry = registry.pipeline("http", "payment", 8003)
    registry.pipeline("http", "stock", 80)
    breaker = entry.breaker
    breaker._machine.open()
    breaker._window, breaker._next_probe = None, math.inf
    assert _told(reader)["handrail.circuit_breaker.state"] == [
        ({"handrail.target": TARGET}, 2),
        ({"handrail.target": "http://stock"}, 0),
    ]
    breaker._next_probe = 0.0  # the next call would be admitted
    (told, _) = _told(reader)["handrail.circuit_breaker.state"]
    assert told == ({"handrail.target": TARGET}, 1)
    registry = None
    assert reader.get_metrics_data() is None


def test_calls_under_way_and_waiting(reader: InMemoryMetricReader, meter: api.Meter) -> None:
    """As many as there are at the moment of asking, and none once they are over."""
    registry = Registry(ResilienceSettings(bulkhead_limit=1))
    observe(meter, lambda: registry)
    entry = registry.pipeline("http", "payment", 8003)
    seen: list[tuple[float, float]] = []

    def look() -> tuple[float, float]:
        told = _told(reader)
        active, waiting = (told[f"handrail.client.calls.{name}"] for name in ("active", "waiting"))
        assert [about for about, _ in active + waiting] == [{"handrail.target": TARGET}] * 2
        return active[0][1], waiting[0][1]

    async def main() -> None:
        begun, looked = asyncio.Event(), asyncio.Event()

        class Slow(ScriptedWire):
            async def send(self, call: Call[Reply]) -> Reply:
                begun.set()
                await looked.wait()
                return await super().send(call)

        async def send() -> None:
            await entry.pipeline.run(Slow(200).call())

        calls = [asyncio.create_task(send()) for _ in range(3)]
        await begun.wait()
        seen.append(look())
        looked.set()
        await asyncio.gather(*calls)

    asyncio.run(main())
    assert seen == [(1, 2)]
    assert look() == (0, 0)


def test_the_adaptive_limit_where_it_is_on(reader: InMemoryMetricReader, meter: api.Meter) -> None:
    """An origin without one has no such series; no more is told than `bulkhead_limit` allows."""
    registry = Registry(ResilienceSettings(adaptive_concurrency=True))
    observe(meter, lambda: registry)
    entry = registry.pipeline("http", "payment", 8003)
    assert entry.state.adaptive is not None
    limit = entry.state.adaptive.limit
    assert _told(reader)["handrail.client.calls.limit"] == [({"handrail.target": TARGET}, limit)]
    registry.renew(ResilienceSettings(adaptive_concurrency=True, bulkhead_limit=7))
    assert _told(reader)["handrail.client.calls.limit"] == [({"handrail.target": TARGET}, 7)]
    registry.renew(ResilienceSettings())
    assert "handrail.client.calls.limit" not in _told(reader)


def test_gauges_are_bounded(reader: InMemoryMetricReader, meter: api.Meter) -> None:
    """However many targets there are, no gauge has more than 500 series."""
    registry = Registry()
    observe(meter, lambda: registry)
    for number in range(510):
        registry.pipeline("http", f"host{number}", 80)
    assert {len(points) for points in _told(reader).values()} == {500}
