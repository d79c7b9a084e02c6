"""The last good answer to the same GET: what is kept, what it stands in for, and for how long."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import Call, Resend, Tools
from handrail.resilience.events import FallbackUsed
from handrail.resilience.pipeline import Pipeline
from handrail.resilience.stale import MOST_ANSWERS, MOST_BYTES, Answers, Later, Snapshot, StaleOnError
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, Step, run

both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])
URL = "http://peer/items"


def _nothing() -> None:
    """There is nothing to be read."""


class KeepingWire(ScriptedWire):
    """A scripted peer whose answers can be kept."""

    def __init__(self, step: Step, headers: dict[str, str], url: str, body: bytes, way: str) -> None:
        super().__init__(step)
        self.headers, self.url, self.body, self.way = headers, url, body, way
        self.unread = False
        self.read: Callable[[], None] = _nothing

    def asked(self, call: Call[Reply]) -> tuple[str, tuple[tuple[str, str], ...], str]:
        return self.url, tuple(self.headers.items()), self.way

    def snapshot(self, call: Call[Reply], result: Reply, most: int, later: Later) -> Snapshot | None:
        whole = Snapshot(result.status, tuple(result.headers.items()), self.body)
        self.read = lambda: later(whole)
        if len(self.body) > most:
            return None
        return replace(whole, body=b"", whole=False) if self.unread else whole

    def restore(self, call: Call[Reply], answer: Snapshot) -> Reply:
        return Reply(answer.status, headers=dict(answer.headers))


class Bench:
    """One origin with stale-on-error of 60 s."""

    def __init__(self, on_loop: bool = False) -> None:
        self.on_loop = on_loop
        self.body = b"{}"
        self.way = ""
        self.unread = False
        self.clock = FakeClock()
        self.told = RecordingListener()
        self.answers = Answers()
        tools = Tools(clock=self.clock, emit=self.told)
        self.pipeline = Pipeline(StaleOnError(60.0, answers=self.answers, tools=tools))

    def ask(self, step: Step, method: str = "GET", url: str = URL, **headers: str) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        wire = KeepingWire(step, sent, url, self.body, self.way)
        wire.unread = self.unread
        call = wire.call(operation=method, resend=Resend.SAFE)
        self.wire = wire
        return run(self.pipeline.run(call), self.clock) if self.on_loop else self.pipeline.run_sync(call)

    def stands_in(self, **asked: Any) -> bool:
        """Whether a failed call is answered from what is kept."""
        return self.ask(503, **asked).status == 200


def good(**headers: str) -> Reply:
    """A good answer."""
    return Reply(200, headers={name.replace("_", "-"): value for name, value in headers.items()})


@both
@pytest.mark.parametrize("step", [503, 429, 500, "fail", "refuse"])
def test_the_last_good_answer_stands_in(on_loop: bool, step: Step) -> None:
    """For failed statuses, which are let go of, and for errors; it tells its age and that it is stale."""
    bench = Bench(on_loop)
    bench.ask(good(etag="1", age="5"))
    bench.clock.advance(20)
    found = bench.ask(step)
    assert (found.status, found.headers["etag"], found.headers["age"]) == (200, "1", "25")
    assert found.headers["cache-status"] == "handrail; hit; detail=stale-on-error"
    assert len(bench.wire.discarded) == isinstance(step, int)
    (event,) = bench.told.of(FallbackUsed)
    assert (event.kind, event.age) == ("stale", 25.0)


@both
def test_only_for_the_seconds_of_the_setting(on_loop: bool) -> None:
    """A minute, and not a second more; a newer answer begins anew."""
    bench = Bench(on_loop)
    bench.ask(good())
    bench.clock.advance(60)
    assert bench.stands_in()
    bench.clock.advance(1)
    assert not bench.stands_in()
    with pytest.raises(ConnectionResetError):
        bench.ask("fail")
    bench.ask(good())
    assert bench.stands_in()


@pytest.mark.parametrize("error", [KeyError(), asyncio.CancelledError()])
def test_not_for_what_is_no_failure_of_the_peer(error: BaseException) -> None:
    """A cancellation and a foreign exception go up."""
    bench = Bench()
    bench.ask(good())
    with pytest.raises(type(error)):
        bench.ask(error)


@pytest.mark.parametrize(
    "answer",
    [
        good(cache_control="no-store"),
        good(cache_control="max-age=60, Private"),
        good(cache_control='private="x-a"'),
        good(cache_control="no-cache"),
        good(cache_control="must-revalidate"),
        good(vary="*"),
        good(vary="accept, *"),
        good(set_cookie="a=b"),
        Reply(206),
        Reply(304),
        Reply(404),
    ],
    ids=lambda answer: f"{answer.status}{answer.headers}",
)
def test_what_may_not_be_kept_is_not(answer: Reply) -> None:
    """By RFC 9111, or because it belongs to one user; and what was kept before is no longer the last good answer."""
    bench = Bench()
    bench.ask(good())
    bench.ask(answer)
    assert not bench.stands_in()


@pytest.mark.parametrize("name", ["authorization", "cookie", "proxy_authorization", "dpop", "range", "if_none_match"])
def test_nothing_with_credentials_or_conditions(name: str) -> None:
    """Neither kept, nor given to such a request."""
    bench = Bench()
    bench.ask(good(), **{name: "x"})
    assert not bench.stands_in()
    bench.ask(good())
    assert not bench.stands_in(**{name: "x"})


def test_credentials_in_the_url_count_as_such() -> None:
    """`http://user:secret@peer` is an Authorization header to every client."""
    bench = Bench()
    bench.ask(good(), url="http://me:secret@peer/items")
    assert bench.answers.count() == 0


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"accept": "text/html"}, {"accept": "application/json"}, False),
        ({"accept_language": "de"}, {"accept_language": "en"}, False),
        ({"x_user": "1"}, {"x_user": "2"}, False),
        ({"host": "a"}, {"host": "b"}, False),
        ({"x_api_key": "1"}, {}, False),
        ({"traceparent": "1", "x_request_id": "1"}, {"traceparent": "2"}, True),
        ({"x_envoy_attempt_count": "1"}, {}, True),
        ({"cache_control": "no-store"}, {}, False),
    ],
)
def test_requests_that_differ_share_no_answer(first: dict[str, str], second: dict[str, str], same: bool) -> None:
    """Any header may mean something, whether `Vary` says so or not, but for those of tracing and transport."""
    bench = Bench()
    bench.ask(good(), **first)
    assert bench.stands_in(**second) is same


def test_clients_that_reach_the_peer_otherwise_share_no_answer() -> None:
    """Another certificate is another user; and what one of them trusts is not the other's word."""
    bench = Bench()
    bench.ask(good())
    bench.way = "as somebody else"
    assert not bench.stands_in()
    bench.ask(good(), method="POST")
    bench.way = ""
    assert not bench.stands_in(), "a change is one for everybody"


