"""Load shedding one request at a time: places and who gets them, the refusal, and that no place is ever lost."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from handrail.resilience.events import RequestRefused
from handrail.resilience.inbound._answer import Answer
from handrail.resilience.inbound._reply import Replies
from handrail.resilience.inbound._shedding_levels import Levels
from handrail.resilience.inbound._shedding_queue import Queue, Waiter
from handrail.resilience.testing import run, sleep
from tests.resilience_inbound.shedding_bench import Got, Service, answer, quiet

Ask = Callable[..., Awaitable[Got]]


class Gate:
    """An app that answers when it is told to; it keeps the paths in the order in which they were begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._open = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.append(scope["path"])
        await self._open.wait()
        await answer(send)

    def open(self) -> None:
        self._open.set()


def test_who_finds_no_place_waits_a_little_and_is_refused() -> None:
    """503 with Retry-After, and a word to callers not to repeat it; the connection stays."""
    gate = Gate()
    service = Service(gate, load_max=2, load_queue_wait=0.1)

    async def main() -> None:
        inside = [asyncio.create_task(service.ask()) for _ in range(2)]
        await sleep()
        refused = await service.ask()
        assert (refused.status, round(refused.seconds, 2)) == (503, 0.1)
        assert refused.headers[b"retry-after"] in {b"1", b"2", b"3"}
        assert refused.headers[b"x-envoy-overloaded"] == b"true"
        assert refused.headers[b"content-type"] == b"application/problem+json"
        assert b"connection" not in refused.headers
        gate.open()
        await quiet(service, set(inside))

    run(main(), service.clock)
    assert service.told.of(RequestRefused) == [RequestRefused("", "GET", "load_shedding", "limit", 503)]


def test_the_problem_says_what_it_is() -> None:
    """For machines: the type, the policy and the seconds; and for HEAD no body."""
    service = Service(Gate(), load_max=1, load_queue=0)
    bodies: list[bytes] = []

    async def send(message: Any) -> None:
        bodies.append(message.get("body", b""))

    async def main() -> None:
        first = asyncio.create_task(service.ask())
        await sleep()
        for method in ("GET", "HEAD"):
            await service.layer({"type": "http", "method": method, "path": "/", "headers": []}, None, send)  # type: ignore[arg-type]  # not read
        first.cancel()

    run(main(), service.clock)
    said = json.loads(bodies[1])
    assert (said["type"], said["status"], said["policy"]) == (
        "urn:handrail:problem:overloaded",
        503,
        "load_shedding",
    )
    assert bodies[3] == b""


