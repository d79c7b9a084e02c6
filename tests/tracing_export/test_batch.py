"""The processor: bounded in number and memory, asleep while nothing waits, out soon after the last span, fork-safe."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from handrail.tracing.export._batch import Batch
from handrail.tracing.export._bell import Bell
from handrail.tracing.export._guarded import BYTES, SPANS, CountedExporter
from handrail.tracing.export._queue import Limits, Queue, Queued

CONTEXT = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
RESOURCE = Resource({})
BOUND = 60.0


class Books(CountedExporter):
    """Keeps what it is sent; while `gate` is closed an export hangs."""

    def __init__(self, wants: tuple[bool, bool] = SPANS) -> None:
        self.batches: list[list[Queued]] = []
        self.why: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()
        self.threads: set[str] = set()
        self._wants = wants

    @property
    def wants(self) -> tuple[bool, bool]:
        return self._wants

    @property
    def exported(self) -> int:
        return sum(map(len, self.batches))

    @property
    def dropped(self) -> int:
        return len(self.why)

    def send(self, batch: Sequence[Queued]) -> None:
        self.inside.set()
        self.threads.add(threading.current_thread().name)
        self.gate.wait(BOUND)
        self.batches.append(list(batch))

    def lost(self, count: int, why: str, *, tell: bool = False) -> None:
        self.why += [why] * count

    def late(self, seconds: float) -> None:
        pass

    def shutdown(self) -> None:
        self.gate.set()


def span(name: str = "x", attributes: dict[str, str] | None = None) -> ReadableSpan:
    return ReadableSpan(name, CONTEXT, resource=RESOURCE, attributes=attributes, start_time=1, end_time=2)


@contextmanager
def batch(books: Books, **limits: float) -> Iterator[Batch]:
    made = Batch(books, Limits(**limits))  # type: ignore[arg-type]  # numbers of both kinds
    try:
        yield made
    finally:
        books.gate.set()
        made.stop(5)


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + BOUND
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < ends
        pause.wait(0.005)


def test_nothing_runs_before_the_first_span() -> None:
    """No thread for a service without spans; then one, which exports what is flushed."""
    books = Books()
    with batch(books, delay=60.0, idle=60.0) as processor:
        assert processor._thread is None
        assert processor.force_flush(0)
        processor.on_end(span())
        assert processor.force_flush(60_000)
        assert books.exported == 1
        assert books.threads == {"handrail-export"}


def test_spans_leave_soon_after_the_last_one() -> None:
    """A machine that is suspended when idle loses nothing: half a second is enough, whatever the schedule says."""
    books = Books()
    with batch(books, delay=60.0) as processor:
        began = time.monotonic()
        processor.on_end(span())
        until(lambda: books.exported == 1)
        assert 0.4 < time.monotonic() - began < 30


def test_a_full_batch_leaves_at_once() -> None:
    """Neither the schedule nor the quiet is waited for; the rest stays for later."""
    books = Books()
    with batch(books, delay=60.0, idle=60.0, batch=4) as processor:
        for _ in range(6):
            processor.on_end(span())
        until(lambda: books.exported == 4)
        assert [len(sent) for sent in books.batches] == [4]


def test_the_schedule_holds_while_spans_keep_coming() -> None:
    """OTEL_BSP_SCHEDULE_DELAY bounds the wait also where it is never quiet."""
    books = Books()
    with batch(books, delay=0.2, idle=60.0) as processor:
        processor.on_end(span())
        until(lambda: books.exported == 1)


def test_the_thread_sleeps_while_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one wake-up without spans: once all is out the thread waits for its bell without a limit."""
    waits: list[float] = []

    class Spied(Bell):
        def wait(self, seconds: float = -1) -> bool:
            waits.append(seconds)
            return super().wait(seconds)

    monkeypatch.setattr("handrail.tracing.export._batch.Bell", Spied)
    books = Books()
    with batch(books, idle=0.02) as processor:
        for count in (1, 2):
            processor.on_end(span())
            until(lambda count=count: books.exported == count and waits[-1] == -1)  # type: ignore[misc]  # a bound copy
    assert [seconds for seconds in waits if seconds >= 0] == [0.01] * 6


def test_the_queue_is_bounded_in_number() -> None:
    """What does not fit is counted with its reason, and costs no encoding."""
    books = Books(BYTES)
    with batch(books, size=3, batch=1) as processor:
        books.gate.clear()
        processor.on_end(span())
        assert books.inside.wait(BOUND)
        for _ in range(5):
            processor.on_end(span())
        assert books.why == ["more spans than the queue holds (OTEL_BSP_MAX_QUEUE_SIZE)"] * 2


@pytest.mark.parametrize("wants", [BYTES, SPANS], ids=["bytes", "spans"])
def test_the_queue_is_bounded_in_memory(wants: tuple[bool, bool]) -> None:
    """Large spans fill it long before their number does, in whichever form they are kept; taken ones make room."""
    queue = Queue(Limits(size=1000, size_bytes=100_000))
    queue.encodes, queue.keeps = wants
    large = span(attributes={"text": "x" * 10_000})
    taken = 0
    while queue.put(large):
        taken += 1
    assert 8 <= taken <= 10
    assert queue.full == "queue_max_bytes"
    while queue.take():
        pass
    assert queue.put(large)


