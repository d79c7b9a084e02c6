"""The places themselves: handed over in order, by whom and to whom; against a model, and among threads."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience._permits import OnLoop, OnThread, Permits, Waiter


class Gate:
    """A limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit


Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(["come", "go", "leave", "resize", "close"]), st.integers(0, 5)), max_size=60)


@given(STEPS)
def test_permits_against_a_model(steps: list[Step]) -> None:
    """Whoever comes, goes, gives up, resizes or dies, in any order: who holds and who waits is as in a plain list."""
    permits, gate = Permits(), Gate(2)
    queue: deque[tuple[Waiter, list[bool]]] = deque()
    holders = 0

    def model_serves() -> None:
        nonlocal holders
        while queue and holders < gate.limit:
            waiter, alive = queue.popleft()
            assert waiter.granted == alive[0]
            holders += alive[0]

    for action, number in steps:
        if action == "come":
            alive = [True]
            waiter = permits.enter(gate, 4, waking(alive))
            if not queue and holders < gate.limit:
                holders += 1
                assert waiter is not None
                assert waiter.granted
            elif len(queue) >= 4:
                assert waiter is None
            else:
                assert waiter is not None
                queue.append((waiter, alive))
        elif action == "go" and holders:
            permits.release()
            holders -= 1
        elif action == "leave" and number < len(queue):
            waiter, _ = queue[number]
            assert not permits.leave(waiter)
            del queue[number]
        elif action == "resize":
            gate.limit = number
            permits.serve()
        elif action == "close" and number < len(queue):
            queue[number][1][0] = False
        model_serves()
        assert len(permits.held) == holders
        assert [waiter for waiter, _ in queue] == list(permits.waiting)


def waking(alive: list[bool]) -> Callable[[], None]:
    """Wakes a waiter, or tells that its loop is closed."""

    def wake() -> None:
        if not alive[0]:
            raise RuntimeError("Event loop is closed")

    return wake


def test_a_waiter_of_a_closed_loop_takes_nothing_with_it() -> None:
    """Its place goes to the next; its coroutine, collected later, gives nothing back that it does not have."""
    permits, gate = Permits(), Gate(1)
    assert permits.enter(gate, 0, print) is not None
    loop = asyncio.new_event_loop()

    async def enter() -> Waiter | None:
        return permits.enter(gate, 9, OnLoop().wake)

    dead = loop.run_until_complete(enter())
    loop.close()
    place = OnThread()
    alive = permits.enter(gate, 9, place.wake)
    permits.release()
    assert dead is not None
    assert alive is not None
    assert (permits.leave(dead), permits.leave(alive)) == (False, True)
    place.wait(0.0)
    assert (len(permits.held), len(permits.waiting)) == (1, 0)


def test_a_larger_limit_lets_the_queue_in() -> None:
    """`serve` after a change of the limit hands out the new room, in order, and no more of it."""
    permits, gate = Permits(), Gate(1)
    waiters = [permits.enter(gate, 9, lambda: None) for _ in range(5)]
    gate.limit = 3
    permits.serve()
    assert [waiter.granted for waiter in waiters if waiter is not None] == [True, True, True, False, False]


def test_who_waits_for_a_smaller_limit_is_not_overtaken() -> None:
    """First come, first served, whatever the limits; when the first gives up, those behind it are looked at."""
    permits, narrow, wide = Permits(), Gate(1), Gate(5)
    permits.enter(narrow, 0, lambda: None)
    first, second = permits.enter(narrow, 9, lambda: None), permits.enter(wide, 9, lambda: None)
    assert first is not None
    assert second is not None
    assert (first.granted, second.granted) == (False, False)
    assert not permits.leave(first)
    assert second.granted


def test_a_smaller_limit_takes_nothing_back() -> None:
    """Who is inside stays; until enough of them have gone, nobody follows."""
    permits, gate = Permits(), Gate(3)
    for _ in range(3):
        permits.enter(gate, 0, lambda: None)
    gate.limit = 1
    waiter = permits.enter(gate, 1, lambda: None)
    assert waiter is not None
    for granted in (False, False, True):
        permits.release()
        assert waiter.granted is granted


def test_a_wait_that_is_interrupted_by_the_collector_does_not_lock_up() -> None:
    """Giving up in the midst of a handing over, on the same thread: the lock lets it in and the count is right."""
    permits, gate = Permits(), Gate(1)
    permits.enter(gate, 0, lambda: None)
    others: list[Waiter] = []

    def wake() -> None:
        for other in others:
            permits.leave(other)

    first = permits.enter(gate, 9, wake)
    other = permits.enter(gate, 9, lambda: None)
    assert other is not None
    others.append(other)
    gate.limit = 3
    permits.release()
    assert first is not None
    assert (first.granted, other.granted) == (True, False)
    assert (len(permits.held), len(permits.waiting)) == (1, 0)


def test_a_place_given_back_just_before_the_queueing_is_not_lost() -> None:
    """Whoever released it saw no waiter; so the waiter looks again after it has put itself into the queue."""
    permits, gate = Permits(), Gate(1)
    permits.enter(gate, 0, lambda: None)

    class Late(list[Waiter]):
        def append(self, item: Waiter) -> None:
            permits.release()
            super().append(item)

    permits.waiting = Late()
    waiter = permits.enter(gate, 9, lambda: None)
    assert waiter is not None
    assert waiter.granted


@pytest.mark.parametrize("limit", [1, 3])
def test_no_wake_up_is_lost_among_threads(limit: int) -> None:
    """Threads that come and go as fast as they can: each waiter is woken; a lost one would wait for a minute."""
    permits, gate = Permits(), Gate(limit)
    done: list[int] = []

    def work() -> None:
        for number in range(400):
            permits.held.append(None)
            if permits.waiting or len(permits.held) > gate.limit:
                permits.held.pop()
                place = OnThread()
                waiter = permits.enter(gate, 100, place.wake)
                assert waiter is not None
                if not waiter.granted:
                    place.wait(60.0)
                    assert permits.leave(waiter)
            permits.release()
            done.append(number)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 2400
    assert (len(permits.held), len(permits.waiting)) == (0, 0)


def test_a_loop_is_woken_by_a_thread() -> None:
    """A place that a thread gives back reaches a waiter on a loop that sleeps."""
    permits, gate = Permits(), Gate(1)
    permits.enter(gate, 0, lambda: None)

    async def main() -> bool:
        place = OnLoop()
        waiter = permits.enter(gate, 9, place.wake)
        assert waiter is not None
        threading.Thread(target=permits.release).start()
        await asyncio.wait_for(place.wait(60.0), 30.0)
        return permits.leave(waiter)

    assert asyncio.run(main())
