"""The event loop is held: who is told what."""

import asyncio
import json
import logging
import sys
import threading
import time
from typing import Any

import pytest
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanKind

from handrail.tracing import blocked, semconv
from handrail.tracing.blocked import LoopWatch
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server
from tests.tracing_blocked.conftest import BOUND, Holder

HERE = __file__


async def answer(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def traced(app: Any, watch: LoopWatch, spans: Spans) -> ServerSpans:
    return ServerSpans(app, tracing=spans.tracing, routes=app, open_exchanges=watch.open)


def events(span: ReadableSpan) -> list[Event]:
    return [event for event in span.events if event.name == semconv.EVENT_LOOP_BLOCKED]


def test_who_waits_and_who_holds(watch, told, caplog: pytest.LogCaptureFixture):
    """Each open SERVER span gets one event with the seconds, the place and the stack; the culprit's says that it is."""
    spans = Spans()
    waiting, never = asyncio.Event(), threading.Event()

    async def app(scope, receive, send):
        if scope["path"] == "/hold":
            for _ in range(100):  # a busy machine notices late
                never.wait(2 * BOUND)
                if watch.holds:
                    break
            await answer(send)
            waiting.set()
        else:
            await waiting.wait()
            await answer(send)

    async def main() -> None:
        served = traced(app, watch, spans)
        others = [asyncio.create_task(Server().call(served, f"/wait/{n}")) for n in range(3)]
        await asyncio.sleep(0)  # noqa: TID251 (lets them begin)
        await Server().call(served, "/hold")
        await asyncio.gather(*others)
        await beats(told)

    asyncio.run(main())
    assert len(spans.of_kind(SpanKind.SERVER)) == 4
    for span in spans.finished:
        (event,) = events(span)
        found = dict(event.attributes or {})
        culprit = span.attributes["url.path"] == "/hold"  # type: ignore[index]
        assert found[semconv.BLOCKED_CULPRIT] is culprit
        assert found[semconv.BLOCKED_REQUESTS] == 4
        assert BOUND <= found[semconv.BLOCKED_DURATION] < 25  # type: ignore[operator]
        assert str(found["code.file.path"]) == HERE
        assert str(found["code.function.name"]).endswith("test_who_waits_and_who_holds.<locals>.app")
        assert str(found["code.stacktrace"]).rstrip().endswith("in wait")
        assert span.start_time <= event.timestamp <= span.end_time  # type: ignore[operator]
    assert len(told) == 1
    (line,) = [record.getMessage() for record in caplog.records if record.name == "handrail"]
    assert "test_blocked_loop.py:" in line
    assert "while 3 other requests waited: `never.wait(2 * BOUND)`" in line


async def beats(told: list[float], count: int = 1) -> None:
    """Wait until the heart has beaten behind the hold, with a bound."""
    ends = time.monotonic() + 20
    while len(told) < count:
        assert time.monotonic() < ends, "never noticed"
        await asyncio.sleep(BOUND / 10)  # noqa: TID251 (a real loop, polled)


def held_once(
    watch: LoopWatch, told: list[float], work: Any, *, expect: bool = True
) -> tuple[ReadableSpan, dict[str, Any] | None]:
    """One request whose code is `work`, on a real loop; what its event says."""
    spans = Spans()

    async def app(scope, receive, send):
        found = work()
        if asyncio.iscoroutine(found):
            await found
        await answer(send)

    async def main() -> None:
        await Server().call(traced(app, watch, spans), "/")
        if expect:
            await beats(told)
        else:
            await asyncio.sleep(BOUND)  # noqa: TID251 (several beats of a real loop)

    asyncio.run(main())
    span = spans.server
    found = events(span)
    assert len(found) <= 1
    return span, dict(found[0].attributes or {}) if found else None


def test_python_that_computes_is_seen_too(watch, told, holder: Holder):
    """A long computation, which lets other threads run now and then, is told with its stack."""
    _, found = held_once(watch, told, holder.compute)
    assert found is not None
    assert "in compute" in found["code.stacktrace"]


def test_code_that_keeps_the_gil_is_noticed_behind(watch, told):
    """C code that lets no other thread run is still noticed when it is over, on the requests that are open then."""

    async def work() -> None:
        ends, length = time.monotonic() + 20, 10**6
        wall = cpu = 0.0
        # One call that is long enough, on a machine that is not so busy that it might as well have been stopped.
        while (wall < 2 * BOUND or cpu < wall * 0.6) and time.monotonic() < ends:
            begun, before = time.monotonic(), time.process_time()
            json.dumps([0] * length)
            wall, cpu = time.monotonic() - begun, time.process_time() - before
            length += length * (wall < 2 * BOUND)
        await beats(told)

    _, found = held_once(watch, told, work)
    assert found is not None
    assert found[semconv.BLOCKED_DURATION] >= BOUND


def test_a_child_task_is_known_from_python_3_12(watch, told, holder: Holder):
    """The hold happens in a task that the request started: its request is the culprit (3.11 cannot say)."""

    async def child() -> None:
        holder.hold()

    async def work() -> None:
        await asyncio.create_task(child())

    _, found = held_once(watch, told, work)
    assert found is not None
    assert found.get(semconv.BLOCKED_CULPRIT, sys.version_info < (3, 12)) is True


def test_short_work_is_not_told(watch, told, holder: Holder, caplog: pytest.LogCaptureFixture):
    """Below the bound nothing is said: no event, no metric, no line."""
    _, found = held_once(watch, told, lambda: holder.hold(BOUND / 4), expect=False)
    assert (found, told, caplog.records) == (None, [], [])


def test_many_short_steps_blame_nobody(watch, told, holder: Holder, caplog: pytest.LogCaptureFixture):
    """A loop that is late because of many short callbacks is measured, but no code is accused."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(60):
            loop.call_soon(holder.hold, BOUND / 10)
        await asyncio.sleep(0)  # noqa: TID251 (all of them run)

    _, found = held_once(watch, told, work)
    assert told
    assert found is None
    assert not caplog.records


def test_one_line_a_minute_for_one_place(watch, told, holder: Holder, caplog, monkeypatch):
    """A place that holds the loop again is counted, and said again only after a minute."""
    served: list[Any] = []

    async def app(scope, receive, send):
        holder.hold(2 * BOUND)
        await answer(send)

    async def main(times: int) -> None:
        while watch._hearts:  # noqa: ASYNC110 (of the loop before, which is closed)
            await asyncio.sleep(BOUND / 10)  # noqa: TID251 (a real loop, polled)
        for _ in range(times):
            before = len(told)
            await Server().call(traced(app, watch, Spans()), "/")
            await beats(told, before + 1)

    asyncio.run(main(3))
    assert len(told) == 3
    assert len(caplog.records) == 1
    monkeypatch.setattr(blocked, "_AGAIN", 0.0)
    asyncio.run(main(1))
    assert len(caplog.records) == 2
    assert not served


def test_a_stopped_machine_is_not_told(watch, told):
    """SIGSTOP, a suspended laptop: neither the watch's thread nor the processor did anything, so nothing is said."""
    heart = _heart(watch)
    watch._ticked = heart.at
    watch._was_late(heart, late=50.0, cpu=0.01, now=heart.at + 50.1)
    assert told == []
    watch._was_late(heart, late=50.0, cpu=49.0, now=heart.at + 50.1)  # the same with a busy processor is code
    assert told == [50.0]


def _heart(watch: LoopWatch) -> blocked._Heart:
    loop = asyncio.new_event_loop()
    loop.close()
    now = time.monotonic()
    return blocked._Heart(loop, threading.get_ident(), now, now, 0.0)


def test_a_breakpoint_is_not_told(watch, told, caplog: pytest.LogCaptureFixture):
    """Somebody in a debugger holds the loop on purpose."""
    frames: dict[str, Any] = {"__name__": "pdb", "wait": threading.Event().wait, "seconds": 3 * BOUND}
    exec("def interaction():\n    wait(seconds)", frames)
    _, found = held_once(watch, told, frames["interaction"], expect=False)
    assert found is None
    assert not caplog.records


def test_an_idle_service_is_not_woken(watch, told, monkeypatch):
    """Some time after the last request nothing beats on the loop any more, and the thread waits without a limit."""
    monkeypatch.setattr(blocked, "_REST", BOUND / 10)

    async def app(scope, receive, send):
        await answer(send)

    async def main() -> None:
        await Server().call(traced(app, watch, Spans()), "/")
        ends = time.monotonic() + 60
        while watch._hearts or watch._asked.is_set():
            assert time.monotonic() < ends
            await asyncio.sleep(BOUND / 10)  # noqa: TID251 (a real loop, polled)
        await Server().call(traced(app, watch, Spans()), "/")  # and the next request wakes it again
        assert watch._hearts

    asyncio.run(main())


def test_the_watch_keeps_no_request(watch):
    """The timer on the loop runs in an empty context: it neither keeps a request alive nor lends it its ids."""

    async def app(scope, receive, send):
        await answer(send)

    contexts: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        plain = loop.call_later

        def call_later(*arguments: Any, context: Any = None) -> asyncio.TimerHandle:
            contexts.append(context)
            return plain(*arguments, context=context)

        loop.call_later = call_later  # type: ignore[method-assign, assignment] # looked at
        await Server().call(traced(app, watch, Spans()), "/")

    asyncio.run(main())
    assert {len(context) for context in contexts} == {0}


def test_a_loop_with_its_own_time_is_left_alone(watch):
    """A loop with virtual time, as tests use it, gets no timer that would keep it going."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() - 10_000  # type: ignore[method-assign]
        watch.open.add(object())
        assert not watch._hearts

    asyncio.run(main())


def test_end_lets_the_thread_go(watch, told, holder: Holder):
    """After `end` the thread ends, and a request wakes nothing."""
    held_once(watch, told, holder.hold)
    thread = watch._thread
    assert thread is not None
    watch.end()
    thread.join(60)
    assert not thread.is_alive()

    async def main() -> None:
        watch.open.add(object())
        assert watch._hearts.get(id(asyncio.get_running_loop())) is None

    asyncio.run(main())


def test_without_sampling_there_is_no_event_but_a_metric(watch, told, holder: Holder, caplog):
    """A request that is not recorded still counts, and the log line still says where."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    async def app(scope, receive, send):
        holder.hold()
        await answer(send)

    async def main() -> None:
        await Server().call(traced(app, watch, Spans(ALWAYS_OFF)), "/")
        await beats(told)

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert len(told) == len(caplog.records) == 1