@pytest.mark.parametrize("trace", ["ab" * 16, None])
@pytest.mark.parametrize("accept", [b"*/*", b"text/html"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_prepared_answer_is_the_same_as_any(trace: str | None, accept: bytes, method: str) -> None:
    """Written in advance: the same headers and the same body as of one that is written at its time."""
    answer = Answer(503, "overloaded", "too much", "load_shedding", None, 2.0, overloaded=True)
    replies = Replies(trace_id=lambda: trace, link="http://jaeger/{trace_id}")
    scope = {"type": "http", "method": method, "path": "/", "headers": [(b"accept", accept)]}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        await replies.send(answer, scope, send, quietly=True)
        await replies.prepared(answer).send(scope, send)

    run(main())
    assert sent[:2] == sent[2:]


def test_without_a_queue_the_refusal_is_immediate() -> None:
    """Not a turn of the loop is waited."""
    service = Service(Gate(), load_max=1, load_queue=0)

    async def main() -> None:
        first = asyncio.create_task(service.ask())
        await sleep()
        assert (await service.ask()).seconds == 0
        first.cancel()

    run(main(), service.clock)


def test_who_waits_gets_the_place_of_who_ends_the_highest_level_first() -> None:
    """A checkout that came last goes before reports that wait; within a level the first comes first."""
    gate = Gate()
    service = Service(gate, load_max=1, load_queue_wait=5, routes=[("/pay", "critical_plus"), ("/report", "sheddable")])

    async def main() -> None:
        tasks = set()
        for path in ("/first", "/report", "/a", "/b", "/pay"):
            tasks.add(asyncio.create_task(service.ask(path)))
            await sleep()
        gate.open()
        await quiet(service, tasks)

    run(main(), service.clock)
    assert gate.begun == ["/first", "/pay", "/a", "/b", "/report"]


def test_a_full_queue_gives_up_the_oldest_of_the_lowest_level() -> None:
    """It has waited for the longest, and its caller is the next to give up."""
    queue = Queue(2, 1.0)
    loop = asyncio.new_event_loop()
    report, plain, pay = (Waiter(level, 0.0, 9.0, loop.create_future()) for level in (3, 1, 0))
    assert [queue.put(report), queue.put(plain), queue.put(pay)] == [None, None, report]
    assert (queue.count, queue.next(0.0), queue.next(0.0), queue.count) == (2, pay, plain, 0)
    loop.close()


def test_a_queue_that_stands_serves_the_newest_and_keeps_nobody() -> None:
    """Adaptive LIFO and controlled delay: after 100 ms without an empty queue. The uppermost level keeps its order."""
    queue = Queue(10, 1.0)
    loop = asyncio.new_event_loop()
    old, new, newest = (Waiter(1, since, 99.0, loop.create_future()) for since in (0.0, 0.1, 0.2))
    first, second = (Waiter(0, since, 99.0, loop.create_future()) for since in (0.1, 0.15))
    for waiter in (old, new, first, second, newest):
        queue.put(waiter)
    assert [queue.next(0.2) for _ in range(3)] == [first, second, newest]
    assert queue.late(0.2) == [old, new]
    assert queue.count == 0
    loop.close()


def test_a_short_queue_serves_the_first() -> None:
    """A burst is no overload: whoever came first has waited for the longest."""
    queue = Queue(10, 1.0)
    loop = asyncio.new_event_loop()
    one, two = (Waiter(1, since, 99.0, loop.create_future()) for since in (0.0, 0.01))
    queue.put(one)
    queue.put(two)
    assert queue.late(0.05) == []
    assert queue.next(0.05) is one
    loop.close()


def test_who_waits_no_longer_than_its_deadline() -> None:
    """What nobody waits for any more leaves the queue."""
    service = Service(Gate(), load_max=1, load_queue_wait=5, left=lambda _scope: 0.2)

    async def main() -> None:
        first = asyncio.create_task(service.ask())
        await sleep()
        refused = await service.ask()
        assert (refused.status, refused.seconds < 0.3) == (503, True)
        first.cancel()

    run(main(), service.clock)


def test_who_has_gone_leaves_the_queue_and_who_stays_loses_nothing() -> None:
    """Where requests may wait for long, their clients are watched; the app reads what was read meanwhile."""
    gate = Gate()
    bodies: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/first":
            bodies.append(await receive())
        await gate(scope, receive, send)

    important = [("/stays", "critical_plus"), ("/leaves", "critical_plus")]  # others do not wait for that long
    service = Service(app, load_max=1, load_queue_wait=5, routes=important)

    def client(leaves: float | None) -> Any:
        said = [{"type": "http.request", "body": b"1", "more_body": False}]

        async def receive() -> Any:
            if said:
                return said.pop()
            await sleep(leaves or 3600)
            return {"type": "http.disconnect"}

        return receive

    async def main() -> None:
        first = asyncio.create_task(service.ask("/first"))
        await sleep()
        stays = asyncio.create_task(service.ask("/stays", receive=client(None)))
        leaves = await service.ask("/leaves", receive=client(0.3))
        assert (leaves.status, round(leaves.seconds, 2)) == (0, 0.3)
        gate.open()
        await quiet(service, {first, stays})

    run(main(), service.clock)
    assert gate.begun == ["/first", "/stays"]
    assert [body["body"] for body in bodies] == [b"1"]
    assert service.told.of(RequestRefused) == []


@pytest.mark.parametrize(
    ("path", "header", "level"),
    [
        ("/pay", b"", 0),
        ("/reports/7", b"", 3),
        ("/other", b"", 1),
        ("/other", b"sheddable_plus", 2),
        ("/pay", b" SHEDDABLE ", 3),
        ("/pay", b"nonsense", 0),
    ],
)
def test_levels(path: str, header: bytes, level: int) -> None:
    """The header first, where it says a level; then the first pattern that fits; else critical."""
    levels = Levels(
        [("/pay".__eq__, "critical_plus"), (lambda path: path.startswith("/reports"), "sheddable")], "X-Priority"
    )
    assert levels({"path": path, "headers": [(b"x-priority", header)] if header else []}) == level


def test_nobody_is_believed_where_the_header_is_off() -> None:
    """A stranger would call himself critical_plus."""
    assert Levels()({"path": "/", "headers": [(b"off", b"critical_plus"), (b"", b"critical_plus")]}) == 1


def test_a_websocket_and_a_lifespan_are_none_of_its_business() -> None:
    """They pass without a frame of ours."""

    async def app(*_: object) -> None:
        return

    service = Service(app)
    for kind in ("websocket", "lifespan"):
        awaited: Any = service.layer({"type": kind}, None, None)  # type: ignore[arg-type]  # not called
        assert awaited.cr_code is app.__code__
        asyncio.run(awaited)


def test_event_loops_do_not_share_places() -> None:
    """Each has its own load; one that is closed is forgotten."""
    gates = [Gate(), Gate(), Gate()]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    service = Service(app, load_max=1)
    for _ in gates:
        run(service.ask(), service.clock)
    assert [load.under_way for load in service.layer.loads()] == [0]


def test_on_another_event_loop_the_limit_alone_holds() -> None:
    """Trio has no queue of asyncio's: who finds no place is refused at once, and nothing breaks."""
    statuses: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            begun.set()
            await go.wait()
        await answer(send)

    service = Service(app, load_max=1)
    begun, go = trio.Event(), trio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def ask(path: str) -> None:
        await service.layer({"type": "http", "method": "GET", "path": path, "headers": []}, None, send)  # type: ignore[arg-type]  # not called

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "/slow")
            await begun.wait()
            await ask("/other")
            go.set()
        await ask("/other")

    trio.run(main)
    assert statuses == [503, 200, 200]
    assert service.load.under_way == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["well", "error", "raise", "hang", "stream", "events", "silent"]),
        st.sampled_from(["stay", "cancel", "cancel_late"]),
        st.sampled_from(["critical_plus", "critical", "sheddable"]),
        st.floats(0, 0.3),
    ),
    max_size=40,
)


