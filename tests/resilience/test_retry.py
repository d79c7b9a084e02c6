"""When a call is sent again, when not, and what its caller gets."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import Pipeline, Resend, Retry, Tools, TotalTimeout, may_resend
from handrail.resilience.classify import CONNECT, FOREIGN, MISUSE, NETWORK, OK, POOL, TIMEOUT, Verdict, of_status
from handrail.resilience.events import Event, NotRetried, RetriesExhausted, RetryScheduled
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run

VERDICTS = [OK, CONNECT, POOL, TIMEOUT, NETWORK, MISUSE, FOREIGN, *map(of_status, (200, 404, 408, 429, 500, 501, 503))]


class Bench:
    """A retry in its total, on a clock that stands still, drawing half of each bound."""

    def __init__(self, *, total: float = 30.0, attempts: int = 3, longest_wait: float = 30.0) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: 0.5)
        retry = Retry(attempts=attempts, longest_wait=longest_wait, tools=tools)
        self.pipeline = Pipeline(TotalTimeout(total, tools=tools), retry)

    def wire(self, *steps: str | int | Reply | BaseException, takes: float = 0.0) -> ScriptedWire:
        return ScriptedWire(*steps, clock=self.clock, takes=takes)

    def play(self, wire: ScriptedWire, on_loop: bool, resend: Resend = Resend.SAFE) -> Reply:
        call = wire.call(resend=resend)
        return run(self.pipeline.run(call), self.clock) if on_loop else self.pipeline.run_sync(call)


both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])


@both
def test_a_good_first_answer_is_left_alone(on_loop: bool) -> None:
    """One attempt, no pause, no event."""
    bench = Bench()
    wire = bench.wire("ok")
    assert bench.play(wire, on_loop).status == 200
    assert (wire.sent, bench.clock.slept, bench.told.events) == ([1], [], [])


@both
def test_failures_are_repeated_until_one_attempt_is_good(on_loop: bool) -> None:
    """Attempts count 1, 2, 3, pauses double, each repetition is told, the failed reply is thrown away."""
    bench = Bench()
    wire = bench.wire("fail", 503, "ok")
    assert bench.play(wire, on_loop).status == 200
    assert wire.sent == [1, 2, 3]
    assert bench.clock.slept == [0.05, 0.1]
    assert [reply.status for reply in wire.discarded] == [503]
    assert bench.told.events == [
        RetryScheduled("http://peer", "GET", attempt=1, delay=0.05, cause="network"),
        RetryScheduled("http://peer", "GET", attempt=2, delay=0.1, cause="503"),
    ]


@both
def test_the_last_error_goes_up_with_a_note(on_loop: bool) -> None:
    """Exhausted: the very object that the wire raised last, and a note that counts the attempts."""
    bench, last = Bench(), ConnectionResetError("the third")
    wire = bench.wire("fail", "fail", last, takes=0.6)
    with pytest.raises(ConnectionResetError) as caught:
        bench.play(wire, on_loop)
    assert caught.value is last
    assert last.__notes__ == ["handrail: 3 attempts in 1.95 s to http://peer"]
    assert [event.attempts for event in bench.told.of(RetriesExhausted)] == [3]


@both
def test_the_last_reply_goes_up_and_is_not_thrown_away(on_loop: bool) -> None:
    """Exhausted by replies: the last one is the caller's, the ones before are gone."""
    bench = Bench()
    replies = [Reply(502), Reply(503), Reply(504)]
    wire = bench.wire(*replies)
    assert bench.play(wire, on_loop) is replies[2]
    assert wire.discarded == replies[:2]


@both
@pytest.mark.parametrize(
    ("resend", "reason"),
    [
        (Resend.UNSAFE, "unsafe_method"),
        (Resend.ONE_SHOT, "one_shot_body"),
        (Resend.ONE_TIME, "one_time_credentials"),
        (Resend.THEIRS, "own_retries"),
    ],
)
def test_what_may_have_had_an_effect_is_not_sent_again(on_loop: bool, resend: Resend, reason: str) -> None:
    """An unsafe request that may have arrived, and a body that is gone, get one attempt and an event that says why."""
    bench, first = Bench(), ConnectionResetError()
    wire = bench.wire(first, "ok")
    with pytest.raises(ConnectionResetError) as caught:
        bench.play(wire, on_loop, resend)
    assert caught.value is first
    assert not hasattr(first, "__notes__")
    assert (wire.sent, bench.clock.slept) == ([1], [])
    assert bench.told.events == [NotRetried("http://peer", "GET", 1, "network", reason)]


@both
def test_an_unsafe_request_that_never_left_is_sent_again(on_loop: bool) -> None:
    """A refused connection cannot have had an effect."""
    bench = Bench()
    assert bench.play(bench.wire("refuse", "ok"), on_loop, Resend.UNSAFE).status == 200


