"""A worker that a request happens to start does not stay in that request's trace for ever."""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import handrail
from handrail.tracing import context
from handrail.tracing.context._lent import LENT_FOR, Lent, lend
from handrail.tracing.testing import Spans
from tests.wiring.asgi_drive import request


class Worker:
    """A thread that does what it is told, started inside a span."""

    def __init__(self) -> None:
        self.told: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self.answers: SimpleQueue[Any] = SimpleQueue()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while (act := self.told.get()) is not None:
            self.answers.put(act())
            del act

    def ask(self, act: Callable[[], Any]) -> Any:
        self.told.put(act)
        return self.answers.get(timeout=60)

    def stop(self) -> None:
        self.told.put(None)
        self.thread.join()


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let so much time pass."""
    now, monotonic = time.time_ns, time.monotonic
    monkeypatch.setattr(time, "time_ns", lambda: now() + int(seconds * 1e9))
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + seconds)


def parent_of(worker: Worker, tracer: Tracer) -> SpanContext | None:
    span = worker.ask(lambda: tracer.start_span("work"))
    span.end()
    parent: SpanContext | None = span.parent
    return parent


def test_a_worker_leaves_the_trace_of_its_starter(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work of the thread is in the request's trace for 60 s after the request, and in traces of its own then."""
    with tracer.start_as_current_span("request") as span:
        worker = Worker()
        assert parent_of(worker, tracer) == span.get_span_context()
        later(monkeypatch, LENT_FOR + 1)  # a long request: the time counts from its end
        assert parent_of(worker, tracer) == span.get_span_context()
    monkeypatch.undo()
    assert parent_of(worker, tracer) == span.get_span_context()
    later(monkeypatch, LENT_FOR - 1)
    assert parent_of(worker, tracer) == span.get_span_context()
    monkeypatch.undo()
    later(monkeypatch, LENT_FOR + 1)
    assert parent_of(worker, tracer) is None
    monkeypatch.undo()
    assert parent_of(worker, tracer) is None
    assert worker.ask(handrail.capture) == {}
    worker.stop()


def test_a_worker_of_an_unsampled_request_is_sampled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread does not inherit the decision not to sample for ever."""
    kept = Spans(ParentBased(TraceIdRatioBased(1), local_parent_not_sampled=ALWAYS_OFF))
    tracer = kept.provider.get_tracer("service")
    undo = context.install()
    unsampled = trace.NonRecordingSpan(SpanContext(1, 2, False, trace.TraceFlags(0)))
    with trace.use_span(unsampled):
        worker = Worker()
    assert not worker.ask(lambda: tracer.start_span("work")).is_recording()
    later(monkeypatch, LENT_FOR + 1)
    assert worker.ask(lambda: tracer.start_span("work")).is_recording()
    worker.stop()
    undo()


def test_a_thread_does_not_hold_the_request(spans: Spans) -> None:
    """What belongs to the request alone, its scope for instance, is freed while a thread that it started runs on."""
    workers: list[Worker] = []
    scopes: list[weakref.ref[Any]] = []

    class State:
        """Something in the scope."""

    def endpoint(inner: Request) -> PlainTextResponse:
        state = State()
        inner.scope["something"] = state
        scopes.append(weakref.ref(state))
        workers.append(Worker())
        return PlainTextResponse("done")

    request(handrail.protect(Starlette(routes=[Route("/", endpoint)])))
    gc.collect()
    assert parent_of(workers[0], spans.provider.get_tracer("service")) == spans.server.context
    assert scopes[0]() is None
    workers[0].stop()


def everything(span: Span) -> None:
    span.set_attribute("one", 1)
    span.set_attributes({"two": 2})
    span.add_event("event", {"three": 3})
    span.add_link(SpanContext(1, 2, True))
    span.update_name("renamed")
    span.record_exception(KeyError("four"))
    span.set_status(StatusCode.ERROR, "five")


def test_a_lent_span_is_the_span(spans: Spans) -> None:
    """All that is said to the span in a thread is on the span itself."""
    span = spans.provider.get_tracer("service").start_span("request", kind=SpanKind.SERVER)
    lent: Any = Lent(span)
    everything(lent)
    assert (lent.is_recording(), lent.name, lent.kind) == (True, "renamed", SpanKind.SERVER)
    lent.end()
    (done,) = spans.finished
    assert dict(done.attributes or {}) == {"one": 1, "two": 2}
    assert [event.name for event in done.events] == ["event", "exception"]
    assert len(done.links) == 1
    assert done.status.description == "five"


def test_a_lent_span_that_is_over_is_silent(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    """Said too late, it is dropped, and the SDK does not warn about it."""
    span = spans.provider.get_tracer("service").start_span("request")
    lent = Lent(span)
    span.end()
    everything(lent)
    lent.set_status(Status(StatusCode.OK))
    lent.end()
    assert not spans.finished[0].events
    assert caplog.records == []


def test_what_is_lent_is_lent_once(spans: Spans) -> None:
    """A thread of a thread is given the same loan; without a span there is none."""
    lent = Lent(spans.provider.get_tracer("service").start_span("request"))
    assert trace.get_current_span(lend(set_span_in_context(lent))) is lent
    assert lend(Context({"key": "value"})) == {"key": "value"}
