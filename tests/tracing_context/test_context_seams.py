"""Threads and executors with our seams are the same as without, but for the span."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import anyio.to_thread
import pytest
import wrapt
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current, set_value
from opentelemetry.trace import Tracer

from handrail import _wire
from handrail.resilience.call import current_deadline, deadline
from handrail.tracing import context
from handrail.tracing.context._carry import Carried, Travel
from handrail.tracing.testing import Spans


def current() -> int:
    return trace.get_current_span().get_span_context().span_id


def run_thread(target: Callable[[], object], **options: Any) -> threading.Thread:
    thread = threading.Thread(target=target, **options)
    thread.start()
    thread.join()
    return thread


@contextmanager
def contrib_threading() -> Iterator[list[int]]:
    """What contrib's ThreadingInstrumentor does with Thread and ThreadPoolExecutor; yields how often it was asked."""
    asked: list[int] = []

    def start(call: Any, thread: Any, args: Any, kwargs: Any) -> Any:
        thread._otel_context = get_current()
        return call(*args, **kwargs)

    def run(call: Any, thread: Any, args: Any, kwargs: Any) -> Any:
        asked.append(1)
        token = attach(thread._otel_context)
        try:
            return call(*args, **kwargs)
        finally:
            detach(token)

    originals = threading.Thread.__dict__["start"], threading.Thread.__dict__["run"]
    wrapt.wrap_function_wrapper(threading.Thread, "start", start)
    wrapt.wrap_function_wrapper(threading.Thread, "run", run)
    yield asked
    threading.Thread.start, threading.Thread.run = originals  # type: ignore[method-assign] # back again


def test_undo_gives_everything_back() -> None:
    """Installed twice is once; after the undo the classes have the very methods from before."""
    seams = ((threading.Thread, "start"), (ThreadPoolExecutor, "submit"), (asyncio.BaseEventLoop, "run_in_executor"))
    before = [cls.__dict__[name] for cls, name in seams]
    undo = context.install()
    assert context.install() is undo
    assert all(cls.__dict__[name] is not method for (cls, name), method in zip(seams, before, strict=True))
    undo()
    undo()
    assert [cls.__dict__[name] for cls, name in seams] == before


def test_handrail_switches_it_on_and_off() -> None:
    """`protect` and `handrail.auto` install it; undoing them undoes it."""
    before = threading.Thread.__dict__["start"]
    _wire.switch_on({})
    assert threading.Thread.__dict__["start"] is not before
    _wire.switch_off()
    assert threading.Thread.__dict__["start"] is before


def test_above_contrib(spans: Spans) -> None:
    """Over another instrumentation of threads the span is current once, and the undo leaves theirs in place."""
    found: list[int] = []
    with contrib_threading() as asked:
        theirs = threading.Thread.__dict__["start"]
        undo = context.install()
        with spans.provider.get_tracer("service").start_as_current_span("request") as span:
            run_thread(lambda: found.append(current()))
        undo()
        assert threading.Thread.__dict__["start"] is theirs
    assert found == [span.get_span_context().span_id]
    assert asked == [1]


def test_below_contrib(tracer: Tracer) -> None:
    """Under another instrumentation of threads it is the same."""
    found: list[int] = []
    with contrib_threading() as asked, tracer.start_as_current_span("request") as span:
        run_thread(lambda: found.append(current()))
    assert found == [span.get_span_context().span_id]
    assert asked == [1]


def test_undo_below_another_wrapper(spans: Spans) -> None:
    """Where somebody wrapped our method since, the undo leaves theirs alone, and ours only passes on."""
    original = threading.Thread.__dict__["start"]
    undo = context.install()
    ours = threading.Thread.__dict__["start"]

    def theirs(self: threading.Thread) -> None:
        ours(self)

    threading.Thread.start = theirs  # type: ignore[method-assign] # as others do
    undo()
    found: list[int] = []
    with spans.provider.get_tracer("service").start_as_current_span("request") as span:
        assert threading.Thread.__dict__["start"] is theirs
        run_thread(lambda: found.append(current()))
        again = context.install()
        run_thread(lambda: found.append(current()))
    assert found == [0, span.get_span_context().span_id]
    threading.Thread.start = ours  # type: ignore[method-assign] # they leave
    again()
    assert threading.Thread.__dict__["start"] is original


