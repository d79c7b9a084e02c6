"""The order flow, exported to a real Jaeger over both protocols and read back from it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from examples.order_service.fleet import Fleet
from examples.order_service.load import CARD
from handrail.tracing.local.read import Span, Trace, parse
from tests.deploy.jaeger_server import JaegerServer

pytestmark = pytest.mark.jaeger
ROOT = Path(__file__).resolve().parents[2]
SERVER, CLIENT = 2, 3
UNSET, ERROR = 0, 2


def place(fleet: Fleet, order_id: str) -> httpx.Response:
    order = {"order_id": order_id, "sku": "bolt", "quantity": 1, "amount": 900, "card": CARD}
    return httpx.post(f"{fleet.url('order')}/orders", json=order, timeout=90, trust_env=False)


SPANS = {"plain": 7, "first": 7, "retried": 9, "refused": 12}
"""Spans of each order's trace, to know when Jaeger has it whole."""


class Flow:
    """Three orders: one without trouble, one whose charge fails at first, one with shipping dead."""

    def __init__(self, jaeger: JaegerServer, folder: Path, environ: dict[str, str]) -> None:
        self.jaeger = jaeger
        with Fleet(folder, environ) as fleet:
            self.plain = place(fleet, "plain")
            fleet.fault("payment", error_every=2, paths=["/charges"])
            self.first = place(fleet, "first")
            self.retried = place(fleet, "retried")
            fleet.fault("payment")
            fleet.stop("shipping")
            self.refused = place(fleet, "refused")
            self.origins = {name: f"http://127.0.0.1:{port}" for name, port in fleet.ports.items()}
        # the services have ended: whatever they did not flush by now is lost

    def by_order(self, order_id: str) -> Trace:
        """The trace in which stock of that order was reserved."""
        found: list[Trace] = []

        def look() -> bool:
            found[:] = [trace for trace in self._all() if _has_path(trace, f"/reservations/{order_id}")]
            return bool(found) and len(found[0].spans) >= SPANS[order_id]

        self.jaeger.wait(look)
        assert len(found) == 1
        return found[0]

    def _all(self) -> list[Trace]:
        now = datetime.now(UTC)
        window = {"min": now - timedelta(minutes=10), "max": now + timedelta(minutes=1)}
        # the old spelling of the parameters: Jaeger 2.13 to 2.20 all take it
        search = {f"query.start_time_{end}": f"{time:%Y-%m-%dT%H:%M:%SZ}" for end, time in window.items()}
        search |= {"query.service_name": "order", "query.operation_name": "POST /orders", "query.raw_traces": "true"}
        search["query.num_traces"] = "100"
        document = (self.jaeger.get("/api/v3/traces", **search) or {}).get("result", {})
        row = json.dumps(document)
        ids = {str(span["traceId"]) for part in document.get("resourceSpans", []) for span in _spans(part)}
        return [trace for identity in ids if (trace := parse(identity, [row])) is not None]


def _spans(part: dict[str, list[dict[str, list[dict[str, object]]]]]) -> list[dict[str, object]]:
    return [span for scope in part["scopeSpans"] for span in scope["spans"]]


def _has_path(trace: Trace, path: str) -> bool:
    return any(span.attributes.get("url.path") == path for span in trace.spans)


def _calls(trace: Trace, origin: str, method: str) -> list[Span]:
    """CLIENT spans to an origin, in order."""
    return [
        span
        for span in trace.spans
        if span.kind == CLIENT
        and str(span.attributes["url.full"]).startswith(f"{origin}/")
        and span.attributes["http.request.method"] == method
    ]


def _root(trace: Trace) -> Span:
    roots = [span for span in trace.spans if not span.parent_id]
    assert len(roots) == 1
    return roots[0]


@pytest.fixture(scope="module", params=["http/protobuf", "grpc"])
def flow(
    request: pytest.FixtureRequest, jaeger_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flow]:
    folder = tmp_path_factory.mktemp("flow")
    with JaegerServer(jaeger_binary, folder) as jaeger:
        endpoint = jaeger.otlp_grpc if request.param == "grpc" else jaeger.otlp_http
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": request.param}
        environ["HANDRAIL_BLOCKED_LOOP"] = "0"  # a busy machine holds the loops of all: no event of the order's
        yield Flow(jaeger, folder, environ)