@given(STEPS, st.integers(1, 5), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_no_place_is_ever_lost(steps: list[tuple[str, str, str, float]], most: int, queue: int) -> None:
    """Whatever the app does, and whenever its client goes: at the end nothing is under way, and nothing waits."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kind, seconds = scope["path"][1:], scope["seconds"]
        await sleep(seconds)
        if kind == "raise":
            raise ValueError
        if kind == "hang":
            await sleep(60)
        if kind in ("stream", "events"):
            about = b"text/event-stream" if kind == "events" else b"text/plain"
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", about)]})
            for _ in range(3):
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await sleep(4)
            await send({"type": "http.response.body", "body": b""})
        elif kind != "silent":
            await answer(send, 500 if kind == "error" else 200)

    service = Service(app, load_max=most, load_queue=queue, streams=2, priority_header="x-level")

    async def main() -> None:
        tasks = set()
        for kind, leaves, level, seconds in steps:
            task = asyncio.create_task(service.ask(f"/{kind}", seconds=seconds, headers=[(b"x-level", level.encode())]))
            tasks.add(task)
            if leaves == "cancel":
                asyncio.get_running_loop().call_later(seconds / 2, task.cancel)
            elif leaves == "cancel_late":
                asyncio.get_running_loop().call_later(seconds + 1, task.cancel)
            await sleep(0.02)
        if tasks:
            await quiet(service, tasks)
            assert service.load.uppermost == 0
            assert (await service.ask("/well", seconds=0)).status == 200

    run(main(), service.clock)
