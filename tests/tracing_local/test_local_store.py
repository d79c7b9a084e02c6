"""The local store: OTLP JSON lines, bounded, several writers, and read back whatever the state of its files."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from handrail.tracing.local.lines import lines
from handrail.tracing.local.read import Trace, read
from handrail.tracing.local.store import LocalSpanExporter, LocalStore

MIB = 1 << 20


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files of all stores are closed after the test."""
    made: list[LocalStore] = []
    plain = LocalStore.__init__

    def noted(store: LocalStore, folder: Path, *, max_bytes: int) -> None:
        plain(store, folder, max_bytes=max_bytes)
        made.append(store)

    monkeypatch.setattr(LocalStore, "__init__", noted)
    yield
    for store in made:
        store.close()


def _span(
    service: str = "order", name: str = "GET", parent: ReadableSpan | None = None, start: int = 1000
) -> ReadableSpan:
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    context = set_span_in_context(parent) if parent is not None else None  # type: ignore[arg-type]  # an SDK span is both
    span = provider.get_tracer("test", "1.2").start_span(name, context, SpanKind.SERVER, start_time=start)
    span.end(start + 500)
    assert isinstance(span, ReadableSpan)
    return span


def _names(traces: Sequence[Trace]) -> list[list[str]]:
    return [[span.name for span in trace.spans] for trace in traces]


def _resources(span: ReadableSpan) -> list[object]:
    found = json.loads(lines([span])[0])["resourceSpans"]
    assert isinstance(found, list)
    return found


def test_encoding_of_a_span() -> None:
    """Ids in hex, kinds and states as numbers, 64-bit integers as strings: OTLP/JSON, as Jaeger's upload reads it."""
    provider = TracerProvider(resource=Resource({"service.name": "order"}), shutdown_on_exit=False)
    carrier = {"traceparent": f"00-{'4b' * 16}-{'00f0' * 4}-01", "tracestate": "a=1"}
    linked = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
    span = provider.get_tracer("test", "1.2").start_span(
        "GET /items/{id}",
        TraceContextTextMapPropagator().extract(carrier),
        SpanKind.SERVER,
        attributes={"text": "x\n\udc80", "whole": 2**60, "real": 0.5, "yes": True, "list": [1, 2]},
        links=[Link(linked, {"why": "because"})],
        start_time=1_000_000_000_000_000_001,
    )
    span.add_event("boom", {"n": 1}, 1_000_000_000_000_000_002)
    span.set_status(StatusCode.ERROR, "it broke")
    span.end(1_000_000_000_000_000_003)
    assert isinstance(span, ReadableSpan)
    (line,) = lines([span])
    assert b"\n" not in line
    assert span.context is not None
    assert json.loads(line) == {
        "resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "order"}}]},
            "scopeSpans": [{
                "scope": {"name": "test", "version": "1.2"},
                "spans": [{
                    "traceId": "4b" * 16,
                    "spanId": f"{span.context.span_id:016x}",
                    "parentSpanId": "00f0" * 4,
                    "traceState": "a=1",
                    "flags": 0x301,
                    "name": "GET /items/{id}",
                    "kind": 2,
                    "startTimeUnixNano": "1000000000000000001",
                    "endTimeUnixNano": "1000000000000000003",
                    "attributes": [
                        {"key": "text", "value": {"stringValue": "x\n\udc80"}},
                        {"key": "whole", "value": {"intValue": str(2**60)}},
                        {"key": "real", "value": {"doubleValue": 0.5}},
                        {"key": "yes", "value": {"boolValue": True}},
                        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"intValue": "2"}]}}},
                    ],
                    "events": [{
                        "timeUnixNano": "1000000000000000002",
                        "name": "boom",
                        "attributes": [{"key": "n", "value": {"intValue": "1"}}],
                    }],
                    "links": [{
                        "traceId": f"{1:032x}",
                        "spanId": f"{2:016x}",
                        "attributes": [{"key": "why", "value": {"stringValue": "because"}}],
                    }],
                    "status": {"code": 2, "message": "it broke"},
                }],
            }],
        }]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (-float("inf"), "-Infinity")]
)
def test_numbers_that_json_lacks(value: float, text: str) -> None:
    """NaN and the infinities are written as protobuf's JSON spells them; a bare NaN is no JSON."""
    span = _span()
    attributes = dict(span.attributes or {}) | {"odd": value}
    odd = ReadableSpan("odd", span.context, attributes=attributes, resource=span.resource)
    assert f'"doubleValue":"{text}"'.encode() in lines([odd])[0]


def test_one_line_for_each_trace(tmp_path: Path) -> None:
    """Spans of one trace share a line, traces do not: whoever uploads one trace takes its lines."""
    root = _span()
    exporter = LocalSpanExporter(tmp_path, max_bytes=MIB)
    exporter.export([root, _span(name="other"), _span(name="child", parent=root, start=1100)])
    (file,) = tmp_path.iterdir()
    assert len(file.read_text().splitlines()) == 2
    assert sorted(_names(read(tmp_path))) == [["GET", "child"], ["other"]]


