"""Orders that go well, badly and not at all, in four real processes that export to a real Jaeger."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from examples.order_service.fleet import Fleet
from examples.order_service.load import CARD
from handrail.tracing.local.read import Span, Trace, parse
from tests.deploy.jaeger_server import JaegerServer

__all__ = ["CLIENT", "ERROR", "INTERNAL", "SERVER", "UNSET", "Answer", "Story", "calls", "read", "root"]

INTERNAL, SERVER, CLIENT = 1, 2, 3
UNSET, ERROR = 0, 2
ENVIRON = {
    "HANDRAIL_ATTEMPT_TIMEOUT": "3",  # what a busy machine needs for an ordinary call counts as no timeout
    "HANDRAIL_TOTAL_TIMEOUT": "20",
    "HANDRAIL_BACKOFF_BASE": "0.01",
    "HANDRAIL_BREAKER_MINIMUM_CALLS": "8",
    "HANDRAIL_BREAKER_WINDOW": "60",
    "HANDRAIL_BREAKER_OPEN_FOR": "60",
    "HANDRAIL_IDEMPOTENCY_KEYS": "off",  # a shipment without a key is not asked for twice
    "HANDRAIL_DEADLINE_CANCEL": "false",  # what hangs shall hang: its own 504 would race with its caller's timeout
    "HANDRAIL_BLOCKED_LOOP": "0",  # a busy machine holds the loops of all: no event of the orders
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the customer got. `parent` is the span id that was sent as traceparent, "" where none was."""

    order_id: str
    response: httpx.Response
    trace_id: str
    parent: str

    @property
    def problem(self) -> dict[str, Any]:
        """The problem details of the answer."""
        found: dict[str, Any] = self.response.json()
        return found


class Story:
    """Plays the orders once and ends the services; what they had to say is in Jaeger by then."""

    def __init__(self, jaeger: JaegerServer, folder: Path, protocol: str) -> None:
        self.jaeger = jaeger
        endpoint = jaeger.otlp_grpc if protocol == "grpc" else jaeger.otlp_http
        otlp = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        with Fleet(folder, {**ENVIRON, **otlp}) as fleet:
            self.origins = {name: f"http://127.0.0.1:{port}" for name, port in fleet.ports.items()}
            # calls of payment are counted: two go well, the third gets a 503, the answer of the fourth breaks off
            fleet.fault("payment", error_every=3, reset_every=4, paths=["/charges"])
            self.healthy = self._place()
            self._place()
            self.retried = self._place()
            fleet.fault("payment")
            fleet.fault("shipping", hang_every=1)
            self.timed_out = self._place()
            fleet.stop("shipping")
            self.dead = self._place(known=False)
            # of eight shipments five have failed by the first attempt of this one: the breaker opens
            self.opening = self._place(known=False)
            self.rejected = self._place(known=False)

    def _place(self, *, known: bool = True) -> Answer:
        order_id = f"order-{secrets.token_hex(8)}"
        order = {"order_id": order_id, "sku": "bolt", "quantity": 1, "amount": 900, "card": CARD}
        trace_id, parent = (secrets.token_hex(16), secrets.token_hex(8)) if known else ("", "")
        headers = {"traceparent": f"00-{trace_id}-{parent}-01"} if known else {}
        url = f"{self.origins['order']}/orders"
        answer = httpx.post(url, json=order, headers=headers, timeout=90, trust_env=False)
        return Answer(order_id, answer, trace_id or answer.json()["trace_id"], parent)

    def trace(self, answer: Answer, spans: int) -> Trace:
        """The trace of an order, once Jaeger has as many spans of it; more than that fails."""
        return read(self.jaeger, answer.trace_id, spans)


def read(jaeger: JaegerServer, trace_id: str, spans: int) -> Trace:
    """A trace as it was stored, once it has that many spans; more fail, a span that came twice too."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = [jaeger.get(f"/api/v3/traces/{trace_id}", rawTraces="true") or {}]
        return _count(found[0]) >= spans

    jaeger.wait(look)
    trace = parse(trace_id, [json.dumps(found[0]["result"])])
    assert trace is not None
    assert (len(trace.spans), _count(found[0])) == (spans, spans), [(s.service, s.name) for s in trace.spans]
    return trace


def _count(document: dict[str, Any]) -> int:
    parts = document.get("result", {}).get("resourceSpans", [])
    return sum(len(scope["spans"]) for part in parts for scope in part["scopeSpans"])


def root(trace: Trace, answer: Answer) -> Span:
    """The only span whose parent is the customer's (or none), and the parent of all others is in the trace."""
    ids = {span.span_id for span in trace.spans}
    (found,) = [span for span in trace.spans if span.parent_id not in ids]
    assert found.parent_id == answer.parent
    assert (found.service, found.name, found.kind) == ("order", "POST /orders", SERVER)
    return found


def calls(trace: Trace, origin: str, method: str) -> list[Span]:
    """The attempts to an origin, in order of their start."""
    return [
        span
        for span in trace.spans
        if span.kind == CLIENT
        and str(span.attributes["url.full"]).startswith(f"{origin}/")
        and span.attributes["http.request.method"] == method
    ]
