"""The waterfall: order, tree, bars, errors, events and widths, as an SRE reads them."""

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from handrail.cli._waterfall import render
from handrail.cli._waterfall_rows import rows
from handrail.cli._waterfall_text import duration
from handrail.tracing import semconv
from handrail.tracing.local.read import Event, Link, Span, Trace

MS = 1_000_000
T0 = 1_700_000_000_000 * MS


def span(
    identity: str,
    parent: str = "",
    *,
    service: str = "order",
    name: str = "GET",
    at: tuple[float, float] = (0, 100),
    kind: int = 2,
    failed: bool = False,
    events: tuple[Event, ...] = (),
    attributes: dict[str, object] | None = None,
    links: tuple[Link, ...] = (),
) -> Span:
    return Span(
        trace_id="4b" * 16,
        span_id=identity,
        parent_id=parent,
        service=service,
        name=name,
        kind=kind,
        start=T0 + int(at[0] * MS),
        end=T0 + int(at[1] * MS),
        attributes=attributes or {},
        events=events,
        status=2 if failed else 0,
        message="",
        links=links,
    )


def event(name: str, at: float, **attributes: object) -> Event:
    return Event(name, T0 + int(at * MS), attributes)


def trace(*spans: Span) -> Trace:
    return Trace("4b" * 16, tuple(sorted(spans, key=lambda item: item.start)), ())


RETRY = event(
    semconv.EVENT_RETRY_SCHEDULED,
    20,
    **{semconv.RETRY_DELAY: 0.12, semconv.RETRY_CAUSE: "503", semconv.RETRY_ATTEMPT: 1},
)
HELD: dict[str, object] = {
    semconv.BLOCKED_DURATION: 0.289,
    semconv.CODE_FILE: "/srv/app/shop.py",
    semconv.CODE_LINE: 35,
    semconv.CODE_FUNCTION: "shop.order",
}
CALL: dict[str, object] = {
    semconv.SERVER_ADDRESS: "payment",
    semconv.SERVER_PORT: 8003,
    "url.full": "http://payment:8003/charges?card=1",
}
RETRIED = trace(
    span("a", name="POST /orders", at=(0, 200), events=(RETRY,), attributes={semconv.HTTP_STATUS: 200}),
    span("b", "a", kind=3, name="POST", at=(10, 20), failed=True,
         attributes=CALL | {semconv.HTTP_STATUS: 503, semconv.ERROR_TYPE: "503"}),
    span("c", "b", service="payment", name="POST /charges", at=(12, 18), failed=True,
         attributes={semconv.HTTP_STATUS: 503, semconv.ERROR_TYPE: "bank.errors.BankUnavailable"}),
    span("d", "a", kind=3, name="POST", at=(140, 190),
         attributes=CALL | {semconv.HTTP_STATUS: 200, semconv.HTTP_RESEND_COUNT: 1}),
)  # fmt: skip


def text(found: Trace, width: int = 120, *, encoding: str = "utf-8") -> list[str]:
    raw = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=raw, width=width, color_system=None)
    console.print(render(found))
    raw.flush()
    assert isinstance(raw.buffer, io.BytesIO)
    return raw.buffer.getvalue().decode(encoding).splitlines()


def line(lines: list[str], part: str) -> str:
    (found,) = [row for row in lines if part in row]
    return found


def test_the_story_of_a_retry() -> None:
    """Attempts are siblings, and the decision stands between them in order of time, with delay and cause."""
    lines = text(RETRIED)
    order = [
        "POST /orders",
        "├─ POST → payment/charges",
        "│  └─ POST /charges",
        "│  ↻ retry in 120 ms after 503 (attempt 1)",
        "└─ retry 1: POST → payment/charges",
    ]
    at = [next(i for i, row in enumerate(lines[3:]) if part in row) for part in order]
    assert at == [0, 1, 2, 3, 4]
    assert "+20.0 ms" in line(lines, "retry in 120 ms")
    assert "card=1" not in "".join(lines)


