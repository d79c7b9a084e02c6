"""Which faults happen to whom: draws, counts, times, and headers that requests bring."""

import logging

import pytest

from handrail.resilience.chaos.book import Book, Plan
from handrail.resilience.chaos.fault import Fault
from handrail.resilience.chaos.header import signed
from handrail.resilience.chaos.rule import Call, Request
from handrail.resilience.chaos.text import parsed
from handrail.resilience.events import FaultInjected
from handrail.resilience.testing import FakeClock, RecordingListener

SECRET = "a secret of sixteen"
CALL = Call("POST", "http", "payment", 8003, "/charge")
REQUEST = Request("GET", "/stock", "order")


def _book(*lines: str, seed: int = 0) -> tuple[Book, FakeClock]:
    clock = FakeClock()
    book = Book(clock)
    book.service = "stock"
    book.secret = SECRET
    book.add([parsed(line) for line in lines], seed)
    return book, clock


def _kinds(book: Book, times: int) -> list[str]:
    plans = [book.of_call(CALL) for _ in range(times)]
    return ["" if plan is None else plan.kind for plan in plans]


def test_every_and_times() -> None:
    """Every n-th of those that fit, and no more than so many."""
    book, _ = _book("out refuse every=3 times=2")
    assert _kinds(book, 12) == ["", "", "refuse", "", "", "refuse", "", "", "", "", "", ""]


def test_only_what_fits_is_counted() -> None:
    """Other methods, places, directions and services do not count."""
    book, _ = _book(
        "out refuse POST payment every=2", "out lost service=order", "in hang", "out hang PUT", "out hang a"
    )
    other = Call("GET", "http", "payment", 8003, "/charge")
    assert [book.of_call(one) for one in (CALL, other, other)] == [None] * 3
    assert book.of_call(CALL) == Plan(0.0, parsed("out refuse POST payment every=2"))


def test_share_repeats() -> None:
    """The same seed draws the same, another one does not; about as many as the share says."""
    drawn = [_kinds(_book("out refuse share=0.3", seed=seed)[0], 1000) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert 200 < drawn[0].count("refuse") < 400


def test_share_bounds() -> None:
    """0 is never, 1 is always."""
    assert set(_kinds(_book("out refuse share=0")[0], 50)) == {""}
    assert set(_kinds(_book("out refuse share=1")[0], 50)) == {"refuse"}


def test_bounded_by_the_clock() -> None:
    """From and until are seconds since the faults were switched on."""
    book, clock = _book("out refuse from=10 for=5")
    found = []
    for _ in range(4):
        found.append(_kinds(book, 1)[0])
        clock.advance(5)
    assert found == ["", "", "refuse", ""]


def test_bounded_by_the_time_of_day() -> None:
    """Or times of day, in their zone."""
    book, clock = _book("out refuse from=2023-11-14T22:13:30Z until=2023-11-14T23:13:40+01:00")
    found = []
    for _ in range(3):
        found.append(_kinds(book, 1)[0])
        clock.advance(10)
    assert found == ["", "refuse", ""]


def test_delays_add_up() -> None:
    """All delays that hit, and the first of the other faults; each is told."""
    book, _ = _book("out latency=1", "out latency=0.5", "out refuse", "out lost")
    told = RecordingListener()
    book.emit = told
    assert book.of_call(CALL) == Plan(1.5, parsed("out refuse"))
    assert [event.fault for event in told.of(FaultInjected)] == ["latency", "latency", "refuse"]
    assert {(event.target, event.direction) for event in told.of(FaultInjected)} == {("http://payment:8003", "out")}


def test_partition_of_services() -> None:
    """Both ways between the two that it names, and between no others."""
    book, _ = _book("partition stock|payment")
    assert _kinds(book, 1) == ["partition"]
    assert book.of_call(Call("GET", "http", "order", 80, "/")) is None
    plans = [book.of_request(Request("GET", "/", caller), "") for caller in ("payment", "order", "")]
    assert [plan is not None for plan in plans] == [True, False, False]
    book.service = "shop"
    far, _ = _book()
    far.service = "shop"
    far.add([parsed("partition stock|payment")], 0)
    assert far.of_call(CALL) is None


def test_header_brings_faults() -> None:
    """A signed header is followed until its end; how often a fault hit is counted for all that bring the same."""
    book, clock = _book()
    header = signed([parsed("in error=500 times=2")], SECRET, clock.wall() + 60)
    found = [book.of_request(REQUEST, header) for _ in range(3)]
    assert [plan is not None for plan in found] == [True, True, False]
    assert book.of_request(REQUEST, "") is None
    other = signed([parsed("in error=500 times=2")], SECRET, clock.wall() + 61)
    assert book.of_request(REQUEST, other) is not None


def test_header_goes_along() -> None:
    """Calls take the header along, and meet what it says of calls, in the context of that request alone."""
    book, clock = _book()
    header = signed([Fault("refuse", "out")], SECRET, clock.wall() + 60)
    token = book.carry(header)
    assert book.headers() == [("handrail-chaos-from", "stock"), ("handrail-chaos", header)]
    assert _kinds(book, 1) == ["refuse"]
    book.end(token)
    assert book.headers() == [("handrail-chaos-from", "stock")]
    assert _kinds(book, 1) == [""]


@pytest.mark.parametrize("wrong", ["signature", "old", "changed", "far", "long", "text", "unset", "fault"])
def test_header_that_is_not_followed(wrong: str, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong or an old one brings nothing, and that is said once."""
    book, clock = _book()
    until = clock.wall() + {"old": -1, "far": 7200}.get(wrong, 60)
    header = signed([parsed("in error=500")], "another secret!!" if wrong == "signature" else SECRET, until)
    match wrong:
        case "changed":
            header = f"A{header}"
        case "long":
            header = "a" * 5000 + header
        case "text":
            header = "nonsense"
        case "unset":
            book.secret = ""
        case "fault":
            header = _signed_nonsense(until)
    for _ in range(3):
        assert book.of_request(REQUEST, header) is None
        assert not book.accepts(header)
    assert len([record for record in caplog.records if "is not followed" in record.getMessage()]) == 1


def _signed_nonsense(until: float) -> str:
    import hashlib
    import hmac
    import json
    from base64 import urlsafe_b64encode

    payload = urlsafe_b64encode(json.dumps({"faults": ["explode"], "until": until}).encode()).decode().rstrip("=")
    return f"{payload}.{hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()}"


def test_header_ends_while_it_is_known(caplog: pytest.LogCaptureFixture) -> None:
    """A header that was followed is not when its time is up."""
    caplog.set_level(logging.WARNING)
    book, clock = _book()
    header = signed([parsed("in error=500")], SECRET, clock.wall() + 60)
    assert book.accepts(header)
    clock.advance(61)
    assert not book.accepts(header)


def test_headers_are_bounded() -> None:
    """As many different headers as anybody sends are not kept."""
    book, clock = _book()
    for number in range(1000):
        assert book.accepts(signed([parsed("in error=500")], SECRET, clock.wall() + 60 + number))
    assert len(book._brought) <= 256