def test_a_trace_is_joined_over_the_files_of_all_services(tmp_path: Path) -> None:
    """Each writer has a file of its own; the reader joins them by trace id, in order of start."""
    root = _span("order", "POST /orders")
    child = _span("payment", "POST /charges", root, start=1200)
    for span in (root, child):
        LocalSpanExporter(tmp_path, max_bytes=MIB).export([span])
    assert len(list(tmp_path.iterdir())) == 2
    (trace,) = read(tmp_path)
    assert [(span.service, span.name) for span in trace.spans] == [
        ("order", "POST /orders"),
        ("payment", "POST /charges"),
    ]
    assert trace.services == ("order", "payment")
    assert trace.otlp() == {"resourceSpans": [*_resources(root), *_resources(child)]}


def test_newest_first_and_limits(tmp_path: Path) -> None:
    """`read` gives the newest traces first, at most as many as asked for, by id prefix, and those `keep` wants."""
    spans = [_span(name=f"s{number}", start=1000 * number) for number in range(1, 5)]
    LocalSpanExporter(tmp_path, max_bytes=MIB).export(spans)
    assert _names(read(tmp_path, limit=2)) == [["s4"], ["s3"]]
    assert _names(read(tmp_path, keep=lambda trace: trace.start < 3000)) == [["s2"], ["s1"]]
    assert spans[0].context is not None
    assert _names(read(tmp_path, trace_id=f"{spans[0].context.trace_id:032x}"[:12])) == [["s1"]]


ODD = b'{"resourceSpans":[5,{"scopeSpans":[null,{"spans":[7,{"traceId":"' + b"a" * 32 + b'","kind":"x"}]}]}]}\n'


@pytest.mark.parametrize("spoil", [
    lambda data: data[:-40],
    lambda data: data + b'{"resourceSpans":[{"traceId":"',
    lambda data: data + b"\xff\xfe\n[]\n5\nnull\n",
    lambda data: data + ODD,
])  # fmt: skip
def test_torn_and_foreign_lines(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """A writer that died in the middle of a line, or something that is not ours, costs that line alone."""
    LocalSpanExporter(tmp_path, max_bytes=MIB).export([_span(name="whole", start=5)])
    exporter = LocalSpanExporter(tmp_path, max_bytes=MIB)
    exporter.export([_span(name="spoilt", start=3)])
    spoilt = max(tmp_path.iterdir())
    spoilt.write_bytes(spoil(spoilt.read_bytes()))
    assert ["whole"] in _names(read(tmp_path))


def test_an_absent_folder_holds_nothing(tmp_path: Path) -> None:
    """Reading before anything was written is no error."""
    assert read(tmp_path / "none") == []


def test_all_files_together_stay_within_the_bound(tmp_path: Path) -> None:
    """Whatever is written by however many processes, the oldest files go before the bound is passed."""
    stores = [LocalStore(tmp_path, max_bytes=4000) for _ in range(3)]
    for number in range(400):
        stores[number % 3].append([b"%03d %b" % (number, b"x" * 60)])
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4000
    kept = sorted(int(line[:3]) for path in tmp_path.iterdir() for line in path.read_text().splitlines())
    assert kept[-1] == 399
    assert kept[0] > 330
    assert len(kept) >= 25


def test_a_file_that_another_process_deleted(tmp_path: Path) -> None:
    """The writer notices that its file is gone and begins a new one: nothing goes into the void."""
    store = LocalStore(tmp_path, max_bytes=MIB)
    store.append([b"one"])
    next(tmp_path.iterdir()).unlink()
    store.append([b"two"])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["two\n"]


def test_many_small_files(tmp_path: Path) -> None:
    """Short-lived processes leave a file each: their number is bounded as well."""
    for number in range(520):
        (tmp_path / f"{number:04d}.jsonl").write_text("old\n")
    LocalStore(tmp_path, max_bytes=MIB).append([b"new"])
    assert len(list(tmp_path.iterdir())) <= 513


def test_a_forked_child_writes_its_own_file(tmp_path: Path) -> None:
    """A descriptor inherited by a fork belongs to the parent: two processes never share a file."""
    store = LocalStore(tmp_path, max_bytes=MIB)
    store.append([b"parent"])
    pid = os.fork()
    if pid == 0:
        store.append([b"child"])
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    store.append([b"parent again"])
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["child\n", "parent\nparent again\n"]


def test_files_are_for_their_owner(tmp_path: Path) -> None:
    """Spans hold URLs: the folder and its files are private to the user."""
    folder = tmp_path / "new" / "traces"
    LocalStore(folder, max_bytes=MIB).append([b"x"])
    assert folder.stat().st_mode & 0o077 == 0
    assert next(folder.iterdir()).stat().st_mode & 0o077 == 0


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills up in the middle of a write, the file ends where it ended before; later it works again."""
    store = LocalStore(tmp_path, max_bytes=MIB)
    store.append([b"whole"])
    write = os.write

    def fill_up(descriptor: int, data: memoryview) -> int:
        if len(data) > 3:
            return write(descriptor, data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fill_up)
    with pytest.raises(OSError, match="No space left"):
        store.append([b"abcde"])
    monkeypatch.undo()
    store.append([b"later"])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole\nlater\n"]


def test_more_than_the_store_holds(tmp_path: Path) -> None:
    """A batch that is larger than the whole store is refused, and what is there stays."""
    store = LocalStore(tmp_path, max_bytes=1000)
    store.append([b"small"])
    with pytest.raises(OSError, match="do not fit"):
        store.append([b"x" * 1000])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["small\n"]