def test_a_hedge_is_no_retry() -> None:
    """The second request beside a slow first one is named as what it is; a retry of another call keeps its number."""
    sent = event(semconv.EVENT_HEDGE_SENT, 50, **{semconv.TARGET: "http://payment:8003", semconv.HEDGE_DELAY: 0.05})
    again = CALL | {semconv.HTTP_RESEND_COUNT: 1}
    found = trace(
        span("a", name="GET /orders", at=(0, 100), events=(sent,)),
        span("b", "a", kind=3, name="GET", at=(0, 90), attributes=CALL),
        span("c", "a", kind=3, name="GET", at=(20, 30), attributes=again),
        span("d", "a", kind=3, name="GET", at=(50.1, 80), attributes=again),
        span("e", "a", kind=3, name="GET", at=(50, 80), attributes=again | {semconv.SERVER_ADDRESS: "stock"}),
    )
    lines = text(found)
    assert "hedge: GET payment:8003/charges" in line(lines, "hedge:")
    assert line(lines, "hedge:").split()[-2:] == ["29.9", "ms"]
    assert len([row for row in lines if "retry 1: GET" in row]) == 2


def test_where_a_call_went() -> None:
    """Host and port where nobody answered in the trace, or several services did; the service where it was one."""
    call = span("b", "a", kind=3, name="POST", attributes=CALL)
    assert "└─ POST payment:8003/charges " in text(trace(span("a"), call))[-1]
    two = [span(name, "b", service=name) for name in ("blue", "green")]
    assert any("└─ POST payment:8003/charges " in row for row in text(trace(span("a"), call, *two)))


def test_own_events_hang_on_the_bar() -> None:
    """A span's bar goes on to the last of its own lines, so that an event below its last child is not that child's."""
    boom = event("exception", 90, **{"exception.type": "Boom"})
    inner = event("exception", 15, **{"exception.type": "Inner"})
    lines = text(trace(span("a", events=(boom,)), span("b", "a", name="child", at=(10, 20), events=(inner,))))
    shown = [row[len("order ") :].split("  ━")[0].split("   ╵")[0].rstrip() for row in lines[-3:]]
    assert [row.split("  ")[0] for row in shown] == ["├─ child", "│", "└─ ✗ Boom"]
    assert "│     ✗ Inner" in lines[-2]


@pytest.mark.parametrize("width", [80, 160])
def test_a_finding_is_whole_at_every_width(width: int) -> None:
    """What held the event loop is readable at 80 columns: a sentence goes on in a second line, and is not cut."""
    blocked = event(semconv.EVENT_LOOP_BLOCKED, 5, **HELD | {semconv.BLOCKED_CULPRIT: False})
    found = trace(span("a", service="a-service-with-a-long-name", events=(blocked,)), span("b", "a"), span("c", "b"))
    lines = text(found, width)
    words = " ".join(" ".join(lines).replace("│", " ").split())
    assert "waited 0.29 s for shop.py:35, which held the" in words
    assert "event loop" in words
    assert "…" not in words.split("waited")[1]


def test_links() -> None:
    """A span that continues another trace says which; a trace that is continued says where, with the whole id."""
    linked = span("a", name="send receipt", links=(Link("77c9d09e" * 4, "1a2b3c4d5e6f7788"),))
    assert "⇠ linked from trace 77c9d09e77c9… span 1a2b3c4d…" in text(trace(linked), 80)[-1]
    after = replace(span("z", name="send receipt", kind=5), trace_id="ab" * 16)
    lines = text(replace(RETRIED, continued=(after, after)), 80)
    assert lines[-1] == f'⇢ trace {"ab" * 16} CONSUMER "send receipt" continues it'
    many = tuple(replace(after, trace_id=f"{number:032x}") for number in range(9))
    assert text(replace(RETRIED, continued=many), 80)[-1] == "⇢ and 4 more traces"


def test_the_header() -> None:
    """Name, status, total, counts; the whole trace id, since it is copied from here."""
    first, second = text(RETRIED)[:2]
    assert first == "POST /orders  200  200 ms  2 services, 4 spans, 2 errors"
    assert second.startswith(f"trace {'4b' * 16}  ")


def test_errors_are_marked() -> None:
    """A failed span has its status code and a cross; error.type where it says more than the code."""
    lines = text(RETRIED)
    assert line(lines, "─ POST /charges").endswith("6.00 ms 503 ✗ BankUnavailable")
    assert line(lines, "├─ POST → payment").endswith("10.0 ms 503 ✗")
    assert "✗" not in line(lines, "retry 1:")


