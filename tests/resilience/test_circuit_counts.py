"""The table in docs/breaker.md of what counts for the breaker: each row is played, and stands there word for word."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from handrail.resilience import (
    AttemptTimeout,
    BulkheadFull,
    CircuitBreaker,
    Pipeline,
    Throttled,
    Tools,
    TotalTimeout,
    deadline,
)
from handrail.resilience.classify import Verdict
from handrail.resilience.outbound._httpx_library import Library
from handrail.resilience.testing import FakeClock, ScriptedWire, run

PAGE = Path(__file__).parents[2] / "docs" / "breaker.md"
HEAD = "| what the attempt came to | counts as |"


class Peer(ScriptedWire):
    """Judged as httpx's errors are."""

    def judge_error(self, error: BaseException) -> Verdict:
        return Library(httpx).judge(error)


def status(*numbers: int) -> list[Callable[[CircuitBreaker], None]]:
    return [_played(number) for number in numbers]


def raised(*errors: BaseException) -> list[Callable[[CircuitBreaker], None]]:
    return [_played(error) for error in errors]


def _played(step: int | BaseException) -> Callable[[CircuitBreaker], None]:
    def play(breaker: CircuitBreaker) -> None:
        with suppress(BaseException):
            Pipeline(breaker).run_sync(Peer(step).call())

    return play


def cut_off(seconds: float, held: float = 0.0) -> Callable[[CircuitBreaker], None]:
    """The caller's deadline ends a call that hangs; an attempt may take ten seconds. `held` seconds of each second and
    so many the event loop does nothing.
    """

    def play(breaker: CircuitBreaker) -> None:
        clock = FakeClock()
        tools = Tools(clock=clock)
        pipeline = Pipeline(TotalTimeout(30, tools=tools), breaker, AttemptTimeout(10, tools=tools))

        async def hold() -> None:
            while held:
                await clock.sleep(1)
                clock.advance(held)

        async def main() -> None:
            beside = asyncio.create_task(hold())
            try:
                with deadline(seconds, clock):
                    await pipeline.run(Peer("hang", clock=clock).call())
            finally:
                beside.cancel()

        with suppress(TimeoutError):
            run(main(), clock)

    return play


def _distrusted() -> httpx.ConnectError:
    error = httpx.ConnectError("no")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed")
    return error


FAILURE, SUCCESS, NOTHING = "a failure", "a success", "nothing"
MEANS = {FAILURE: (1.0, 1), SUCCESS: (0.0, 1), NOTHING: (0.0, 0)}

ROWS: list[tuple[str, str, list[Callable[[CircuitBreaker], None]]]] = [
    ("a status from 100 to 499, but for 408 and 429", SUCCESS, status(*({*range(100, 500)} - {408, 429}))),
    ("408, 429, and every status from 500 to 599", FAILURE, status(408, 429, *range(500, 600))),
    (
        "refused, unreachable, name not found, not connected in time",
        FAILURE,
        raised(httpx.ConnectError("no"), httpx.ConnectTimeout("no")),
    ),
    ("no answer in time", FAILURE, [*raised(httpx.ReadTimeout("no"), httpx.WriteTimeout("no")), cut_off(30)]),
    (
        "no answer in time, of which half or more our own event loop was late",
        NOTHING,
        [cut_off(30, held=3), cut_off(10, held=1.5)],
    ),
    (
        "broken off, or an answer that is no HTTP; a proxy that fails",
        FAILURE,
        raised(
            httpx.ReadError("no"),
            httpx.WriteError("no"),
            httpx.CloseError("no"),
            httpx.RemoteProtocolError("no"),
            httpx.ProxyError("no"),
        ),
    ),
    ("ended by the caller's deadline, with at least half of an attempt's time", FAILURE, [cut_off(5)]),
    ("ended by the caller's deadline earlier than that", NOTHING, [cut_off(4.9), cut_off(0.1)]),
    (
        "cancelled, or the process ends",
        NOTHING,
        raised(asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(), GeneratorExit()),
    ),
    ("no free connection in the client's own pool", NOTHING, raised(httpx.PoolTimeout("no"))),
    (
        "a certificate that is not trusted, a bad URL, a wrong use of the client",
        NOTHING,
        raised(
            _distrusted(),
            httpx.UnsupportedProtocol("no"),
            httpx.InvalidURL("no"),
            httpx.LocalProtocolError("no"),
            httpx.StreamConsumed(),
        ),
    ),
    (
        "an exception that is not the client library's own, such as a custom transport's",
        NOTHING,
        raised(ValueError("no"), RuntimeError("no"), OSError("no"), ConnectionResetError("no")),
    ),
    (
        "refused by a policy further in: bulkhead, throttle",
        NOTHING,
        raised(BulkheadFull("no", target="t"), Throttled("no", target="t")),
    ),
]


@pytest.mark.parametrize(("means", "plays"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_row_of_the_table_is_so(means: str, plays: list[Callable[[CircuitBreaker], None]]) -> None:
    """What the page says that it counts as, it counts as."""
    for play in plays:
        breaker = CircuitBreaker("http://peer")
        play(breaker)
        assert breaker.counts() == MEANS[means]


def test_the_page_has_these_rows() -> None:
    """Neither the table nor the code is changed alone."""
    lines = PAGE.read_text("utf-8").splitlines()
    begin = lines.index(HEAD) + 2
    table = [f"| {text} | {means} |" for text, means, _ in ROWS]
    assert lines[begin : begin + len(table) + 1] == [*table, ""]