def test_vary_counts_for_what_means_nothing_to_us() -> None:
    """A peer that answers by `User-Agent` says so, and is believed."""
    bench = Bench()
    bench.ask(good(vary="User-Agent"), user_agent="a")
    assert bench.stands_in(user_agent="a")
    assert not bench.stands_in(user_agent="b")


@pytest.mark.parametrize(
    ("control", "age", "stands"),
    [
        ("stale-if-error=30", 30, True),
        ("stale-if-error=30", 31, False),
        ("max-age=10, stale-if-error=30", 40, True),
        ("max-age=10, stale-if-error=30", 41, False),
        ("stale-if-error=9999", 61, False),
        ("stale-if-error=0", 1, False),
        ("stale-if-error=soon", 1, False),
        ("max-age=5", 60, True),
    ],
)
def test_the_peer_may_say_less_never_more(control: str, age: float, stands: bool) -> None:
    """RFC 5861: `stale-if-error` counts from when the answer is no longer fresh, up to the setting."""
    bench = Bench()
    bench.ask(good(cache_control=control))
    bench.clock.advance(age)
    assert bench.stands_in() is stands


def test_the_request_may_say_less_too() -> None:
    """RFC 5861, 4: the directive is for requests as well; and `no-cache` wants no old answer."""
    bench = Bench()
    bench.ask(good(), cache_control="stale-if-error=5")
    bench.clock.advance(6)
    assert not bench.stands_in(cache_control="stale-if-error=5")
    bench.ask(good())
    assert not bench.stands_in(cache_control="no-cache")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_change_forgets_what_was_there(method: str) -> None:
    """RFC 9111, 4.4: after a change that went well the old answer is none; other URLs keep theirs."""
    bench = Bench()
    bench.ask(good())
    bench.ask(good(), url="http://peer/other")
    bench.ask(503, method=method)
    assert bench.stands_in()
    bench.ask(good(), method=method)
    assert not bench.stands_in()
    assert bench.stands_in(url="http://peer/other")