def test_errors_on_a_narrow_terminal() -> None:
    """Where error.type has no column it gets a line of its own below the span."""
    lines = text(RETRIED, 80)
    assert "✗ BankUnavailable" in lines[lines.index(line(lines, "─ POST /charges")) + 1]


def test_bars_stand_in_time() -> None:
    """A bar begins where its span began and ends where it ended; each is at least half a column."""
    lines = text(RETRIED)
    root, call, again = (line(lines[3:], part) for part in ("POST /orders", "├─ POST → payment", "retry 1:"))
    begin, width = root.index("━"), root.count("━")
    assert again.index("━") - begin == pytest.approx(0.7 * width, abs=1)
    assert sum(again.count(cell) for cell in "━╺╸") == pytest.approx(0.25 * width, abs=1)
    assert any(cell in call for cell in "╺╸━")
    assert line(lines, "↻").index("┄") - begin == pytest.approx(0.1 * width, abs=1)


@pytest.mark.parametrize("width", [60, 80, 100, 109, 110, 140, 250])
def test_every_line_fits(width: int) -> None:
    """No line is wider than the terminal, whatever is in it."""
    wide = trace(
        span("a", name="処理" * 40, service="サービス" * 9, failed=True, attributes={semconv.ERROR_TYPE: "x" * 90},
             events=(event("exception", 5, **{"exception.type": "E", "exception.message": "y" * 400}),)),
        *(span(f"n{depth}", f"n{depth - 1}" if depth else "a", name="deep" * 9) for depth in range(30)),
    )  # fmt: skip
    for found in (RETRIED, wide):
        assert max(cell_len(row) for row in text(found, width)) <= width


def test_ascii() -> None:
    """A terminal without Unicode gets ASCII, and nothing raises."""
    lines = text(trace(span("a", name="größe"), span("b", "a", failed=True)), encoding="ascii")
    assert any("`- GET" in row and row.endswith("x") for row in lines)
    assert any("gr??e" in row for row in lines)


def test_names_cannot_steer_the_terminal() -> None:
    """Control characters in what a trace holds are shown, not obeyed; brackets are no markup."""
    found = text(trace(span("a", name="\x1b[2J\x07[red]x[/red]", service="\x9b31m\r\n")))
    assert not any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for row in found for letter in row)
    assert any("[red]x[/red]" in row for row in found)


def test_a_parent_that_is_elsewhere() -> None:
    """Spans whose parent is missing, or in a circle, are shown all the same."""
    odd = trace(span("a", "gone"), span("b", "gone"), span("c", "d", name="circle"), span("d", "c", name="round"))
    assert sorted(row.span.span_id for row in rows(odd)) == ["a", "b", "c", "d"]


def test_a_deep_chain() -> None:
    """A thousand nested spans are no recursion error, and the display ends with what it left out."""
    chain = trace(*(span(str(depth), str(depth - 1), at=(depth, 2000)) for depth in range(1000)))
    assert text(chain)[-1] == "… 500 more lines"