def test_a_batch_is_bounded_in_bytes() -> None:
    """Collectors refuse large gRPC messages: large spans make small batches, one that is too large goes alone."""
    queue = Queue(Limits(batch=100, batch_bytes=25_000))
    queue.encodes, queue.keeps = BYTES
    for size in (10_000, 10_000, 10_000, 90_000, 1):
        queue.put(span(attributes={"text": "x" * size}))
    assert [len(queue.take()) for _ in range(4)] == [2, 1, 1, 1]
    assert queue.take() == []


def test_a_span_that_cannot_be_encoded() -> None:
    """It is counted, and the request that made it sees nothing."""
    books = Books(BYTES)
    with batch(books) as processor:
        processor.on_end(ReadableSpan("x", CONTEXT, start_time=-1, end_time=2))
        (why,) = books.why
        assert why.startswith("a span cannot be encoded: error: ")


def test_a_span_that_is_not_sampled() -> None:
    """It is not exported, as the specification has it; nor is one without a context."""
    books = Books()
    with batch(books) as processor:
        processor.on_end(ReadableSpan("x", SpanContext(1, 2, is_remote=False)))
        processor.on_end(ReadableSpan("x"))
        assert processor.force_flush(0)
        assert (books.exported, books.dropped) == (0, 0)


def test_a_flush_is_bounded() -> None:
    """False in time while the exporter hangs; True when all is out."""
    books = Books()
    with batch(books, delay=60.0, idle=60.0) as processor:
        books.gate.clear()
        processor.on_end(span())
        began = time.monotonic()
        assert not processor.force_flush(50)
        assert time.monotonic() - began < 20
        books.gate.set()
        assert processor.force_flush(60_000)
        assert books.exported == 1


def test_an_end_is_bounded_and_counts_what_is_left() -> None:
    """With an exporter that hangs, the end takes its time and no more; what never left is counted."""
    books = Books()
    shut = threading.Event()
    books.shutdown = shut.set  # type: ignore[method-assign]  # it does not even react to its end
    processor = Batch(books, Limits(batch=1))
    books.gate.clear()
    for _ in range(4):
        processor.on_end(span())
    assert books.inside.wait(BOUND)
    began = time.monotonic()
    processor.stop(0.1)
    assert time.monotonic() - began < 20
    assert shut.is_set()
    processor.on_end(span())
    processor.stop(30)
    assert books.why == ["the process ended before they left"] * 3 + ["a span came after the end of tracing"]
    books.gate.set()


def test_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 starts none at exit: the flush and the end do the work themselves."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    books = Books()
    processor = Batch(books, Limits())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    processor.on_end(span())
    assert processor.force_flush(0)
    processor.on_end(span())
    processor.stop(1)
    assert books.exported == 2


def test_spans_of_many_threads() -> None:
    """Eight threads at once: each span arrives, and once."""
    books = Books()
    with batch(books, size=100_000, batch=64, idle=0.05) as processor:

        def work(number: int) -> None:
            for each in range(500):
                processor.on_end(span(f"{number}-{each}"))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert processor.force_flush(60_000)
        names = [item[3].name for sent in books.batches for item in sent if item[3] is not None]
        assert len(names) == len(set(names)) == 4000
        assert processor._queue.added == processor._queue._taken


def test_a_fork_begins_anew() -> None:
    """What waits in the parent leaves from the parent alone; the child has a thread of its own and its own counts."""
    books = Books()
    with batch(books, delay=60.0, idle=60.0) as processor:
        processor.on_end(span("parent"))
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            processor.on_end(span("child"))
            arrived = processor.force_flush(60_000)
            names = [item[3].name for sent in books.batches for item in sent if item[3] is not None]
            os.write(writing, repr((arrived, names)).encode())
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert os.read(reading, 1000) == b"(True, ['child'])"
        os.close(reading)
        os.close(writing)
        assert processor.force_flush(60_000)
        assert books.exported == 1


def test_what_is_exported_is_not_traced() -> None:
    """An instrumented `requests` makes no spans for the exports: they would never end."""
    seen: list[bool] = []

    class Asking(Books):
        def send(self, batch: Sequence[Queued]) -> None:
            from opentelemetry.instrumentation.utils import is_instrumentation_enabled

            seen.append(is_instrumentation_enabled())

    with batch(Asking()) as processor:
        processor.on_end(span())
        processor.force_flush(60_000)
    assert seen == [False]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Limits(size_bytes=7)),
        (
            {
                "OTEL_BSP_MAX_QUEUE_SIZE": "10",
                "OTEL_BSP_SCHEDULE_DELAY": "200",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5",
            },
            Limits(size=10, size_bytes=7, batch=5, delay=0.2),
        ),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0", "OTEL_BSP_SCHEDULE_DELAY": "soon"}, Limits(size_bytes=7)),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, Limits(size=100, size_bytes=7, batch=100)),
    ],
)
def test_limits_from_the_environment(environ: dict[str, str], expected: Limits) -> None:
    """OTEL_BSP_*; what is no positive number counts as unset, and a batch is no larger than the queue."""
    assert Limits.from_environ(environ, size_bytes=7) == expected


def test_the_context_of_the_sdk_is_enough(caplog: pytest.LogCaptureFixture) -> None:
    """A provider with this processor: spans of a remote parent arrive, unsampled ones do not, and nothing is logged."""
    caplog.set_level(logging.DEBUG)
    books = Books(BYTES)
    with batch(books) as processor:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        for flags in (0, 1):
            parent = SpanContext(5, 6, is_remote=True, trace_flags=TraceFlags(flags))
            provider.get_tracer("t").start_span("x", set_span_in_context(NonRecordingSpan(parent))).end()
        assert provider.force_flush(60_000)
    assert books.exported == 1
    assert caplog.records == []
