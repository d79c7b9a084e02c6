"""One key per logical call, only for a peer that says that it honours keys, and only as long as it does."""

from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import Resend, ResilienceSettings, Tools
from handrail.resilience.call import Call
from handrail.resilience.defaults import Plan, standard
from handrail.resilience.events import Event, KeysHonoured
from handrail.resilience.keys import BELIEVED, HONOURS
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run

both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])


def says(status: int = 200, value: str = "?1") -> Reply:
    """An answer that carries the advertisement."""
    return Reply(status, headers={HONOURS: value})


class Peer(ScriptedWire):
    """Notes the key of every attempt."""

    def __init__(self, *steps: str | int | Reply | BaseException, clock: FakeClock) -> None:
        super().__init__(*steps, clock=clock)
        self.keys: list[str | None] = []

    async def send(self, call: Call[Reply]) -> Reply:
        self.keys.append(call.key)
        return await super().send(call)

    def send_sync(self, call: Call[Reply]) -> Reply:
        self.keys.append(call.key)
        return super().send_sync(call)


class Bench:
    """The standard pipeline of one origin, its state, and what it told."""

    def __init__(self, mode: str = "auto", on_loop: bool = False) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        self.tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: 0.0)
        self.on_loop = on_loop
        self.settings = ResilienceSettings(idempotency_keys=mode, breaker_minimum_calls=10**6, retry_budget_floor=10**6)
        self.state = Plan(self.settings, self.tools).state("http://peer")
        self.pipeline = standard("http://peer", self.settings, self.tools, self.state)

    def post(
        self, *steps: str | int | Reply | BaseException, method: str = "POST", resend: Resend = Resend.UNSAFE
    ) -> Peer:
        """One logical call."""
        peer = Peer(*steps, clock=self.clock)
        call = peer.call(operation=method, resend=resend)
        with suppress(ConnectionError):
            run(self.pipeline.run(call), self.clock) if self.on_loop else self.pipeline.run_sync(call)
        return peer

    @property
    def changes(self) -> list[bool]:
        return [event.honoured for event in self.told.of(KeysHonoured)]


@both
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_always_means_one_key_for_each_call(on_loop: bool, method: str) -> None:
    """A uuid as a structured-field string, the same on all attempts, another for the next call."""
    bench = Bench("always", on_loop)
    first, second = bench.post("fail", 503, "ok", method=method), bench.post("ok", method=method)
    assert len(first.keys) == 3
    assert len({*first.keys, *second.keys}) == 2
    key = first.keys[0]
    assert key is not None
    assert key == f'"{UUID(key.strip(chr(34)), version=4)}"'


@both
def test_a_stranger_gets_no_key(on_loop: bool) -> None:
    """auto: an origin that has not said that it honours keys is sent none, and nothing a second time."""
    bench = Bench("auto", on_loop)
    assert bench.post("fail", "ok").keys == [None]
    assert bench.told.of(KeysHonoured) == []


@both
def test_a_peer_that_says_so_gets_keys_from_then_on(on_loop: bool) -> None:
    """The first answer teaches it; the next unsafe call is retried like a safe one; it is told once."""
    bench = Bench("auto", on_loop)
    assert bench.post(says()).keys == [None]
    later = bench.post("fail", says(503), says())
    assert len(later.keys) == 3
    assert set(later.keys) == {later.keys[0]}
    assert later.keys[0] is not None
    assert bench.told.of(KeysHonoured) == [KeysHonoured("http://peer", "POST", True)]


@both
def test_off_means_never(on_loop: bool) -> None:
    """Whatever the peer says."""
    bench = Bench("off", on_loop)
    bench.post(says())
    assert bench.post("fail", says()).keys == [None]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [(Reply(status), False) for status in (200, 201, 204, 301, 400, 404, 408, 409, 422, 429, 500, 501, 505)]
    + [(Reply(status), True) for status in (502, 503, 504)]
    + [(says(503, "?0"), True), (says(200, "?0"), False), (says(200, "true"), False), (says(200, ""), False)],
)
def test_it_is_forgotten_by_the_first_answer_without_it(answer: Reply, kept: bool) -> None:
    """Every answer but 502, 503 and 504, which gateways give in the peer's place, must say it again as `?1`."""
    bench = Bench()
    bench.post(says())
    bench.post(answer)
    assert bench.state.keys.honoured is kept
    assert bench.changes == ([True] if kept else [True, False])


