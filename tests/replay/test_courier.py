"""The courier's thread: several event loops, cancellation, what waits, fork, the end."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from handrail.resilience.clock import SystemClock
from handrail.resilience.replay import courier as room
from handrail.resilience.replay._away import StoreAway
from handrail.resilience.replay._courier_asked import asked
from handrail.resilience.replay.courier import Courier
from handrail.resilience.replay.testing import MemoryBackend
from handrail.resilience.replay.work import Begin, Free, Held, Renew, State, Work
from handrail.resilience.testing import FakeClock
from tests.forked import in_child
from tests.redis_server import until
from tests.replay.backend_rules import begin, keep, key_of

NEW = Held(State.NEW)
LONG = 60.0
"""Seconds that nothing here takes."""


class Gated(MemoryBackend):
    """Goes on once `gate` is set; `inside` says that a call waits for that."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()

    def run(self, work: Sequence[Work]) -> list[Held | bool]:
        self.inside.set()
        assert self.gate.wait(LONG)
        return super().run(work)

    def shut(self) -> None:
        self.gate.clear()
        self.inside.clear()


@pytest.fixture
def backend() -> Gated:
    return Gated()


@pytest.fixture
def courier(backend: Gated) -> Iterator[Courier]:
    made = Courier(lambda: backend, lease=9.0)
    yield made
    backend.gate.set()
    made.end(10.0)


def runs(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, LONG))


async def inside(backend: Gated) -> None:
    """Until a call of the store waits at the gate; the loop goes on meanwhile."""
    assert await asyncio.to_thread(backend.inside.wait, LONG)


def test_the_thread_is_there_when_it_is_needed(backend: Gated) -> None:
    """Not before the first question or look: a server may fork until then. It makes and opens the store itself."""
    names: list[str] = []

    def connect() -> Gated:
        names.append(threading.current_thread().name)
        return backend

    courier = Courier(connect, lease=9.0)
    assert courier._thread is None
    until(lambda: courier.identity == backend.identity, "the identity")
    assert names == ["handrail-courier"]
    assert backend.opened == 1
    courier.end(10.0)
    assert backend.closed == 1


def test_it_asks_and_is_answered(courier: Courier) -> None:
    """Each kind of work has its own result."""

    async def main() -> None:
        assert await courier.ask(begin(1), LONG) == NEW
        assert await courier.ask(Renew(key_of(1), "a", 5.0), LONG) is True
        assert await courier.ask(keep(1, b"x"), LONG) is True
        assert await courier.ask(begin(1, "b"), LONG) == Held(State.KEPT, b"x")
        assert await courier.ask(Free(key_of(1), "a"), LONG) is False

    runs(main())


def test_what_comes_meanwhile_goes_in_one_batch(courier: Courier, backend: Gated) -> None:
    """One transaction for fifty requests; the loop is free while the store is at work."""

    async def main() -> None:
        backend.shut()
        first = asyncio.ensure_future(courier.ask(begin(0), LONG))
        await inside(backend)
        others = [asyncio.ensure_future(courier.ask(begin(number), LONG)) for number in range(1, 51)]
        await turns()
        backend.gate.set()
        assert await asyncio.gather(first, *others) == [NEW] * 51
        assert [len(batch) for batch in backend.calls] == [1, 50]

    runs(main())


