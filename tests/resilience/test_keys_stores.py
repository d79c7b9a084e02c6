"""One origin, several instances with a store each: a key is worth something with the store that it names alone."""

from contextlib import suppress

import pytest

from handrail.resilience import Resend, ResilienceSettings, Tools
from handrail.resilience.call import Call
from handrail.resilience.defaults import Plan, standard
from handrail.resilience.events import KeysHonoured, NotRetried
from handrail.resilience.keyed import HONOURS, REFUSED, Key, promise
from handrail.resilience.keys import BELIEVED
from handrail.resilience.outbound.headers import outgoing
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run

both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])


def says(store: str, status: int = 200, refused: str = "", retry_after: str | None = None, over: bool = False) -> Reply:
    """An answer of the instance that has this store."""
    headers = {HONOURS: f'?1;store="{store}"'}
    if refused:
        headers[REFUSED] = refused
    if over:
        headers["x-envoy-overloaded"] = "true"
    return Reply(status, retry_after, headers)


class Peer(ScriptedWire):
    """Notes what every attempt tells of keys."""

    def __init__(self, bench: "Bench", *steps: str | int | Reply | BaseException) -> None:
        super().__init__(*steps, clock=bench.clock)
        self._tools = bench.tools
        self.told: list[dict[str, str]] = []

    def _next(self, call: Call[Reply]) -> object:  # type: ignore[override]
        self.told.append({name: text for name, text in outgoing(call, self._tools) if name.startswith("idem")})
        return super()._next(call)


class Bench:
    """The standard pipeline of one origin."""

    def __init__(self, on_loop: bool = False, mode: str = "auto") -> None:
        self.clock = FakeClock()
        self.events = RecordingListener()
        self.tools = Tools(clock=self.clock, emit=self.events, jitter=lambda: 0.0)
        self.on_loop = on_loop
        self.settings = ResilienceSettings(idempotency_keys=mode, breaker_minimum_calls=10**6, retry_budget_floor=10**6)
        self.state = Plan(self.settings, self.tools).state("http://peer")
        self.pipeline = standard("http://peer", self.settings, self.tools, self.state)

    def post(self, *steps: str | int | Reply | BaseException) -> tuple[Peer, Reply | BaseException]:
        """One logical call, and what its caller gets."""
        peer = Peer(self, *steps)
        call = peer.call(operation="POST", resend=Resend.UNSAFE)
        with suppress(RuntimeError):
            try:
                if self.on_loop:
                    return peer, run(self.pipeline.run(call), self.clock)
                return peer, self.pipeline.run_sync(call)
            except ConnectionError as error:
                return peer, error
        raise AssertionError


@pytest.mark.parametrize(
    ("value", "store"),
    [
        (None, None),
        ("?0", None),
        ("true", None),
        ("?1", ""),
        ('?1;store="ab"', "ab"),
        ('?1 ; store="ab"', "ab"),
        ("?1;store=ab", "ab"),
        ('?1;other="x"', ""),
        ('?0;store="ab"', None),
        (f'?1;store="{"a" * 100}"', "a" * 64),
    ],
)
def test_what_is_read_of_the_advertisement(value: str | None, store: str | None) -> None:
    """`?1` with or without the name of a store, bounded; anything else is no promise."""
    found = promise(value)
    assert (None if found is None else found.store) == store


@both
def test_a_key_names_the_store_that_it_relies_on(on_loop: bool) -> None:
    """On every attempt, beside the key; a peer that names none is told none."""
    bench = Bench(on_loop)
    bench.post(says("a"))
    peer, _ = bench.post("fail", says("a"))
    assert [told["idempotency-key-store"] for told in peer.told] == ['"a"', '"a"']
    assert peer.told[0] == peer.told[1]
    plain = Bench(on_loop)
    plain.post(Reply(200, headers={HONOURS: "?1"}))
    peer, _ = plain.post("ok")
    assert list(peer.told[0]) == ["idempotency-key"]