def test_only_get() -> None:
    """An answer to HEAD has no body, and a POST is no question."""
    bench = Bench()
    for method in ("HEAD", "POST"):
        bench.ask(good(), method=method)
        assert not bench.stands_in(method=method)


def test_a_body_that_the_caller_reads_is_kept_when_he_has() -> None:
    """Until then the answer before is the last one that is known whole; its age is that of its headers."""
    bench = Bench()
    bench.ask(good(etag="1"))
    bench.unread = True
    bench.ask(good(etag="2"))
    read = bench.wire.read
    assert bench.ask(503).headers["etag"] == "1"
    bench.clock.advance(7)
    read()
    found = bench.ask(503)
    assert (found.headers["etag"], found.headers["age"]) == ("2", "7")


def test_a_body_that_is_read_late_replaces_nothing_newer() -> None:
    """Nor does it bring back what a change, or a later answer that may not be kept, has made untrue."""
    bench = Bench()
    bench.unread = True
    bench.ask(good(etag="1"))
    first = bench.wire.read
    bench.clock.advance(1)
    bench.ask(good(etag="2"))
    bench.wire.read()
    first()
    assert bench.ask(503).headers["etag"] == "2"
    bench.ask(good(), method="POST")
    first()
    assert not bench.stands_in()
    bench.ask(good(etag="3"))
    third = bench.wire.read
    bench.ask(good(cache_control="no-store"))
    third()
    assert not bench.stands_in()


def test_it_is_bounded() -> None:
    """A hundred answers, the oldest goes first; bodies of 64 KiB, headers of 8 KiB."""
    bench = Bench()
    for number in range(MOST_ANSWERS + 1):
        bench.ask(good(), url=f"{URL}/{number}")
    assert bench.answers.count() == MOST_ANSWERS
    assert not bench.stands_in(url=f"{URL}/0")
    assert bench.stands_in(url=f"{URL}/1")
    bench.body = b"x" * (MOST_BYTES + 1)
    bench.ask(good())
    assert not bench.stands_in()
    bench.body = b"{}"
    bench.ask(good(), accept="x" * 10_000)
    assert not bench.stands_in(accept="x" * 10_000)


def test_a_wire_that_keeps_nothing_is_asked_for_nothing() -> None:
    """A client library without the means: its calls fail as ever."""
    wire = ScriptedWire("ok", 503)
    pipeline = Pipeline(StaleOnError(60.0))
    assert pipeline.run_sync(wire.call()).status == 200
    assert pipeline.run_sync(wire.call()).status == 503


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_header_breaks_it(control: str, vary: str) -> None:
    """Whatever a peer writes, the call has its answer."""
    bench = Bench()
    bench.ask(good(cache_control=control, vary=vary, age=control))
    assert bench.ask(503, cache_control=vary).status in (200, 503)