async def turns() -> None:
    """Let the loop do all that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)  # noqa: TID251  (no time passes)


def test_a_cancelled_question_leaves_no_key(courier: Courier, backend: Gated) -> None:
    """The cancellation passes at once, while the store is still at work; what it then begins is freed."""

    async def main() -> None:
        backend.shut()
        task = asyncio.ensure_future(courier.ask(begin(1), LONG))
        await inside(backend)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        backend.gate.set()
        assert await courier.ask(begin(2), LONG) == NEW
        await asyncio.to_thread(until, lambda: key_of(1) not in backend.rows, "a free key")
        assert Free(key_of(1), "a") in [work for batch in backend.calls for work in batch]

    runs(main())


def test_a_question_that_nobody_waits_for_is_not_sent(courier: Courier, backend: Gated) -> None:
    """What is cancelled in the queue costs the store nothing."""

    async def main() -> None:
        backend.shut()
        first = asyncio.ensure_future(courier.ask(begin(1), LONG))
        await inside(backend)
        second = asyncio.ensure_future(courier.ask(begin(2), LONG))
        await turns()
        second.cancel()
        await turns()
        backend.gate.set()
        assert await first == NEW
        assert await courier.ask(begin(3), LONG) == NEW
        assert key_of(2) not in [work.key for batch in backend.calls for work in batch]

    runs(main())


def test_who_waits_too_long_is_refused_and_leaves_no_key(courier: Courier, backend: Gated) -> None:
    """A store that answers later than the request can wait has begun nothing that stays."""

    async def main() -> None:
        backend.shut()
        for seconds in (0.05, 0.5, 5.0):  # on a busy machine the thread may come by after it has given up
            if not backend.inside.is_set():
                with pytest.raises(StoreAway, match=f"no answer within {seconds:g} s"):
                    await courier.ask(begin(1, f"o{seconds}"), seconds)
        await inside(backend)
        backend.gate.set()
        assert await courier.ask(begin(2), LONG) == NEW
        await asyncio.to_thread(until, lambda: set(backend.rows) == {key_of(2)}, "a free key")

    runs(main())


def test_away_is_told_at_once_until_it_is_back(courier: Courier, backend: Gated) -> None:
    """The first learns it from the store; those after him ask nothing, wait for nothing, and know the reason."""

    async def main() -> None:
        backend.before = ConnectionError("gone fishing")
        with pytest.raises(StoreAway, match="ConnectionError: gone fishing"):
            await courier.ask(begin(1), LONG)
        assert courier.identity is None
        calls = len(backend.calls)
        for number in range(100):
            with pytest.raises(StoreAway, match="gone fishing"):
                await courier.ask(begin(number), LONG)
        assert len(backend.calls) == calls
        courier.tell(keep(7, b"x"))
        backend.before = None
        await asyncio.to_thread(until, lambda: courier.identity == backend.identity, "its return")
        assert await courier.ask(begin(1, "b"), LONG) == NEW

    runs(main())


def test_no_more_wait_than_there_is_room(courier: Courier, backend: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound one is refused at once, before anything was done."""
    monkeypatch.setattr(room, "MOST_WAITING", 3)

    async def main() -> None:
        backend.shut()
        first = asyncio.ensure_future(courier.ask(begin(0), LONG))
        await inside(backend)
        others = [asyncio.ensure_future(courier.ask(begin(number), LONG)) for number in (1, 2, 3)]
        await turns()
        with pytest.raises(StoreAway, match="busy"):
            await courier.ask(begin(4), LONG)
        backend.gate.set()
        assert await asyncio.gather(first, *others) == [NEW] * 4

    runs(main())


def test_a_store_that_does_not_return_is_away(backend: Gated) -> None:
    """A call that hangs for seconds, as on a disk that is gone, does not let every request wait in vain."""
    clock = FakeClock()
    courier = Courier(lambda: backend, lease=9.0, clock=clock)

    async def main() -> None:
        assert await courier.ask(begin(0), LONG) == NEW
        backend.shut()
        first = asyncio.ensure_future(courier.ask(begin(1, lease=100.0), LONG))
        await inside(backend)
        clock.advance(6.0)
        assert courier.identity is None
        with pytest.raises(StoreAway, match="does not return"):
            await courier.ask(begin(2), LONG)
        backend.gate.set()
        assert await first == NEW
        await asyncio.to_thread(until, lambda: courier.identity is not None, "its return")

    runs(main())
    courier.end(10.0)


def test_a_held_lease_is_renewed(backend: Gated) -> None:
    """By the thread, for as long as it is held, though nobody asks anything."""
    courier = Courier(lambda: backend, lease=0.03)

    def renewals() -> int:
        return sum(isinstance(work, Renew) for batch in backend.calls for work in batch)

    async def main() -> None:
        work = begin(1, lease=30.0)
        assert await courier.ask(work, LONG) == NEW
        courier.hold(work)
        await asyncio.to_thread(until, lambda: renewals() >= 3, "three renewals")
        courier.let_go(work.key, work.owner)
        await asyncio.to_thread(until, lambda: courier._rounds.wait() is None or not courier._rounds.held, "an end")

    runs(main())
    courier.end(10.0)


def test_several_loops_share_one_courier(courier: Courier, backend: Gated) -> None:
    """Each is answered in its own thread."""
    found: list[object] = []

    def loop(number: int) -> None:
        async def main() -> None:
            here = threading.current_thread()
            for step in range(20):
                found.append(await courier.ask(begin(number * 100 + step), LONG))
                assert threading.current_thread() is here

        runs(main())

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert found == [NEW] * 80