def test_results_and_errors_are_unchanged(tracer: Tracer) -> None:
    """What a task returns and raises reaches the caller as the same object, arguments included."""
    error, result = KeyError("theirs"), object()

    def fail(*_: object) -> None:
        raise error

    def give(*args: object, **kwargs: object) -> object:
        return args, kwargs, result

    with tracer.start_as_current_span("request"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(fail, 1).exception() is error
        assert pool.submit(give, 1, fn=2).result() == ((1,), {"fn": 2}, result)
        with pytest.raises(TypeError, match=r"submit\(\) missing 1 required positional argument: 'fn'"):
            pool.submit()  # type: ignore[call-arg] # that is the test


def test_an_error_in_a_thread_reaches_the_hook(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    """threading.excepthook sees the error and the thread, as without handrail."""
    error = KeyError("theirs")
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def fail() -> None:
        raise error

    with tracer.start_as_current_span("request"):
        thread = run_thread(fail)
    assert [(args.exc_value, args.thread) for args in seen] == [(error, thread)]


def test_a_thread_is_as_it_was(tracer: Tracer) -> None:
    """Name, daemon and attributes are untouched; a `run` that was set on the object runs and stays."""
    calls: list[str] = []
    with tracer.start_as_current_span("request"):
        plain = run_thread(lambda: calls.append(threading.current_thread().name), name="own", daemon=True)
        own = threading.Thread()
        mine = lambda: calls.append("run of the object")  # noqa: E731 (an attribute, not a method)
        own.run = mine  # type: ignore[method-assign] # people do
        own.start()
        own.join()
    assert calls == ["own", "run of the object"]
    assert "run" not in vars(plain)
    assert vars(own)["run"] is mine
    assert plain.daemon


def test_a_thread_that_cannot_start(tracer: Tracer) -> None:
    """Started twice: the error of the standard library, and nothing of ours is left on the thread."""
    with tracer.start_as_current_span("request"):
        thread = run_thread(lambda: None)
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            thread.start()
    assert "run" not in vars(thread)


class Marker:
    """Stands for what a request holds."""


def holding(value: object) -> Context:
    return set_value("request", value)


def test_a_task_of_a_pool_leaves_nothing_behind(tracer: Tracer) -> None:
    """Once a task has run, neither the pool, nor its thread, nor its future keeps the request alive."""
    gc.collect()
    gc.disable()
    try:
        with ThreadPoolExecutor(1) as pool:
            marker = Marker()
            dead = weakref.ref(marker)
            with tracer.start_as_current_span("request"):
                token = attach(holding(marker))
                future = pool.submit(lambda: None)
                detach(token)
            del marker, token
            future.result()
            pool.submit(lambda: None).result()  # the worker has let go of the first one
            assert dead() is None
    finally:
        gc.enable()


def test_a_thread_leaves_nothing_behind(tracer: Tracer) -> None:
    """Once a thread is over, its object keeps nothing of the request, without help of the collector."""
    gc.collect()
    gc.disable()
    try:
        marker = Marker()
        dead = weakref.ref(marker)
        with tracer.start_as_current_span("request"):
            token = attach(holding(marker))
            thread = run_thread(lambda: None)
            detach(token)
        del marker, token
        assert dead() is None
        dead_thread = weakref.ref(thread)
        del thread
        assert dead_thread() is None
    finally:
        gc.enable()


def test_workers_of_an_executor_keep_nothing(tracer: Tracer) -> None:
    """A pool whose worker was started inside a request has no span in tasks that come from outside of one."""
    with ThreadPoolExecutor(1, initializer=lambda: seen.append(current())) as pool:
        seen: list[int] = []
        with tracer.start_as_current_span("request") as span:
            inside = pool.submit(current).result()
        assert seen == [0]
        assert (inside, pool.submit(current).result()) == (span.get_span_context().span_id, 0)


def test_workers_of_anyio_keep_nothing(tracer: Tracer) -> None:
    """A thread of anyio that was started inside a request does not hold it."""

    async def main() -> None:
        marker = Marker()
        dead = weakref.ref(marker)
        with tracer.start_as_current_span("request"):
            token = attach(holding(marker))
            await anyio.to_thread.run_sync(lambda: None)
            detach(token)
        del marker, token
        await anyio.to_thread.run_sync(lambda: None)
        gc.collect()
        assert dead() is None

    asyncio.run(main())


def test_a_deadline_travels_into_executors_and_threads(spans: Spans) -> None:
    """What is begun for the caller is bound by his deadline, and by none once that is lifted."""
    _wire.switch_on({})
    seen: list[float | None] = []
    looked, lifted = threading.Event(), threading.Event()

    def look() -> None:
        seen.append(current_deadline())
        looked.set()
        lifted.wait(60)
        seen.append(current_deadline())

    with ThreadPoolExecutor(1) as pool:
        with deadline(60) as ends:
            assert pool.submit(current_deadline).result() == ends
            thread = threading.Thread(target=look)
            thread.start()
            assert looked.wait(60)
        assert pool.submit(current_deadline).result() is None
    lifted.set()
    thread.join(60)
    assert seen == [ends, None]


def test_nothing_to_carry_is_nothing_done(tracer: Tracer) -> None:
    """Without a span, or anything else in the context, the executor gets the very function."""
    with ThreadPoolExecutor(1) as pool:
        held = threading.Event()
        pool.submit(held.wait)
        pool.submit(current)
        assert pool._work_queue.get_nowait().fn is current
        held.set()


def test_a_carried_function_looks_like_itself(tracer: Tracer) -> None:
    """An executor that asks for the function's name gets it."""
    assert Carried(current, Context()).__name__ == "current"
    with pytest.raises(AttributeError):
        _ = Carried(current, Context()).nothing


def test_coroutine_functions_are_still_refused(tracer: Tracer) -> None:
    """In debug mode asyncio refuses a coroutine function for an executor; it still does."""

    async def work() -> None: ...

    refused: Any = work

    async def main() -> None:
        class Own(ThreadPoolExecutor):
            def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
                raise AssertionError("never reached")

        with pytest.raises(TypeError, match="coroutines cannot be used"):
            await asyncio.get_running_loop().run_in_executor(Own(), refused)

    with tracer.start_as_current_span("request"):
        asyncio.run(main(), debug=True)


def test_uvloop_is_found_by_its_shape(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is no BaseEventLoop, as uvloop's, is covered when its module is imported, and given back."""

    class Cython:
        def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
            return func(*args)

    class Loop(Cython):
        pass

    module = ModuleType("uvloop")
    module.Loop = Loop  # type: ignore[attr-defined] # what uvloop has
    process = context._Process()
    process.travel = Travel((), None)
    process.uvloop(module)
    process.uvloop(module)
    assert "run_in_executor" in vars(Loop)
    with tracer.start_as_current_span("request") as span:
        found = Loop().run_in_executor(object(), lambda: (current(), get_current()))
    assert found[0] == span.get_span_context().span_id
    process.seams[-1].off()
    assert "run_in_executor" not in vars(Loop)


def test_a_module_without_a_loop_is_left_alone() -> None:
    """A module that is called uvloop and is not changes nothing."""
    process = context._Process()
    before = len(process.seams)
    process.uvloop(ModuleType("uvloop"))
    assert len(process.seams) == before


def test_variables_are_only_those_named(spans: Spans) -> None:
    """`install(variables)`: a variable that is None is not carried, one that is set is, and is unset behind."""
    own: ContextVar[str | None] = ContextVar("own", default=None)
    undo = context.install([own])
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(own.get).result() is None
        token = own.set("value")
        assert pool.submit(own.get).result() == "value"
        own.reset(token)
        assert pool.submit(own.get).result() is None
    undo()