def test_every_trace_is_whole(flow: Flow) -> None:
    """One root, no orphan, all services by name, a SERVER span below each CLIENT span that was answered."""
    assert (flow.plain.status_code, flow.first.status_code) == (201, 201)
    for order_id in ("plain", "first", "retried"):
        trace = flow.by_order(order_id)
        ids = {span.span_id for span in trace.spans}
        assert [span.name for span in trace.spans if span.parent_id not in ids] == ["POST /orders"]
        assert set(trace.services) == {"order", "inventory", "payment", "shipping"}
        assert {span.kind for span in trace.spans} == {SERVER, CLIENT}
        served = {span.parent_id for span in trace.spans if span.kind == SERVER and span.parent_id}
        assert served == {span.span_id for span in trace.spans if span.kind == CLIENT}


def test_server_spans_carry_the_full_route(flow: Flow) -> None:
    """Names are method and template, mounts included; the raw path stands in url.path alone."""
    trace = flow.by_order("plain")
    names = {(span.service, span.name) for span in trace.spans if span.kind == SERVER}
    assert names == {
        ("order", "POST /orders"),
        ("inventory", "PUT /reservations/{order_id}"),
        ("payment", "POST /charges"),
        ("shipping", "POST /shipments"),
    }
    for span in trace.spans:
        if span.kind == SERVER:
            assert span.name == f"{span.attributes['http.request.method']} {span.attributes['http.route']}"


def test_attempts_are_siblings(flow: Flow) -> None:
    """A charge that was answered 503 and sent again: two CLIENT spans of one parent, the second counted as a resend."""
    assert flow.retried.status_code == 201, flow.retried.text
    trace = flow.by_order("retried")
    failed, good = _calls(trace, flow.origins["payment"], "POST")
    assert failed.parent_id == good.parent_id == _root(trace).span_id
    assert [span.attributes.get("http.request.resend_count") for span in (failed, good)] == [None, 1]
    assert [span.attributes["http.response.status_code"] for span in (failed, good)] == [503, 201]
    assert [span.status for span in (failed, good)] == [ERROR, UNSET]
    assert failed.attributes["error.type"] == "503"


def test_the_retry_is_an_event_of_the_request(flow: Flow) -> None:
    """The root span tells that there was a retry, why, and after which delay; it is no error."""
    root = _root(flow.by_order("retried"))
    (event,) = root.events
    assert (event.name, root.status) == ("handrail.retry.scheduled", UNSET)
    assert event.attributes["handrail.target"] == flow.origins["payment"]
    assert event.attributes["handrail.operation"] == "POST"
    assert event.attributes["handrail.retry.cause"] == "503"
    assert float(str(event.attributes["handrail.retry.delay"])) >= 0


def test_a_dead_service_is_told_to_customer_and_trace_alike(flow: Flow) -> None:
    """503 as problem details with the id of this trace; in it every attempt, the exhaustion, and the undoing."""
    problem = flow.refused.json()
    assert flow.refused.headers["content-type"] == "application/problem+json"
    assert (flow.refused.status_code, problem["status"], problem["target"]) == (503, 503, flow.origins["shipping"])
    trace = flow.by_order("refused")
    assert trace.trace_id == problem["trace_id"]
    attempts = _calls(trace, flow.origins["shipping"], "POST")
    assert [span.attributes.get("http.request.resend_count") for span in attempts] == [None, 1, 2]
    assert {span.status for span in attempts} == {ERROR}
    assert all(str(span.attributes["error.type"]).endswith("ConnectError") for span in attempts)
    root = _root(trace)
    names = [event.name for event in root.events if event.name.startswith("handrail.")]
    assert names == ["handrail.retry.scheduled", "handrail.retry.scheduled", "handrail.retry.exhausted"]
    assert (root.status, root.attributes["http.response.status_code"]) == (ERROR, 503)
    undone = [span.name for span in trace.spans if span.kind == SERVER and span.name.startswith("DELETE ")]
    assert undone == ["DELETE /charges/{order_id}", "DELETE /reservations/{order_id}"]


def test_the_demo_sends_its_traces_to_a_collector_that_is_set(jaeger_binary: Path, tmp_path: Path) -> None:
    """The demo prints the address of the trace that it shows, and Jaeger has that very trace."""
    with JaegerServer(jaeger_binary, tmp_path) as jaeger:
        done = subprocess.run(
            [sys.executable, "-m", "examples.order_service.demo", "--pace", "0.1"],
            cwd=ROOT,
            env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.otlp_http},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found = re.search(r"http://127\.0\.0\.1:16686/trace/([0-9a-f]{32})$", done.stdout, re.MULTILINE)
        assert found is not None, done.stdout
        document = jaeger.get(f"/api/v3/traces/{found[1]}")["result"]
        trace = parse(found[1], [json.dumps(document)])
    assert trace is not None
    assert set(trace.services) == {"order", "inventory", "payment", "shipping"}
