"""What handrail promises, under faults: orders are placed once, breakers open, lost answers are told again."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode

import handrail
from handrail.chaos import Fault, inject, sign
from handrail.tracing.testing import Spans
from tests.chaos.chaos_service import Service, serve, until

SECRET = "a secret of sixteen"


@pytest.fixture
def payment(spans: Spans, tmp_path: Path) -> Iterator[Service]:
    """A service that keeps its answers, and is called by the process that it runs in."""
    assert spans is not None
    settings: handrail.Overrides = {
        "idempotency_store": f"sqlite:///{tmp_path}/answers.sqlite3",
        "backoff_base": 0.001,
        "backoff_cap": 0.001,
        "retry_budget_floor": 1000,
        "breaker_minimum_calls": 10,
        "breaker_open_for": 600,
        "breaker_open_max": 600,
        "service_name": "payment",
    }
    with serve("uvicorn", settings) as running:
        yield running


def _charge(payment: Service, number: int, headers: dict[str, str] | None = None) -> httpx.Response:
    async def main() -> httpx.Response:
        async with httpx.AsyncClient() as client:
            key = {"idempotency-key": f'"{payment.url}-{number}"', **(headers or {})}
            return await client.post(f"{payment.url}/charge", content=str(number), headers=key)

    return asyncio.run(main())


@pytest.mark.parametrize(
    "fault",
    [
        "in lost /charge every=3",
        "in error=503 /charge every=3",
        "in refuse /charge every=3",
        "in reset /charge every=3",
        "in duplicate /charge",
        "out lost every=3",
        "out error=503 every=3",
        "out refuse every=3",
        "out reset every=3",
        "out duplicate",
    ],
)
def test_every_order_is_placed_once(payment: Service, fault: str) -> None:
    """A third of the answers fail or are lost after the effect, or each request comes twice: every keyed call gets
    its answer, and each effect has happened once.
    """
    with inject(fault) as injected:
        for number in range(12):
            assert _charge(payment, number).status_code == 201, number
    assert injected.count >= 4
    assert sorted(payment.ledger, key=int) == [str(number) for number in range(12)]


def test_breaker_opens(payment: Service, spans: Spans) -> None:
    """Enough refused connections open the breaker of the origin as real ones do, and it refuses without a fault."""
    with inject(Fault("refuse", "out")) as injected:
        for number in range(10):
            with pytest.raises(httpx.ConnectError):
                _charge(payment, number)
        count = injected.count
        with pytest.raises(handrail.CircuitOpen):
            _charge(payment, 10)
        assert injected.count == count
    hit = spans.of_kind(SpanKind.CLIENT)
    assert len(hit) == count
    assert all((span.attributes or {})["handrail.chaos.injected"] == "refuse" for span in hit)
    assert {span.status.status_code for span in hit} == {StatusCode.ERROR}
    assert all((span.attributes or {})["error.type"] == "httpx.ConnectError" for span in hit)
    assert payment.ledger == []


def test_partition_both_ways(payment: Service) -> None:
    """Cut off from a service, calls to it and requests from it fail; what other services do does not."""
    with inject(f"partition stock|order@{payment.url}"):  # none of ours
        assert _charge(payment, 1).status_code == 201
    with inject(f"partition payment@{payment.url}"), pytest.raises(httpx.ConnectError):
        _charge(payment, 2)
    assert payment.ledger == ["1"]


def test_signed_header(spans: Spans) -> None:
    """A request brings its faults in a header, as often as they say, and an unsigned one brings nothing."""
    settings: handrail.Overrides = {
        "chaos": True,
        "chaos_secret": SECRET,
        "backoff_base": 0.001,
        "backoff_cap": 0.001,
        "service_name": "payment",
    }
    with serve("uvicorn", settings) as payment:
        header = sign("in error=503 /text times=2 service=payment", secret=SECRET)
        with httpx.Client() as client:
            # Two attempts meet it, the third does not.
            assert client.get(f"{payment.url}/text", headers={"handrail-chaos": header}).status_code == 200
            assert client.get(f"{payment.url}/text", headers={"handrail-chaos": f"{header}0"}).status_code == 200
    assert len(payment.seen) == 2
    until(lambda: len(spans.of_kind(SpanKind.SERVER)) == 4)
    every = [*spans.of_kind(SpanKind.SERVER), *spans.of_kind(SpanKind.CLIENT)]
    assert all((span.attributes or {})["handrail.chaos"] is True for span in every)
    hit = [span for span in every if (span.attributes or {}).get("handrail.chaos.injected")]
    assert len(hit) == 2


def test_header_three_hops_away(spans: Spans) -> None:
    """Each service takes the header on to those that it calls: the fault happens where it says, and nowhere else."""
    settings: handrail.Overrides = {"chaos": True, "chaos_secret": SECRET, "attempts": 1}
    with serve("uvicorn", settings) as payment:
        header = sign("in error=501 /text", secret=SECRET)
        found = httpx.get(f"{payment.url}/through/through/text", headers={"handrail-chaos": header})
        assert found.status_code == 501
        assert httpx.get(f"{payment.url}/through/through/text").status_code == 200
    assert payment.seen == ["GET /text"]
    hit = [span for span in spans.finished if (span.attributes or {}).get("handrail.chaos.injected")]
    assert [(span.attributes or {})["http.route"] for span in hit] == ["/text"]