@both
def test_an_unsafe_request_stops_where_the_second_attempt_may_have_arrived(on_loop: bool) -> None:
    """Each failure is judged anew: never left, then broken off, ends it."""
    bench = Bench()
    wire = bench.wire("refuse", "fail", "ok")
    with pytest.raises(ConnectionResetError) as caught:
        bench.play(wire, on_loop, Resend.UNSAFE)
    assert wire.sent == [1, 2]
    assert caught.value.__notes__ == ["handrail: 2 attempts in 0.05 s to http://peer"]


@given(
    steps=st.lists(st.sampled_from(["fail", "refuse", 429, 500, 503, "ok", 404]), min_size=1, max_size=6),
    resend=st.sampled_from(Resend),
    attempts=st.integers(1, 5),
    on_loop=st.booleans(),
)
def test_nothing_is_sent_again_that_may_have_arrived_unless_that_is_safe(
    steps: list[str | int], resend: Resend, attempts: int, on_loop: bool
) -> None:
    """For every script: all attempts but the last failed in a way that allowed another, and never too many."""
    bench = Bench(attempts=attempts)
    wire = bench.wire(*steps)
    with suppress(ConnectionError):
        bench.play(wire, on_loop, resend)
    assert wire.sent == list(range(1, len(wire.sent) + 1))
    assert len(wire.sent) <= attempts
    for step in steps[: len(wire.sent) - 1]:
        assert resend not in (Resend.ONE_SHOT, Resend.THEIRS)
        if resend in (Resend.UNSAFE, Resend.ONE_TIME):
            assert step == "refuse"
        assert step != 500 or resend is Resend.SAFE
        assert step not in ("ok", 404)


@given(verdict=st.sampled_from(VERDICTS), resend=st.sampled_from(Resend))
def test_the_table_of_what_may_be_sent_again(verdict: Verdict, resend: Resend) -> None:
    """The rules of `may_resend`, from the other side: what must never be true."""
    allowed = may_resend(verdict, resend)
    if not verdict.transient or resend in {Resend.ONE_SHOT, Resend.THEIRS}:
        assert not allowed
    elif resend in {Resend.UNSAFE, Resend.ONE_TIME}:
        assert allowed is verdict.never_left
    else:
        assert allowed is (not verdict.safe_only or resend is Resend.SAFE)


@both
def test_a_mistake_is_not_repeated(on_loop: bool) -> None:
    """An exception that is not the client library's own goes up at once, without note or event."""
    bench, error = Bench(), ValueError("ours")
    with pytest.raises(ValueError, match="ours") as caught:
        bench.play(bench.wire(error), on_loop)
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert bench.told.events == []


@both
def test_a_mistake_in_a_later_attempt_goes_up_with_a_note(on_loop: bool) -> None:
    """The second attempt's own error is the last real outcome."""
    bench, error = Bench(), ValueError("ours")
    with pytest.raises(ValueError, match="ours") as caught:
        bench.play(bench.wire("fail", error), on_loop)
    assert caught.value.__notes__ == ["handrail: 2 attempts in 0.05 s to http://peer"]


@both
def test_retry_after_is_waited_out_in_full(on_loop: bool) -> None:
    """The pause is what the peer asked for plus the draw: never shorter, and not the same for everybody."""
    bench = Bench()
    assert bench.play(bench.wire(Reply(503, "2"), "ok"), on_loop).status == 200
    assert bench.clock.slept == [2.05]
    assert bench.told.of(RetryScheduled)[0].retry_after


@both
def test_retry_after_as_a_date(on_loop: bool) -> None:
    """The date counts from the clock's wall time, 2023-11-14 22:13:20."""
    bench = Bench()
    assert bench.play(bench.wire(Reply(429, "Tue, 14 Nov 2023 22:13:24 GMT"), "ok"), on_loop).status == 200
    assert bench.clock.slept == [pytest.approx(4.05)]


@both
def test_retry_after_garbage_changes_nothing(on_loop: bool) -> None:
    """The usual pause is made."""
    bench = Bench()
    bench.play(bench.wire(Reply(503, "later, maybe"), "ok"), on_loop)
    assert bench.clock.slept == [0.05]
    assert not bench.told.of(RetryScheduled)[0].retry_after


@both
def test_retry_after_up_to_the_deadline(on_loop: bool) -> None:
    """Where it only just fits, the draw gives way, not the peer's word."""
    bench = Bench(total=2.01)
    assert bench.play(bench.wire(Reply(503, "2"), "ok"), on_loop).status == 200
    assert bench.clock.slept == [pytest.approx(2.005)]