@pytest.mark.parametrize(("name", "about", "sentence"), [
    (semconv.EVENT_RETRY_REFUSED, {semconv.RETRY_CAUSE: "timeout", semconv.RETRY_REASON: "unsafe"},
     "· not retried after timeout: unsafe"),
    (semconv.EVENT_RETRY_REFUSED,
     {semconv.RETRY_CAUSE: "503", semconv.RETRY_REASON: "unsafe_method", semconv.OPERATION: "POST"},
     "· POST is not repeated without an Idempotency-Key (after 503)"),
    (semconv.EVENT_RETRY_REFUSED, {semconv.RETRY_CAUSE: "503", semconv.RETRY_REASON: "deadline"},
     "· not retried after 503: no time is left"),
    (semconv.EVENT_RETRY_REFUSED, {semconv.RETRY_CAUSE: "503", semconv.RETRY_REASON: "retry_budget"},
     "· not retried after 503: retries to it are at their share of the calls"),
    (semconv.EVENT_SECOND_RETRY, {semconv.RETRY_LAYER: "tenacity", semconv.PLACE: "shop.py:35"},
     "↻ made again by tenacity, over the retries of handrail, at shop.py:35"),
    (semconv.EVENT_SECOND_RETRY, {semconv.RETRY_LAYER: "hand-written", semconv.PLACE: "shop.py:35"},
     "↻ made again by a retry by hand, over the retries of handrail, at shop.py:35"),
    (semconv.EVENT_CHAOS, {semconv.CHAOS_RULE: "out error=503 every=3"},
     "✗ chaos: a fault was injected on purpose: out error=503 every=3"),
    (semconv.EVENT_KEYS_HONOURED, {semconv.IDEMPOTENCY_HONOURED: True, semconv.TARGET: "http://p:8003"},
     "· the peer honours idempotency keys (p:8003)"),
    (semconv.EVENT_KEYS_HONOURED, {semconv.IDEMPOTENCY_HONOURED: False, semconv.TARGET: "http://p:8003"},
     "· the peer honours keys no longer (p:8003)"),
    (semconv.EVENT_UNGUARDED,
     {semconv.TARGET: "smtp:2525", semconv.PLACE: "shop.py:35", semconv.UNGUARDED_REFUSED: False},
     "· connected past all policies (smtp:2525), by shop.py:35"),
    (semconv.EVENT_UNGUARDED,
     {semconv.TARGET: "smtp:2525", semconv.PLACE: "shop.py:35", semconv.UNGUARDED_REFUSED: True},
     "✗ refused a connection past all policies (smtp:2525), of shop.py:35"),
    (semconv.EVENT_CALL_QUEUED, {semconv.QUEUE_WAIT: 0.3, semconv.QUEUE_LIMIT: 2, semconv.TARGET: "http://p:8003"},
     "⏳ waited 300 ms for a place among 2 calls (p:8003)"),
    (semconv.EVENT_RETRY_REFUSED, {semconv.RETRY_CAUSE: "503", semconv.RETRY_REASON: "bulkhead"},
     "· not retried after 503: as many calls to it as may be are under way"),
    (semconv.EVENT_HEDGE_SENT, {semconv.HEDGE_DELAY: 0.2},
     "↻ no answer for 200 ms: sent a second time, beside the first"),
    (semconv.EVENT_HEDGE_WON, {semconv.HEDGE_DELAY: 0.004},
     "· the second answered first, after 4.00 ms; the first was cancelled"),
    (semconv.EVENT_IDEMPOTENCY,
     {semconv.IDEMPOTENCY_OUTCOME: "replayed", semconv.IDEMPOTENCY_FIRST_TRACE: "0af7"},
     "↻ answered before: the kept answer was given again (first: trace 0af7)"),
    (semconv.EVENT_IDEMPOTENCY, {semconv.IDEMPOTENCY_OUTCOME: "not_kept"},
     "✗ Idempotency-Key: not kept"),
    (semconv.EVENT_REQUEST_EXPIRED, {semconv.DEADLINE_LATE: 0.25, semconv.DEADLINE_MODE: "enforce"},
     "✗ came 250 ms after its caller's deadline: refused"),
    (semconv.EVENT_REQUEST_EXPIRED, {semconv.DEADLINE_LATE: 0.25, semconv.DEADLINE_MODE: "observe"},
     "✗ came 250 ms after its caller's deadline"),
    (semconv.EVENT_LOOP_BLOCKED, HELD | {semconv.BLOCKED_CULPRIT: True},
     "✗ held the event loop 0.29 s at shop.py:35 in order"),
    (semconv.EVENT_LOOP_BLOCKED, HELD | {semconv.BLOCKED_CULPRIT: False},
     "⏳ waited 0.29 s for shop.py:35, which held the event loop"),
    (semconv.EVENT_LOOP_BLOCKED, HELD, "⏳ the event loop was held 0.29 s by shop.py:35 in order"),
    (semconv.EVENT_LOOP_BLOCKED, {semconv.BLOCKED_DURATION: 0.289},
     "⏳ the event loop was held 0.29 s by code that keeps the GIL"),
    (semconv.EVENT_LOOP_BLOCKED, {}, "⏳ the event loop was held ? by code that keeps the GIL"),
    (semconv.EVENT_BACKGROUND_CUT, {}, "✗ cancelled before it was done"),
    (semconv.EVENT_WEBSOCKET_ACCEPTED, {semconv.WEBSOCKET_SUBPROTOCOL: "soap"},
     "· websocket accepted (subprotocol soap)"),
    (semconv.EVENT_WEBSOCKET_REJECTED, {semconv.HTTP_STATUS: 403}, "✗ websocket refused with 403"),
    (semconv.EVENT_WEBSOCKET_CLOSED,
     {semconv.WEBSOCKET_CLOSED_BY: "client", semconv.WEBSOCKET_CLOSE_CODE: 1011,
      semconv.WEBSOCKET_CLOSE_REASON: "too slow"},
     "· websocket closed by the client, code 1011: too slow"),
    (semconv.EVENT_WEBSOCKET_CLOSED, {semconv.WEBSOCKET_CLOSED_BY: "connection"}, "✗ websocket lost without a close"),
    (semconv.EVENT_RETRY_EXHAUSTED, {semconv.RETRY_CAUSE: "503", semconv.RETRY_ATTEMPT: 3},
     "✗ gave up after 3 attempts, the last by 503"),
    (semconv.EVENT_CIRCUIT_BREAKER_CHANGED,
     {semconv.CIRCUIT_BREAKER_FROM: "closed", semconv.CIRCUIT_BREAKER_TO: "open", semconv.TARGET: "http://p:8003",
      semconv.CIRCUIT_BREAKER_FAILURE_RATE: 0.0, semconv.CIRCUIT_BREAKER_CAUSE: "manual"},
     "◆ circuit closed → open: isolated by hand (p:8003)"),
    (semconv.EVENT_CIRCUIT_BREAKER_CHANGED,
     {semconv.CIRCUIT_BREAKER_FROM: "closed", semconv.CIRCUIT_BREAKER_TO: "open", semconv.TARGET: "http://p:8003",
      semconv.CIRCUIT_BREAKER_FAILURE_RATE: 0.6, semconv.CIRCUIT_BREAKER_CALLS: 20},
     "◆ circuit closed → open: 60% of 20 calls failed (p:8003)"),
    (semconv.EVENT_CALL_REJECTED, {semconv.POLICY: "circuit_breaker", semconv.RETRY_AFTER: 12.3},
     "✗ not sent: circuit_breaker refused, retry after 12.3 s"),
    (semconv.EVENT_TIMEOUT,
     {semconv.POLICY: "attempt_timeout", semconv.TIMEOUT_LIMIT: 0.8, semconv.RETRY_ATTEMPT: 2},
     "✗ attempt_timeout: cut off at 800 ms (attempt 2)"),
    (semconv.EVENT_ATTEMPT_FAILED, {semconv.RETRY_CAUSE: "network", semconv.RETRY_ATTEMPT: 1},
     "✗ body lost after the headers: network (attempt 1)"),
    (semconv.EVENT_CLIENT_LEFT, {}, "· the client left"),
    ("exception", {"exception.type": "a.b.Boom", "exception.message": "no\nmore"}, "✗ Boom: no more"),
    ("cache.miss", {"key": "k", "n": 3}, "· cache.miss key=k, n=3"),
    (semconv.EVENT_RETRY_SCHEDULED, {}, "↻ retry in ? after a failure (attempt ?)"),
])  # fmt: skip
def test_sentences(name: str, about: dict[str, object], sentence: str) -> None:
    """Each event of ours is a sentence with its numbers; others show their attributes; missing ones do not break it."""
    lines = text(trace(span("a", events=(event(name, 5, **about),))), 140)
    assert sentence in lines[-1]


@pytest.mark.parametrize(("nanoseconds", "shown"), [
    (0, "0 µs"), (640_000, "640 µs"), (999_400, "999 µs"), (999_600, "1.00 ms"), (12_300_000, "12.3 ms"),
    (99_960_000, "100 ms"), (999_600_000, "1.00 s"), (1_920_000_000, "1.92 s"), (59_940_000_000, "59.9 s"),
    (125_000_000_000, "2 min 05 s"),
])  # fmt: skip
def test_durations(nanoseconds: int, shown: str) -> None:
    """Three figures and a unit that suits them."""
    assert duration(nanoseconds) == shown
