"""Requests and applications that are wrong in every way: handrail serves as well as the bare app does, or better."""

import asyncio
import gc
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import handrail
from handrail import _wire
from handrail.resilience.inbound._idempotency_run import Running
from handrail.resilience.keyed import IN_FLIGHT, INTERRUPTED_KEY, REFUSED
from handrail.resilience.replay.testing import DirectCourier, MemoryBackend
from handrail.resilience.testing import FakeClock, run
from handrail.tracing.testing import Spans, as_global
from tests.fuzz.asgi_strategies import stories
from tests.fuzz.asgi_world import App, Outcome, Request, Story, drive, scripted

LEASE = 10.0
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
"""Stories in one run of the suite, the same each time; where the variable is set, others each time."""
REFUSALS = {400, 408, 409, 413, 421, 422, 429, 431, 503, 504}
COUNTS = (
    *("http_server_active_requests", "handrail_server_requests_under_way"),
    *("handrail_server_requests_waiting", "handrail_server_streams_open"),
)
MISUSE = (KeyError, RuntimeError, TypeError, ValueError)
"""Of a server, told what it does not understand; one of our layers may be the first to notice."""
PROVOKING = {b"idempotency-key", b"x-envoy-expected-rq-timeout-ms", b"x-request-deadline", b"grpc-timeout"}


class World:
    """One protected application for all stories: what one of them leaves behind meets the next."""

    def __init__(self, spans: Spans) -> None:
        self.script: App = scripted(())
        self.clock = FakeClock()
        self.spans = spans
        self.process = _wire.switch_on({"prometheus_path": "/scraped", "blocked_loop": 0})
        self.backend = MemoryBackend(self.clock)
        self.process.courier = DirectCourier(self.backend)  # type: ignore[assignment]  # needs no thread

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.script(scope, receive, send)

        self.app = handrail.protect(app)

    def told(self, story: Story) -> tuple[Outcome, Outcome, list[str]]:
        """The same story without handrail and with it, and what the loop complained about in the second."""
        bare = run(drive(scripted(story.script), story), self.clock)
        self.script = scripted(story.script)
        self.backend.rows.clear()
        complaints: list[str] = []

        async def guarded() -> Outcome:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(repr(context)))
            found = await drive(self.app, story)
            gc.collect(0)
            return found

        return bare, run(guarded(), self.clock), complaints

    def again(self, story: Story) -> Outcome:
        """The same request by a client without fault, to an app without fault, once a lease would be over."""
        self.clock.advance(LEASE + 1)
        pieces = ({"type": "http.request", "body": b"x", "more_body": False},)
        self.script = scripted((("read",), ("whole", 201, [], 4)))
        good = Story(Request(story.request.scope, pieces, None), ())
        return run(drive(self.app, good), self.clock)

    def gauges(self) -> dict[str, float]:
        """What goes up and down again, and is not at zero."""
        from handrail.tracing.metrics import _prometheus

        page, _ = _prometheus.page(lambda: self.process.metrics().scraped)("")
        found = {}
        for line in page.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith(COUNTS) and float(value):
                found[name] = float(value)
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    spans = Spans()
    with as_global(spans.provider), pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("fuzz"))
        patch.setattr(logging.getLogger("handrail"), "disabled", False)
        yield World(spans)
        _wire.switch_off()


class Log(logging.Handler):
    """What handrail says about itself."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


def malformed(story: Story) -> bool:
    """Whether the app sends what no server understands; after its client has left, uvicorn does not look at it."""
    for step in story.script:
        message = step[1] if step[0] == "send" else {"type": "", "status": 200}
        if not isinstance(message.get("type"), str) or not isinstance(message.get("headers", []), list):
            return True
        if message["type"] == "http.response.start" and not isinstance(message.get("status"), int):
            return True
        if not isinstance(message.get("body", b""), bytes):
            return True
    return False


def faultless(story: Story) -> bool:
    """Whether the client sent all and stayed, and the server let the app end: then it is known how that ended."""
    request = story.request
    sent = any(not piece.get("more_body") for piece in request.pieces)
    odd = any(step[0] in ("raise", "raise chained") and step[1] == "odd" for step in story.script)
    return sent and request.stays is None and story.cancelled is None and not odd


def check(story: Story, bare: Outcome, guarded: Outcome) -> None:
    """The rules."""
    where = f"{story}\nbare {bare}\nguarded {guarded}"
    assert not guarded.left_over or bare.left_over, where
    if story.request.scope["path"].endswith(("/livez", "/readyz")):
        return  # answered by us where the app has no good answer
    stuck = bare.cancelled and story.cancelled is None  # a slow client, whom nobody gave up
    told = story.raises and isinstance(guarded.error, OSError)  # of an answer of ours, as the specification has it
    misused = isinstance(guarded.error, MISUSE) and (isinstance(bare.error, MISUSE) or malformed(story))
    names = {name for name, _ in story.request.scope["headers"]}
    alone = story.cancelled is not None or story.request.stays is not None
    if guarded.error is not None and not stuck and not told and not misused:
        if alone and names & PROVOKING:  # the app went on without its client, and may have come to an error further on
            assert any(step[0] in ("raise", "raise chained") for step in story.script), where
        else:
            assert (type(guarded.error), str(guarded.error)) == (type(bare.error), str(bare.error)), where
    if guarded.cancelled:
        assert bare.cancelled or story.cancelled is not None, where
    if story.request.scope["type"] != "http":
        many = len(story.request.scope["headers"]) > 100
        assert guarded.sent == bare.sent or (many and guarded.sent == ["websocket.close"]), where
        return
    if guarded.ours:
        assert guarded.complete or alone, where
        assert guarded.status in REFUSALS or (guarded.status == 500 and (stuck or bare.error)), where
        return
    if bare.error is not None or bare.cancelled:
        return
    if not alone or not names & PROVOKING:
        assert (guarded.status, guarded.body, guarded.complete) == (bare.status, bare.body, bare.complete), where
        assert set(bare.headers) - set(guarded.headers) <= {(b"set-cookie", b"a=1")}, where


def tell(world: World, story: Story) -> None:
    """One story, and all rules."""
    log = Log()
    logging.getLogger("handrail").addHandler(log)
    try:
        bare, guarded, complaints = world.told(story)
    finally:
        logging.getLogger("handrail").removeHandler(log)
        world.spans.clear()
    check(story, bare, guarded)
    assert not [line for line in log.said if "requests are not affected" in line], story
    assert not complaints, story
    assert not world.gauges(), story
    if story.request.scope["type"] == "http" and any(
        name == b"idempotency-key" for name, _ in story.request.scope["headers"]
    ):
        found = world.again(story)
        assert found.complete, (story, found)
        reason = dict(found.headers).get(REFUSED.encode(), b"").decode()
        assert reason != IN_FLIGHT, (story, found)
        assert reason != INTERRUPTED_KEY or not faultless(story), (story, found)


@settings(
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
@given(story=stories)
def test_nobody_is_worse_off(world: World, story: Story) -> None:
    """No exception of ours, no answer lost or changed; no task, no count, no complaint and no stuck key left behind."""
    tell(world, story)


def test_it_sees_a_key_that_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can fail: a layer that does not free the key of a request that failed is noticed."""

    async def forget(self: Running) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"idempotency-key", b'"a"')]}
    whole = ({"type": "http.request", "body": b"x"},)
    story = Story(Request({**scope, "http_version": "1.1", "query_string": b""}, whole, None), (("raise", "boom"),))
    tell(world, story)
    monkeypatch.setattr(Running, "_settle", forget)
    with pytest.raises(AssertionError):
        tell(world, story)
