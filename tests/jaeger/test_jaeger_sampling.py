"""deploy/jaeger/tail-sampling.yaml in the real Jaeger: what failed, was slow or repaired, and a share of the rest."""

import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id, set_span_in_context

from tests.deploy.jaeger_server import TAIL_SAMPLING, JaegerServer

pytestmark = [pytest.mark.jaeger, pytest.mark.xdist_group("tail-sampling")]

SETTINGS = {"JAEGER_DECISION_WAIT": "1s", "JAEGER_SLOW_MS": "400", "JAEGER_KEEP_PERCENT": "25"}
EACH = 15
HEALTHY = 200
MILLISECOND = 1_000_000


class Told:
    """Traces of two spans each, sent before anything is asked: ids by what happened in them."""

    def __init__(self, jaeger: JaegerServer) -> None:
        self.service = f"sampled-{secrets.token_hex(4)}"
        provider = TracerProvider(resource=Resource({"service.name": self.service}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{jaeger.otlp_http}/v1/traces")))
        self._tracer = provider.get_tracer("test")
        self.healthy = [self._trace() for _ in range(HEALTHY)]
        self.failed = [self._trace(failed=True) for _ in range(EACH)]
        self.slow = [self._trace(milliseconds=450) for _ in range(EACH)]
        self.repaired = [self._trace(event="handrail.retry.scheduled") for _ in range(EACH)]
        provider.shutdown()

    def _trace(self, *, failed: bool = False, milliseconds: int = 20, event: str = "") -> str:
        now = time.time_ns()
        root = self._tracer.start_span("POST /orders", kind=SpanKind.SERVER, start_time=now)
        inner = self._tracer.start_span("POST", set_span_in_context(root), SpanKind.CLIENT, start_time=now)
        if failed:
            inner.set_status(StatusCode.ERROR)  # the failure is deep inside: the root went well
        inner.end(now + 10 * MILLISECOND)
        if event:
            root.add_event(event, timestamp=now + MILLISECOND)
        root.end(now + milliseconds * MILLISECOND)
        return format_trace_id(root.get_span_context().trace_id)


@pytest.fixture(scope="module")
def sampled(jaeger_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[JaegerServer, Told]]:
    folder = tmp_path_factory.mktemp("tail-sampling")
    with JaegerServer(jaeger_binary, folder, sampling=TAIL_SAMPLING, environ=SETTINGS) as jaeger:
        told = Told(jaeger)
        # Decisions come in the order of arrival: with the last one stored all are made.
        jaeger.wait(lambda: spans(jaeger, told.repaired[-1]) == 2)
        yield jaeger, told


def spans(jaeger: JaegerServer, trace_id: str) -> int:
    """How many spans of a trace are stored."""
    document: Mapping[str, Mapping[str, list[Mapping[str, list[Mapping[str, list[object]]]]]]]
    document = jaeger.get(f"/api/v3/traces/{trace_id}", rawTraces="true") or {}
    parts = document.get("result", {}).get("resourceSpans", [])
    return sum(len(scope["spans"]) for part in parts for scope in part["scopeSpans"])


@pytest.mark.parametrize("kind", ["failed", "slow", "repaired"])
def test_what_matters_is_kept_whole(sampled: tuple[JaegerServer, Told], kind: str) -> None:
    """Each trace with an error anywhere, above the bound of time, or with a decision of handrail is stored, whole."""
    jaeger, told = sampled
    assert [spans(jaeger, trace_id) for trace_id in getattr(told, kind)] == [2] * EACH


def test_a_share_of_the_rest_is_kept(sampled: tuple[JaegerServer, Told]) -> None:
    """Of healthy traces about the share that is set is stored, whole, and the others not at all."""
    jaeger, told = sampled
    found = [spans(jaeger, trace_id) for trace_id in told.healthy]
    assert set(found) <= {0, 2}
    assert 20 <= found.count(2) <= 85  # 25 % of 200; five standard deviations
