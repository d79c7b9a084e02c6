"""Whatever happens, in any order: money is taken at most once for a key, and no two answers for it differ."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handrail.resilience.replay.courier import StoreAway
from handrail.resilience.replay.testing import DirectCourier, MemoryBackend
from handrail.resilience.replay.work import Begin, Free, Held, Work
from handrail.resilience.testing import FakeClock, run, sleep
from tests.resilience_inbound.idempotency_bench import Got, Service, turns, whole

LEASE = 10.0
ENDS = ("answers", "streams", "fails", "raises", "breaks off", "waits", "large")


class Mortal(DirectCourier):
    """A courier that does what the real one promises, each step a turn of the loop later, until its process dies."""

    dead = False

    async def ask(self, work: Work, seconds: float, /) -> Held | bool:
        await self.step()
        try:
            result = await super().ask(work, seconds)
        except StoreAway:
            if isinstance(work, Begin):
                self.tell(Free(work.key, work.owner))
            raise
        try:
            await self.step()
        except BaseException:
            if isinstance(work, Begin):
                self.tell(Free(work.key, work.owner))
            raise
        return result

    async def step(self) -> None:
        await sleep()
        if self.dead:
            await asyncio.Event().wait()

    def tell(self, work: Work) -> None:
        if not self.dead:
            self.told.append(work)
            self.catch_up()

    def catch_up(self) -> None:
        """As its thread does, as soon as the store is there."""
        if self.dead:
            return
        try:
            self.settle()
        except ConnectionError:
            return


@dataclass
class Attempt:
    """One run of the app: `failed` is None until it has ended, or said that it failed."""

    key: str
    acted: bool = False
    failed: bool | None = None


@dataclass
class World:
    """Two workers and the store that they share; whatever dies is replaced."""

    clock: FakeClock
    attempts: list[Attempt] = field(default_factory=list)
    answers: dict[str, set[bytes]] = field(default_factory=dict)
    clients: list["asyncio.Task[None]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.backend = MemoryBackend(self.clock)
        self.going = asyncio.Event()
        self.workers = [self.worker(), self.worker()]

    def worker(self) -> Service:
        return Service(
            courier=self.courier(), backend=self.backend, clock=self.clock, idempotency_lease=LEASE,
            idempotency_answer_max=100,
        )  # fmt: skip

    def courier(self) -> Mortal:
        before, self.backend.before = self.backend.before, None
        made = Mortal(self.backend)
        self.backend.before = before
        return made

    def couriers(self) -> list[Mortal]:
        return [worker.courier for worker in self.workers if isinstance(worker.courier, Mortal)]

    def app(self, courier: Mortal, key: str, end: str) -> Any:
        """Reads, acts, ends; each step may be the last of its process."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            attempt = Attempt(key)
            self.attempts.append(attempt)
            try:
                body = await whole(receive)
                await courier.step()
                if end == "waits":
                    await self.going.wait()
                await courier.step()
                attempt.acted = True
                await courier.step()
                await self.end(end, b"%d of %b" % (len(self.attempts), body), courier, send, attempt)
            except Exception:
                attempt.failed = end != "breaks off"
                raise
            attempt.failed = attempt.failed or False

        return app

    async def end(self, end: str, body: bytes, courier: Mortal, send: Any, attempt: Attempt) -> None:
        if end == "raises":
            raise ValueError("a bug")
        await send({"type": "http.response.start", "status": 503 if end == "fails" else 201, "headers": []})
        await courier.step()
        if end == "breaks off":
            raise ValueError("a bug")
        if end in ("streams", "large"):
            body += b"." * (200 if end == "large" else 0)
            await send({"type": "http.response.body", "body": body[:4], "more_body": True})
            await courier.step()
            body = body[4:]
        if end == "fails":
            attempt.failed = True  # from here on the key may be free
        await send({"type": "http.response.body", "body": body})
        await courier.step()

    async def client(self, worker: Service, key: str, body: bytes, end: str) -> None:
        assert isinstance(worker.courier, Mortal)
        layer = worker.layer
        layer.app = _Choosing(layer.app)
        layer.app.next[key, body] = self.app(worker.courier, key, end)
        got = Got()
        try:
            await worker.post(key, body, got=got)
        except ValueError:
            return
        finally:
            whole_answer = bool(got.messages) and not got.messages[-1].get("more_body", True)
        if got.status == 201 and whole_answer:
            self.answers.setdefault(key, set()).add(got.body)

    async def do(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("send", int(which), str(key), bytes(body), str(end)):
                worker = self.workers[which]
                self.clients.append(asyncio.create_task(self.client(worker, key, body, end)))
            case ("turns", int(number)):
                await turns(number)
            case ("release",):
                self.going.set()
            case ("cancel", int(which)) if self.clients:
                self.clients[which % len(self.clients)].cancel()
            case ("advance", float(seconds)):
                self.clock.advance(seconds)
                for courier in self.couriers():
                    courier.catch_up()
            case ("outage", before, after):
                self.backend.before = ConnectionError("refused") if before else None
                self.backend.after = ConnectionError("reset") if after else None
            case ("die", int(which)):
                courier = self.couriers()[which]
                courier.dead = True
                courier.die()
                self.workers[which] = self.worker()

    def check(self) -> None:
        for key in ("one", "two"):
            tried = [attempt for attempt in self.attempts if attempt.key == key]
            acted = [attempt for attempt in tried if attempt.acted and attempt.failed is not True]
            assert len(acted) <= 1, f"{key}: acted {len(acted)} times"
            if acted:
                assert tried[-1] is acted[0] or not any(one.acted for one in tried[tried.index(acted[0]) + 1 :])
            assert len(self.answers.get(key, ())) <= 1, f"{key}: {self.answers[key]}"


class _Choosing:
    """An app that does for a request what its client wants to see."""

    def __init__(self, inner: Any) -> None:
        self.next: dict[tuple[str, bytes], Any] = dict(inner.next) if isinstance(inner, _Choosing) else {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        key = dict(scope["headers"])[b"idempotency-key"].decode()
        chosen = next(app for (named, _), app in reversed(self.next.items()) if named == key)
        await chosen(scope, receive, send)


which = st.integers(0, 1)
steps = st.one_of(
    st.tuples(
        st.just("send"), which, st.sampled_from(["one", "two"]), st.sampled_from([b"x", b"y"]), st.sampled_from(ENDS)
    ),
    st.tuples(st.just("turns"), st.integers(1, 12)),
    st.tuples(st.just("release")),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("advance"), st.sampled_from([1.0, 3.0, 11.0])),
    st.tuples(st.just("outage"), st.booleans(), st.booleans()),
    st.tuples(st.just("die"), which),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=1, max_size=30))
