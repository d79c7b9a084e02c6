"""Collectors that are dead, slow, lying or partial: what arrived counts as such, all else as lost, and is told once."""

import gzip
import json
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # it has no types, and no stubs are installed
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as StockGrpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as StockHttp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from handrail.tracing.export import _otlp_grpc, _otlp_http
from handrail.tracing.export._batch import Batch
from handrail.tracing.export._guarded import BOTH, BYTES, SPANS, CountedExporter, GuardedExporter
from handrail.tracing.export._queue import Limits, Queue
from handrail.tracing.export.build import build
from handrail.tracing.settings import TracingSettings

RESOURCE = Resource({"service.name": "order"})
PROTOBUF = "application/x-protobuf"


def span(name: str = "x") -> ReadableSpan:
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
    return ReadableSpan(name, context, resource=RESOURCE, start_time=1, end_time=2)


class Collector:
    """Answers each request with the next of `answers`, the last one for ever: (status, headers, body)."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    @property
    def names(self) -> list[str]:
        return [
            each.name
            for _, body in self.requests
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for each in scope.spans
        ]


@contextmanager
def collector(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Collector]:
    made = Collector(*answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status, headers, answer = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
            self.send_response(status)
            for name, value in {"content-length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)
            if int(headers.get("content-length", len(answer))) != len(answer):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        yield made
        server.shutdown()
        thread.join()


def exporter(url: str, tmp_path: Path, protocol: str = "http/protobuf") -> CountedExporter:
    made = build(
        TracingSettings(service_name="x", store=tmp_path, exporters=("otlp",), endpoint=url, protocol=protocol)  # type: ignore[arg-type]  # one of the two
    )
    assert made is not None
    return made


def send(made: CountedExporter, count: int = 3) -> None:
    """Hand spans over as the processor does."""
    queue = Queue(Limits())
    queue.encodes, queue.keeps = made.wants
    for number in range(count):
        queue.put(span(f"s{number}"))
    made.send(queue.take())


def partial(rejected: int, why: str) -> bytes:
    told = ExportTracePartialSuccess(rejected_spans=rejected, error_message=why)
    return bytes(ExportTraceServiceResponse(partial_success=told).SerializeToString())


OK: tuple[int, dict[str, str], bytes] = (200, {"content-type": PROTOBUF}, b"")


def test_what_is_sent_is_what_the_stock_exporter_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers, compression and body, from the same variables; and the connection is used again."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with collector(OK) as there:
        made = exporter(there.url, tmp_path)
        send(made)
        send(made)
        StockHttp(endpoint=there.url).export([span(f"s{number}") for number in range(3)])
        made.shutdown()
    (ours, body), _, (theirs, expected) = there.requests
    assert ours["authorization"] == "Bearer t"
    assert {**ours, "content-length": ""} == {**theirs, "content-length": ""}
    assert gzip.decompress(body) == gzip.decompress(expected)
    assert (made.exported, made.dropped) == (6, 0)


LIES: dict[str, tuple[tuple[int, dict[str, str], bytes], int, str]] = {
    "takes some": ((200, {"content-type": PROTOBUF}, partial(2, "too old")), 2, "refused by the collector: too old"),
    "takes some, in JSON": (
        (
            200,
            {"content-type": "application/json; charset=utf-8"},
            json.dumps({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "no"}}).encode(),
        ),
        1,
        "refused by the collector: no",
    ),
    "refuses more than there were": ((200, {"content-type": PROTOBUF}, partial(99, "")), 3, "no reason given"),
    "a warning alone": ((200, {"content-type": PROTOBUF}, partial(0, "slow down")), 0, ""),
    "a web page": ((200, {"content-type": "text/html"}, b"<html>"), 3, "no collector listens there"),
    "garbage": ((200, {"content-type": PROTOBUF}, b"\xff\xff\xff"), 3, "not OTLP"),
    "garbage in JSON": ((200, {"content-type": "application/json"}, b"[1]"), 3, "not OTLP"),
    "plain words": ((200, {"content-type": "text/plain"}, b"ok"), 0, ""),
    "breaks off in the answer": ((200, {"content-type": PROTOBUF, "content-length": "500"}, b"\x0a"), 0, ""),
    "an endless answer": ((200, {"content-type": PROTOBUF}, b"\x00" * 300_000), 0, ""),
    "a redirect": ((302, {"location": "/elsewhere"}, b""), 3, "answered 302"),
    "400": ((400, {}, b"bad"), 3, "answered 400"),
    "413": ((413, {}, b""), 3, "answered 413"),
    "500": ((500, {}, b""), 3, "answered 500"),
}


@pytest.mark.parametrize("kind", LIES)
def test_answers(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each is asked once, told once, and its losses are counted; nothing raises."""
    answer, lost, said = LIES[kind]
    caplog.set_level(logging.WARNING)
    with collector(answer) as there:
        made = exporter(there.url, tmp_path)
        send(made)
        send(made)
        made.shutdown()
    assert (made.exported, made.dropped) == (2 * (3 - lost), 2 * lost)
    assert len(there.requests) == 2
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (1 if lost else 0), messages
    assert all(said in message and there.url in message for message in messages)
    assert [entry.count for entry in made.losses()] == ([2 * lost] if lost else [])


def test_a_busy_collector_is_asked_again(tmp_path: Path) -> None:
    """429 with Retry-After: the same spans once more, after the time that it asked for."""
    with collector((429, {"retry-after": "0"}, b""), OK) as there:
        made = exporter(there.url, tmp_path)
        send(made)
    assert (made.exported, made.dropped, len(there.requests)) == (3, 0, 2)
    assert there.requests[0][1] == there.requests[1][1]