@both
def test_another_instance_that_refuses_gets_the_call_without_a_key(on_loop: bool) -> None:
    """421 to the first attempt: nothing was done, so it goes out again, once, with no key and no right to a third."""
    bench = Bench(on_loop)
    bench.post(says("a"))
    peer, answer = bench.post(says("b", 421, "misdirected"), says("b"))
    assert isinstance(answer, Reply)
    assert answer.status == 200
    assert [bool(told) for told in peer.told] == [True, False]
    bench = Bench(on_loop)
    bench.post(says("a"))
    peer, answer = bench.post(says("b", 421, "misdirected"), "fail", "ok")
    assert isinstance(answer, ConnectionResetError)
    assert len(peer.sent) == 2


@both
def test_an_origin_of_two_stores_is_not_believed_for_ten_minutes(on_loop: bool) -> None:
    """Also where both answer well: no key, nothing sent twice, told once; then it is believed anew."""
    bench = Bench(on_loop)
    bench.post(says("a"))
    bench.post(says("b"))
    bench.post(says("a"))
    peer, _ = bench.post("fail", "ok")
    assert peer.told == [{}]
    assert [event.honoured for event in bench.events.of(KeysHonoured)] == [True, False]
    bench.clock.advance(BELIEVED + 1)
    bench.post(says("b"))
    peer, _ = bench.post("fail", says("b"))
    assert len(peer.told) == 2


@both
def test_a_later_attempt_that_is_refused_ends_with_the_first_failure(on_loop: bool) -> None:
    """Broken off at one instance, 421 of another: the caller, who gave no key, gets the error that there was."""
    bench = Bench(on_loop)
    bench.post(says("a"))
    peer, answer = bench.post("fail", says("b", 421, "misdirected"), "ok")
    assert isinstance(answer, ConnectionResetError)
    assert len(peer.sent) == 2
    assert [event.reason for event in bench.events.of(NotRetried)] == ["key_misdirected"]


@both
def test_one_that_is_at_work_is_waited_for(on_loop: bool) -> None:
    """409 in-flight to a later attempt: asked again after its Retry-After, and its answer is the caller's."""
    bench = Bench(on_loop)
    bench.post(says("a"))
    before = bench.clock.now()
    _, answer = bench.post("fail", says("a", 409, "in-flight", "1"), says("a", 201))
    assert isinstance(answer, Reply)
    assert answer.status == 201
    assert bench.clock.now() - before >= 1


@both
def test_one_that_stays_at_work_ends_with_the_first_failure(on_loop: bool) -> None:
    """409 in-flight to every further attempt: the error that there was, not an answer about a key nobody gave."""
    bench = Bench(on_loop)
    bench.post(says("a"))
    peer, answer = bench.post("fail", says("a", 409, "in-flight"), says("a", 409, "in-flight"))
    assert isinstance(answer, ConnectionResetError)
    assert len(peer.sent) == 3


@both
def test_one_that_was_interrupted_is_not_asked_again(on_loop: bool) -> None:
    """409 interrupted is final, also after one in-flight; the caller gets the error that there was."""
    bench = Bench(on_loop)
    bench.post(says("a"))
    waits, ends = says("a", 409, "in-flight"), says("a", 409, "interrupted", over=True)
    peer, answer = bench.post("fail", waits, ends, "ok")
    assert isinstance(answer, ConnectionResetError)
    assert len(peer.sent) == 3


@both
def test_a_conflict_of_the_service_itself_is_an_answer(on_loop: bool) -> None:
    """A 421 or 409 without our header reaches the caller as it is; a 421 to a first attempt is not sent again."""
    bench = Bench(on_loop)
    bench.post(says("a"))
    for status in (409, 421):
        peer, answer = bench.post(says("a", status), "ok")
        assert isinstance(answer, Reply)
        assert (answer.status, len(peer.sent)) == (status, 1)


def test_always_relies_on_no_store() -> None:
    """`always` is the user's word for the peer: whichever instance answers, the key goes out and names none."""
    bench = Bench(mode="always")
    bench.post(says("a"))
    peer, _ = bench.post("fail", "ok")
    assert [list(told) for told in peer.told] == [["idempotency-key"]] * 2


def test_a_key_is_text() -> None:
    """A structured-field string, for the header as it is."""
    key = Key.new("a")
    assert key.startswith('"')
    assert key.store == "a"