def test_at_most_once_whatever_happens(story: list[tuple[Any, ...]]) -> None:
    """Duplicates, failures, clients that leave, outages before and after the work, killed workers. In the end no key
    is stuck: each request is answered, or refused for good.
    """
    logging.getLogger("handrail").setLevel(logging.CRITICAL)
    clock = FakeClock()

    async def main() -> None:
        world = World(clock)
        for step in story:
            await world.do(step)
            world.check()
        for step in (("outage", False, False), ("release",), ("turns", 60), ("advance", 1.0), ("turns", 5)):
            await world.do(step)
        clock.advance(LEASE + 1)
        for courier in world.couriers():
            courier.catch_up()
        for key in ("one", "two"):
            got = Got()
            fresh = world.worker()
            fresh.layer.app = world.app(fresh.courier, key, "answers")  # type: ignore[arg-type]  # a Mortal
            await fresh.post(key, b"x", got=got)
            assert got.status in (201, 422) or got.problem in (
                "idempotency-key-interrupted",
                "idempotency-answer-not-kept",
            )
            if got.status == 201:
                world.answers.setdefault(key, set()).add(got.body)
        world.check()

    try:
        run(main(), clock)
    finally:
        logging.getLogger("handrail").setLevel(logging.NOTSET)


def test_the_property_sees_a_layer_that_forgets() -> None:
    """It can fail: with a store that loses its keys, money is taken twice."""

    async def main() -> None:
        world = World(FakeClock())
        for _ in range(2):
            await world.do(("send", 0, "one", b"x", "answers"))
            await world.do(("turns", 30))
            world.backend.rows.clear()
        with pytest.raises(AssertionError, match="acted 2 times"):
            world.check()

    run(main())