@both
def test_retry_after_past_the_deadline_is_not_waited_for(on_loop: bool) -> None:
    """The reply goes up at once, and the event names the deadline."""
    bench, reply = Bench(total=2.0), Reply(503, "2")
    assert bench.play(bench.wire(reply, "ok"), on_loop) is reply
    assert bench.clock.slept == []
    assert [event.reason for event in bench.told.of(NotRetried)] == ["deadline"]


@both
def test_retry_after_of_a_day_is_not_waited_for_without_a_deadline(on_loop: bool) -> None:
    """A call without bound does not sleep as long as a peer likes."""
    bench, reply = Bench(total=float("inf")), Reply(503, "86400")
    assert bench.play(bench.wire(reply, "ok"), on_loop) is reply
    assert [event.reason for event in bench.told.of(NotRetried)] == ["retry_after"]


@both
def test_an_attempt_that_cannot_begin_before_the_deadline_is_not_begun(on_loop: bool) -> None:
    """With less than the pause and 5 ms left, the original error goes up."""
    bench = Bench(total=1.05)
    wire = bench.wire("fail", "ok", takes=1.0)
    with pytest.raises(ConnectionResetError) as caught:
        bench.play(wire, on_loop)
    assert wire.sent == [1]
    assert not hasattr(caught.value, "__notes__")
    assert bench.told.events == [NotRetried("http://peer", "GET", 1, "network", "deadline")]


@given(
    total=st.floats(0.01, 5), takes=st.floats(0, 2), on_loop=st.booleans(), asked=st.sampled_from([None, "0", "1", "9"])
)
def test_no_attempt_begins_after_the_deadline(total: float, takes: float, on_loop: bool, asked: str | None) -> None:
    """Whatever takes how long: every attempt begins before the deadline."""
    bench, begun = Bench(total=total, attempts=6), list[float]()
    ends = bench.clock.now() + total

    def answer() -> Reply:
        begun.append(bench.clock.now())
        bench.clock.advance(takes)
        return Reply(503, asked)

    bench.play(ScriptedWire(answer, clock=bench.clock), on_loop)
    assert begun
    assert max(begun) < ends


@both
def test_a_peer_that_is_at_work_on_the_first_attempt_is_asked_again(on_loop: bool) -> None:
    """409 to a second attempt with a key means wait (IETF draft); the answer that comes then is the call's."""
    bench = Bench(attempts=4)
    assert bench.play(bench.wire(409), on_loop, Resend.KEYED).status == 409
    assert bench.told.events == []
    wire = bench.wire("fail", Reply(409, "1"), 409, "ok")
    assert bench.play(wire, on_loop, Resend.KEYED).status == 200
    assert bench.clock.slept == [0.05, 1.1, 0.2]
    assert [event.cause for event in bench.told.of(RetryScheduled)] == ["network", "409", "409"]
    assert [reply.status for reply in wire.discarded] == [409, 409]


@both
@pytest.mark.parametrize("resend", [Resend.SAFE, Resend.KEYED])
def test_a_409_that_stays_goes_up(on_loop: bool, resend: Resend) -> None:
    """Exhausted with a key, at once without one: the last answer is the caller's."""
    bench = Bench()
    wire = bench.wire("fail", 409)
    assert bench.play(wire, on_loop, resend).status == 409
    assert len(wire.sent) == (3 if resend is Resend.KEYED else 2)


@both
def test_one_attempt_means_no_retry(on_loop: bool) -> None:
    """`attempts=1` switches the policy off: no note, no event."""
    bench = Bench(attempts=1)
    with pytest.raises(ConnectionResetError) as caught:
        bench.play(bench.wire("fail"), on_loop)
    assert not hasattr(caught.value, "__notes__")
    assert bench.told.events == []


def test_a_reply_held_during_a_pause_that_is_broken_off_is_thrown_away() -> None:
    """An interrupt in the pause leaves no response open."""

    class Interrupted(FakeClock):
        def sleep_sync(self, seconds: float) -> None:
            raise KeyboardInterrupt

    clock = Interrupted()
    wire = ScriptedWire(503, clock=clock)
    with pytest.raises(KeyboardInterrupt):
        Pipeline(Retry(tools=Tools(clock=clock))).run_sync(wire.call())
    assert len(wire.discarded) == 1


def test_a_listener_sees_the_decision_before_the_pause() -> None:
    """The event comes before the sleep, so that a trace shows the backoff where it begins."""
    clock, times = FakeClock(), list[float]()

    def note(event: Event) -> None:
        times.append(clock.now())

    tools = Tools(clock=clock, emit=note, jitter=lambda: 0.5)
    wire = ScriptedWire("fail", "ok", clock=clock)
    run(Pipeline(Retry(tools=tools)).run(wire.call()), clock)
    assert times == [1000.0]
    assert clock.now() == 1000.05