def test_a_loop_that_was_closed_leaves_no_key(
    courier: Courier, backend: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    """Its question is answered into the void, without a word; the key is free."""
    backend.shut()
    loop = asyncio.new_event_loop()
    waits = loop.create_task(courier.ask(begin(1), LONG))
    loop.run_until_complete(inside(backend))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    backend.gate.set()
    until(lambda: Free(key_of(1), "a") in [work for batch in backend.calls for work in batch], "the Free")
    until(lambda: not backend.rows, "a free key")
    assert not waits.done()
    waits._log_destroy_pending = False  # type: ignore[attr-defined]  # what asyncio says of such a loop is not ours
    del waits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
    assert not [record for record in caplog.records if record.name == "handrail"]


def test_under_trio(courier: Courier, backend: Gated) -> None:
    """The same promises on the other loop: an answer, a time, a cancellation, an outage."""

    async def main() -> None:
        with trio.fail_after(LONG):
            assert await courier.ask(begin(1), LONG) == NEW
            backend.shut()
            with pytest.raises(StoreAway, match=r"no answer within 0\.05 s"):
                await courier.ask(begin(2), 0.05)
            with trio.move_on_after(0.05) as scope:
                await courier.ask(begin(3), LONG)
            assert scope.cancelled_caught
            backend.gate.set()
            assert await courier.ask(keep(1, b"x"), LONG) is True
            await trio.to_thread.run_sync(until, lambda: set(backend.rows) == {key_of(1)}, "free keys")
            backend.before = OSError("gone")
            with pytest.raises(StoreAway, match="gone"):
                await courier.ask(begin(4), LONG)

    trio.run(main)


def test_under_trio_a_question_cancelled_in_the_moment_of_its_answer_leaves_no_key() -> None:
    """The cancellation is on its way when the answer comes: nobody else would ever give the key back."""
    back: list[Begin] = []

    class Desk:
        now = staticmethod(SystemClock().now)
        give_back = staticmethod(back.append)

    async def main() -> None:
        one = asked(begin(1), Desk())
        one.sent = Desk.now()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.answer, LONG)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            one.settle(NEW)
            assert not back
        assert back == [begin(1)]

    trio.run(main)


def test_what_was_told_is_done_before_the_end(backend: Gated) -> None:
    """Nothing that was told is lost by an end in peace; the store is closed, and nobody is answered any more."""
    courier = Courier(lambda: backend, lease=9.0)

    async def main() -> None:
        assert await courier.ask(begin(1), LONG) == NEW
        backend.shut()
        waits = asyncio.ensure_future(courier.ask(begin(2), LONG))
        await inside(backend)
        courier.tell(keep(1, b"last words"))
        end = asyncio.create_task(asyncio.to_thread(courier.end, LONG))
        await turns()
        backend.gate.set()
        await end
        assert await waits == NEW
        assert backend.rows[key_of(1)].answer == b"last words"
        assert backend.closed == 1
        with pytest.raises(StoreAway, match="about to end"):
            await courier.ask(begin(3), LONG)
        courier.tell(keep(2, b"too late"))
        assert courier._thread is not None
        assert not courier._thread.is_alive()

    runs(main())


def test_the_end_does_not_wait_for_a_store_that_hangs(backend: Gated) -> None:
    """Its bound is kept, and the thread ends with the process."""
    courier = Courier(lambda: backend, lease=9.0)
    backend.shut()
    courier.tell(keep(1, b"x"))
    assert backend.inside.wait(LONG)
    courier.end(0.05)
    assert courier._thread is not None
    assert courier._thread.is_alive()
    backend.gate.set()
    courier._thread.join(LONG)


def test_a_child_has_a_courier_of_its_own(courier: Courier, backend: Gated) -> None:
    """It opens the store anew, renews nothing of its parent's, and does not close the parent's connection."""

    async def first() -> None:
        assert await courier.ask(begin(1), LONG) == NEW
        courier.hold(begin(1))

    def child() -> None:
        assert courier._thread is None
        assert not courier._rounds.held

        async def main() -> None:
            assert await courier.ask(begin(2), LONG) == NEW

        asyncio.run(main())
        assert backend.opened == 2
        assert backend.closed == 0
        assert parents in room._leaked  # or else it would be closed for want of a reference
        courier.end(10.0)

    asyncio.run(first())
    parents = courier._rounds
    assert in_child(child) == 0
    assert key_of(2) not in backend.rows
    assert backend.opened == 1
    assert (key_of(1), "a") in courier._rounds.held


def test_no_thread_to_be_had_is_a_store_away(courier: Courier, monkeypatch: pytest.MonkeyPatch, backend: Gated) -> None:
    """At the limit of the process, requests are refused with the reason, and served once there is one."""

    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", none)
            with pytest.raises(StoreAway, match="can't start new thread"):
                await courier.ask(begin(1), LONG)
            assert courier.identity is None
            courier.tell(keep(1, b"x"))
        assert await courier.ask(begin(1), LONG) == NEW

    runs(main())


def test_the_thread_knows_nothing_of_the_first_request(courier: Courier, backend: Gated) -> None:
    """Its span and its deadline are not those of all that come after."""
    from contextvars import ContextVar

    mark: ContextVar[str] = ContextVar("mark", default="none")
    seen: list[str] = []
    original = backend.open

    def opening() -> str:
        seen.append(mark.get())
        return original()

    backend.open = opening  # type: ignore[method-assign]  # looks at its context

    async def main() -> None:
        mark.set("the first request")
        assert await courier.ask(begin(1), LONG) == NEW

    runs(main())
    assert seen == ["none"]