def test_an_attempt_within_the_retries_teaches_too() -> None:
    """A peer that stops saying it in the middle of a call is believed at once: the next call has no key."""
    bench = Bench()
    bench.post(says())
    bench.post(Reply(503), Reply(429), "ok")
    assert bench.post("fail", "ok").keys == [None]


def test_errors_change_nothing() -> None:
    """No answer says nothing of keys."""
    bench = Bench()
    bench.post(says())
    bench.post("fail", "fail", "fail")
    assert bench.state.keys.honoured


def test_it_is_forgotten_with_time() -> None:
    """Ten minutes without an answer: the peer may have been replaced since."""
    bench = Bench()
    bench.post(says())
    bench.clock.advance(BELIEVED - 1)
    assert bench.post(says()).keys != [None]
    bench.clock.advance(BELIEVED + 1)
    assert bench.post("fail", "ok").keys == [None]
    assert bench.changes == [True, False]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "LOCK"])
def test_answers_to_other_methods_are_not_looked_at(method: str) -> None:
    """Neither learnt from nor forgotten by: the wire is not asked for the header."""

    class Deaf(Peer):
        def header(self, result: Reply, name: str) -> str | None:
            raise AssertionError(name)

    bench = Bench("always")
    peer = Deaf("ok", clock=bench.clock)
    resend = Resend.UNSAFE if method == "LOCK" else Resend.SAFE
    bench.pipeline.run_sync(peer.call(operation=method, resend=resend))
    assert peer.keys == [None]


@both
@pytest.mark.parametrize("resend", [Resend.KEYED, Resend.ONE_SHOT])
def test_a_key_of_the_code_and_a_body_that_is_gone_get_none(on_loop: bool, resend: Resend) -> None:
    """The code's own key is not touched, and no key makes a one-shot body repeatable."""
    bench = Bench("always", on_loop)
    peer = bench.post("fail", "ok", resend=resend)
    assert set(peer.keys) == {None}
    assert len(peer.sent) == (2 if resend is Resend.KEYED else 1)


def test_settings_of_one_call_count_for_that_call() -> None:
    """A pipeline of other settings on the same state: `always` there, and what was learnt is shared."""
    bench = Bench("off")
    always = standard("http://peer", ResilienceSettings(idempotency_keys="always"), bench.tools, bench.state)
    peer = Peer(says(), clock=bench.clock)
    always.run_sync(peer.call(operation="POST", resend=Resend.UNSAFE))
    assert peer.keys != [None]
    assert bench.state.keys.honoured
    assert bench.post("fail", "ok").keys == [None]


ANSWERS = ["fail", 200, 404, 503, says(), says(500), says(503)]


@given(calls=st.lists(st.tuples(st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4), st.booleans()), max_size=8))
def test_a_key_is_given_exactly_where_the_last_word_was_yes(
    calls: list[tuple[list[str | int | Reply], bool]],
) -> None:
    """For any sequence of answers: a call has a key if and only if the last answer that counts said `?1`."""
    bench, believed, seen = Bench(), False, set[str]()
    for script, on_loop in calls:
        bench.on_loop = on_loop
        peer = bench.post(*script)
        assert all((key is not None) is believed for key in peer.keys)
        keys = {key for key in peer.keys if key is not None}
        assert len(keys) <= 1
        assert not keys & seen
        seen |= keys
        for number in range(len(peer.sent)):
            answer = script[min(number, len(script) - 1)]
            if isinstance(answer, Reply):
                believed = True
            elif answer in (200, 404):
                believed = False


def test_each_change_is_told_with_the_origin() -> None:
    """Began, ceased, began: three events, and none for what only confirms."""
    bench = Bench()
    for answer in (says(), says(), Reply(200), Reply(200), says()):
        bench.post(answer)
    told: list[Event] = [KeysHonoured("http://peer", "POST", honoured) for honoured in (True, False, True)]
    assert bench.told.events == told
