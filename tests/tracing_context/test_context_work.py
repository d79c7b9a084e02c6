"""`capture`, `resume` and `carry`: work that is done later, elsewhere, or by somebody else."""

import asyncio
import inspect
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.trace import SpanKind, StatusCode, Tracer

import handrail
from handrail import _wire, _work
from handrail.resilience.testing import run, sleep
from handrail.tracing.testing import Spans

GARBAGE: list[Any] = [
    None,
    {},
    [],
    "00-abc",
    17,
    b"\xff",
    {"traceparent": None},
    {"traceparent": 17, "tracestate": [], "baggage": {}},
    {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
    {"traceparent": "\u20ac" * 4000, "baggage": "=;,=\x00" * 9000},
    {17: "x"},
]


def captured(tracer: Tracer) -> dict[str, str]:
    with tracer.start_as_current_span("request"):
        return handrail.capture()


def test_capture_is_small_and_plain(tracer: Tracer) -> None:
    """A captured context is a dict of text that survives JSON, and empty where there is nothing."""
    assert handrail.capture() == {}
    with tracer.start_as_current_span("request") as span:
        token = attach(baggage.set_baggage("tenant", "acme"))
        carrier = handrail.capture()
        detach(token)
    assert json.loads(json.dumps(carrier)) == carrier
    context = span.get_span_context()
    assert carrier == {
        "traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-03",
        "baggage": "tenant=acme",
    }


def test_capture_is_bounded(tracer: Tracer) -> None:
    """However much baggage there is, at most 8192 bytes of it go into the dict."""
    context = get_current()
    for number in range(200):
        context = baggage.set_baggage(f"key{number}", "v" * 400, context)
    token = attach(context)
    carrier = handrail.capture()
    detach(token)
    assert 0 < len(carrier["baggage"]) <= 8192


def test_resume_links_by_default(spans: Spans, tracer: Tracer) -> None:
    """The work is a CONSUMER span in a trace of its own, linked to where it came from; baggage is there."""
    carrier = {**captured(tracer), "baggage": "tenant=acme"}
    with handrail.resume(carrier, "send receipt", attributes={"order.id": 17}) as span:
        assert trace.get_current_span() is span
        assert baggage.get_baggage("tenant") == "acme"
    assert trace.get_current_span() is trace.INVALID_SPAN
    request, work = spans.finished
    assert (work.name, work.kind, work.parent) == ("send receipt", SpanKind.CONSUMER, None)
    assert (work.attributes or {})["order.id"] == 17
    assert request.context is not None
    assert work.context is not None
    assert work.context.trace_id != request.context.trace_id
    (link,) = work.links
    assert (link.context.trace_id, link.context.span_id) == (request.context.trace_id, request.context.span_id)


def test_resume_as_a_child(spans: Spans, tracer: Tracer) -> None:
    """link=False: the work is a child in the same trace, without a link."""
    with handrail.resume(captured(tracer), "send receipt", link=False):
        pass
    request, work = spans.finished
    assert request.context is not None
    assert work.parent is not None
    assert (work.parent.trace_id, work.parent.span_id) == (request.context.trace_id, request.context.span_id)
    assert work.links == ()


@pytest.mark.parametrize("link", [True, False])
def test_a_span_of_the_task_library_is_linked(spans: Spans, tracer: Tracer, link: bool) -> None:
    """What the worker has open already, and is not where the work came from, gets a link and is no parent."""
    carrier = captured(tracer)
    with tracer.start_as_current_span("run task") as outer, handrail.resume(carrier, "send receipt", link=link):
        pass
    work = next(span for span in spans.finished if span.name == "send receipt")
    assert work.links[-1].context == outer.get_span_context()
    assert len(work.links) == (2 if link else 1)
    assert work.parent is None or work.parent.span_id != outer.get_span_context().span_id


@pytest.mark.parametrize("carrier", GARBAGE, ids=repr)
@pytest.mark.parametrize("link", [True, False])
def test_garbage_never_raises(spans: Spans, carrier: Any, link: bool) -> None:
    """A carrier that is no carrier gives a span of its own, without parent and link."""
    with handrail.resume(carrier, "work", link=link):
        pass
    (work,) = spans.finished
    assert (work.parent, tuple(work.links)) == (None, ())


def test_a_mapping_that_raises(spans: Spans) -> None:
    """Also where reading the carrier fails, the work is done."""

    class Broken(dict[str, str]):
        def get(self, *_: object) -> Any:
            raise RuntimeError

    with handrail.resume(Broken(), "work"):
        pass
    assert len(spans.finished) == 1


def test_an_error_is_recorded_and_raised(spans: Spans) -> None:
    """The error of the body is on the span, and reaches the caller as the same object."""
    error = KeyError("receipt")
    with pytest.raises(KeyError) as raised, handrail.resume({}, "work"):
        raise error
    assert raised.value is error
    (work,) = spans.finished
    assert work.status.status_code is StatusCode.ERROR
    assert (work.attributes or {})["error.type"] == "KeyError"
    assert [event.name for event in work.events] == ["exception"]


def test_a_cancellation_is_no_error(spans: Spans) -> None:
    """CancelledError passes through and leaves the status alone."""

    async def main() -> None:
        async def work() -> None:
            async with handrail.resume({}, "work"):
                await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(work())
        await sleep()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    (work,) = spans.finished
    assert work.status.status_code is StatusCode.UNSET
    assert work.events == ()


def test_as_a_decorator(spans: Spans, tracer: Tracer) -> None:
    """Each call of a decorated function is a span of its own; name, signature, arguments and result are its own."""
    carriers = [captured(tracer), captured(tracer)]
    spans.clear()

    def send(order: int, carrier: dict[str, str] | None = None) -> int:
        return order

    decorated = handrail.resume(lambda order, carrier=None: carrier, "send")(send)
    assert [decorated(1, carriers[0]), decorated(order=2, carrier=carriers[1])] == [1, 2]
    assert (decorated.__name__, inspect.signature(decorated)) == ("send", inspect.signature(send))
    assert [len(span.links) for span in spans.finished] == [1, 1]
    assert spans.finished[0].links[0].context != spans.finished[1].links[0].context


def test_as_a_decorator_of_coroutines(spans: Spans, tracer: Tracer) -> None:
    """Calls at the same time keep their spans apart."""
    carrier = captured(tracer)
    spans.clear()

    @handrail.resume(lambda number: carrier, "send")
    async def send(number: int) -> int:
        await sleep()
        return trace.get_current_span().get_span_context().span_id

    async def main() -> list[int]:
        return await asyncio.gather(*(send(number) for number in range(3)))

    assert inspect.iscoroutinefunction(send)
    assert sorted(run(main())) == sorted(span.context.span_id for span in spans.finished if span.context)


def test_arguments_without_a_carrier(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    """Where the carrier cannot be taken from the arguments, the work is done all the same, and that is logged."""

    @handrail.resume(lambda job: job["trace"], "send")
    def send(job: dict[str, Any]) -> str:
        return "sent"

    assert send({}) == "sent"
    assert "the carrier could not be taken" in caplog.text
    assert len(spans.finished) == 1


def steps() -> Iterator[int]:
    yield 1


async def steps_async() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("decorate", [handrail.carry, handrail.resume({}, "work")])
@pytest.mark.parametrize("function", [steps, steps_async])
def test_generators_are_refused(decorate: Callable[[Any], Any], function: Any) -> None:
    """A context held across a yield would be restored in somebody else's: such a function is refused at once."""
    with pytest.raises(TypeError, match="makes a generator"):
        decorate(function)


def test_carry(spans: Spans, tracer: Tracer) -> None:
    """A carried callable runs below the span in which it was wrapped, and puts the caller's context back."""

    def work(*args: int) -> tuple[int, ...]:
        tracer.start_span("work").end()
        return args

    with tracer.start_as_current_span("request") as request:
        carried = handrail.carry(work)
    with tracer.start_as_current_span("worker") as worker:
        assert carried(1, 2) == (1, 2)
        assert trace.get_current_span() is worker
    work_span = next(span for span in spans.finished if span.name == "work")
    assert work_span.parent == request.get_span_context()
    assert carried.__name__ == "work"


def test_carry_outside_of_a_request(tracer: Tracer) -> None:
    """Wrapped where no span was current, it runs without one, whatever the worker has."""
    carried = handrail.carry(trace.get_current_span)
    with tracer.start_as_current_span("worker"):
        assert carried() is trace.INVALID_SPAN


def test_carry_a_coroutine_function(tracer: Tracer) -> None:
    """The whole coroutine runs in the context, also behind its awaits; errors and results pass."""

    async def work(fail: bool) -> trace.Span:
        await sleep()
        if fail:
            raise KeyError
        return trace.get_current_span()

    class Callable:
        async def __call__(self, fail: bool) -> trace.Span:
            return await work(fail)

    with tracer.start_as_current_span("request") as request:
        carried = [handrail.carry(work), handrail.carry(Callable())]

    async def main() -> None:
        for each in carried:
            assert await each(False) is request
            with pytest.raises(KeyError):
                await each(True)
            assert trace.get_current_span() is trace.INVALID_SPAN

    run(main())


def test_a_closed_coroutine_is_quiet(tracer: Tracer, caplog: pytest.LogCaptureFixture) -> None:
    """A carried coroutine that is thrown away half done logs nothing about contexts."""

    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> Any:
        coroutine = handrail.carry(work)()
        task = asyncio.current_task()
        assert task is not None
        coroutine.send(None)
        return coroutine

    pending = run(main())
    pending.close()
    assert caplog.records == []


def test_wrong_settings_do_not_stop_the_work(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where the settings are wrong the work runs without a span, and that is logged once."""
    monkeypatch.setenv("HANDRAIL_ATTEMPTS", "many")
    monkeypatch.setattr(_work, "_said", set())
    done = []
    for _ in range(3):
        with handrail.resume({}, "work") as span:
            done.append(span)
    assert done == [trace.INVALID_SPAN] * 3
    assert len(caplog.records) == 1
    assert "HANDRAIL_ATTEMPTS" in caplog.text
    assert _wire.current() is None


@pytest.mark.parametrize("variable", ["HANDRAIL_ENABLED=false", "OTEL_SDK_DISABLED=true"])
def test_switched_off(spans: Spans, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Switched off, the work runs and there is no span."""
    monkeypatch.setenv(*variable.split("="))
    with handrail.resume({}, "work") as span:
        assert not span.is_recording()
    assert spans.finished == ()


def test_the_signal_is_given_back(spans: Spans) -> None:
    """SIGTERM is watched from the first work on, by one handler, and no more once handrail is undone."""
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    for _ in range(2):
        with handrail.resume({}, "work"):
            watched = signal.getsignal(signal.SIGTERM)
            assert callable(watched)
        _wire.switch_off()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_handler_of_the_service_stays(spans: Spans) -> None:
    """Where the worker handles SIGTERM itself, or does so later, its handler is left alone."""

    def own(*_: object) -> None: ...

    for early in (True, False):
        if early:
            signal.signal(signal.SIGTERM, own)
        with handrail.resume({}, "work"):
            signal.signal(signal.SIGTERM, own)
        _wire.switch_off()
        assert signal.getsignal(signal.SIGTERM) is own
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