def test_a_collector_that_is_busy_for_too_long(tmp_path: Path) -> None:
    """429 with a Retry-After beyond the exporter's timeout is a loss at once: the queue must not wait for it."""
    with collector((429, {"retry-after": "3600"}, b"")) as there:
        made = exporter(there.url, tmp_path)
        send(made)
    assert (made.exported, made.dropped, len(there.requests)) == (0, 3, 1)


def test_a_batch_beyond_the_limit_of_the_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter's own bound for a request holds, and says its numbers."""
    with collector(OK) as there:
        made = exporter(there.url, tmp_path)
        send(made)
        monkeypatch.setattr(made._inner, "_max_request_size", 10)  # type: ignore[attr-defined]  # the SDK's
        send(made)
    assert (made.exported, made.dropped) == (3, 3)
    assert "larger than the exporter's 10" in made.losses()[0].reason


def test_credentials_of_the_url_are_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """User, password and query of the endpoint stay out of the log and of what doctor reads."""
    with collector((400, {}, b"")) as there:
        made = exporter(there.url.replace("http://", "http://user:secret@") + "?token=secret", tmp_path)
        send(made)
    assert there.requests[0][0]["authorization"].startswith("Basic ")
    assert "secret" not in caplog.text
    assert "secret" not in repr(made.losses())


class _Service(TraceServiceServicer):
    def __init__(self, answer: ExportTraceServiceResponse | None) -> None:
        self.answer = answer
        self.names: list[str] = []

    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802  (gRPC's name)
        self.names += [
            each.name for resource in request.resource_spans for scope in resource.scope_spans for each in scope.spans
        ]
        if self.answer is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such thing")
            raise AssertionError
        return self.answer


@pytest.mark.parametrize(
    ("answer", "lost", "said"),
    [
        (ExportTraceServiceResponse(), 0, ""),
        (ExportTraceServiceResponse.FromString(partial(1, "too long")), 1, "refused by the collector: too long"),
        (None, 3, "INVALID_ARGUMENT"),
    ],
    ids=["takes all", "takes some", "refuses"],
)
def test_grpc(
    answer: ExportTraceServiceResponse | None, lost: int, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The encoded bytes go out as they are, answers are read, and losses are counted."""
    service = _Service(answer)
    server = grpc.server(futures.ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        made = exporter(f"http://127.0.0.1:{port}", tmp_path, "grpc")
        send(made)
        assert made.wants == BYTES
        made.shutdown()
    finally:
        server.stop(None).wait(10)
    assert service.names == ["s0", "s1", "s2"]
    assert (made.exported, made.dropped) == (3 - lost, lost)
    assert said in caplog.text


@pytest.mark.parametrize("missing", ["_client", "_metrics", "_max_request_size"])
def test_another_sdk_over_http(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SDK's exporter is made otherwise, it exports itself: the spans of the first batch are there too."""

    class Strange(_otlp_http.HttpSender):
        def __init__(self, endpoint: str | None) -> None:
            StockHttp.__init__(self, endpoint=endpoint)
            delattr(self, missing)
            monkeypatch.setattr(StockHttp, "__init__", lambda *_, **__: None)
            try:
                super().__init__(endpoint)
            finally:
                monkeypatch.undo()

    monkeypatch.setattr(_otlp_http, "HttpSender", Strange)
    with collector(OK) as there:
        made = exporter(there.url, tmp_path)
        assert made.wants == BOTH
        send(made)
        assert made.wants == SPANS
        send(made)
        assert there.names == ["s0", "s1", "s2"] * 2
    assert (made.exported, made.dropped) == (6, 0)


def test_another_sdk_over_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for gRPC."""

    def strange(endpoint: str | None) -> None:
        raise AttributeError("_channel")

    monkeypatch.setattr(_otlp_grpc, "GrpcSender", strange)
    made = _otlp_grpc.exporter("http://127.0.0.1:1")
    assert type(made) is StockGrpc
    made.shutdown()


def test_several_exporters_get_what_each_wants(tmp_path: Path) -> None:
    """A collector and the local store beside each other: bytes for one, spans for the other."""
    with collector(OK) as there:
        settings = TracingSettings(
            service_name="x", store=tmp_path, exporters=("otlp", "local"), endpoint=there.url, protocol="http/protobuf"
        )
        made = build(settings)
        assert made is not None
        processor = Batch(made)
        processor.on_end(span("a"))
        assert processor.force_flush(60_000)
        processor.on_end(span("b"))
        processor.shutdown()
        assert there.names == ["a", "b"]
    (file,) = tmp_path.glob("*.jsonl")
    assert file.read_text().count('"name":"a"') == file.read_text().count('"name":"b"') == 1
    assert (made.exported, made.dropped) == (2, 0)


def test_a_loss_before_the_exporter_is_told_with_it(caplog: pytest.LogCaptureFixture) -> None:
    """A span that cannot be encoded: one line, also where a thousand follow."""
    made = GuardedExporter(lambda: StockHttp(endpoint="http://127.0.0.1:1"), "http://c", encoded=True)
    processor = Batch(made)
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
    for _ in range(1000):
        processor.on_end(ReadableSpan("x", context, resource=RESOURCE, start_time=-1, end_time=2))
    processor.shutdown()
    (record,) = caplog.records
    assert "a span cannot be encoded" in record.getMessage()
    assert made.dropped == 1000


def test_a_collector_that_never_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It takes the connection and says nothing: the end keeps its limit, and the spans are counted as lost."""
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        there.listen(8)
        made = exporter(f"http://127.0.0.1:{there.getsockname()[1]}/v1/traces", tmp_path)
        processor = Batch(made, flush_timeout=0.1)
        for _ in range(5):
            processor.on_end(span())
        processor.shutdown()
    (record,) = caplog.records
    assert "5 waiting" in record.getMessage()
    assert (made.exported, made.dropped) == (0, 5)
