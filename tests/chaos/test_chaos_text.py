"""How a fault is written, as a line and as a table, and what is wrong with one."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience.chaos.fault import KINDS, Fault
from handrail.resilience.chaos.place import fits_origin, fits_path, peer_of
from handrail.resilience.chaos.text import from_table, parsed, written

LINES = [
    ("out error=503 POST http://payment:8003/charge retry_after=1 every=3",
     Fault("error", "out", "http://payment:8003/charge", "POST", status=503, retry_after=1, every=3)),
    ("in latency=0.5 /orders/* share=0.2 from=10 until=70",
     Fault("latency", "in", "/orders/*", seconds=0.5, share=0.2, after=10.0, until=70.0)),
    ("partition payment service=order", Fault("partition", where="payment", service="order")),
    ("out partition order|payment@http://127.0.0.1:1", Fault("partition", "out", "order|payment@http://127.0.0.1:1")),
    ("both hang", Fault("hang", "both")),
    ("in lost POST times=1", Fault("lost", "in", method="POST", times=1)),
    ("out refuse from=2026-11-21T17:00:00+00:00 until=2026-11-21T18:00:00+00:00",
     Fault("refuse", "out", after=datetime(2026, 11, 21, 17, tzinfo=UTC),
           until=datetime(2026, 11, 21, 18, tzinfo=UTC))),
]  # fmt: skip


@pytest.mark.parametrize(("line", "fault"), LINES)
def test_line_and_fault(line: str, fault: Fault) -> None:
    """A line is read as the fault that it means, and a fault is written as that line."""
    assert parsed(line) == fault
    assert str(fault) == line


def test_for_is_until() -> None:
    """`for` counts from `from`, in seconds and from a time of day."""
    assert parsed("in hang from=10 for=60") == parsed("in hang from=10 until=70")
    assert parsed("in hang for=60") == Fault("hang", "in", until=60.0)
    assert parsed("in hang from=2026-11-21T17:00Z for=60").until == datetime(2026, 11, 21, 17, 1, tzinfo=UTC)


def test_table() -> None:
    """A table has the same names, and values as TOML has them."""
    table = {"kind": "error", "direction": "out", "where": "payment", "method": "POST", "status": 500, "share": 0.5}
    assert from_table(table) == parsed("out error=500 POST payment share=0.5")
    assert from_table({"kind": "latency", "direction": "in", "seconds": 1, "from": 5, "for": 10, "times": 2}) == parsed(
        "in latency=1 from=5 until=15 times=2"
    )


WRONG = [
    ("", "must begin with in, out or both and a kind"),
    ("out", "must begin with"),
    ("out explode", "must begin with"),
    ("error=503", "error needs a direction"),
    ("out refuse=3", "refuse takes no value"),
    ("in latency", "latency needs seconds"),
    ("in latency=soon", "no number of seconds"),
    ("in latency=-1", "latency needs seconds"),
    ("in latency=nan", "no number of seconds"),
    ("in error=99", "from 200 to 599"),
    ("in error=5xx", "no whole number"),
    ("in hang share=2", "share must be from 0 to 1"),
    ("in hang every=0", "every must be 1 or more"),
    ("in hang often=3", "is not known here"),
    ("in hang times=1 times=2", "was said before"),
    ("in hang /a /b", "was said before"),
    ("in hang payment", "must be a path that begins with /"),
    ("out hang http://", "must be [scheme://]host[:port]"),
    ("out hang http://payment:99999", "must be [scheme://]host[:port]"),
    ("partition", "partition needs the peer"),
    ("partition a|b|c", "partition needs the peer"),
    ("in hang from=5 until=5", "until must be later"),
    ("in hang from=5 until=7 for=2", "either until or for"),
    ("in hang from=2026-11-21T17:00", "needs its zone"),
    ("in hang from=5 until=2026-11-21T17:00Z", "must both be"),
    ("in hang from=today", "no number of seconds, nor a time"),
    ("in hang until=nan", "until must be later"),
    ("in hang from=inf", "must be seconds since the start"),
]


@pytest.mark.parametrize(("line", "said"), WRONG)
def test_wrong(line: str, said: str) -> None:
    """What cannot be is refused, with what is allowed."""
    with pytest.raises(ValueError, match=r".") as caught:
        parsed(line)
    assert said in str(caught.value)


@pytest.mark.parametrize("table", [{}, {"kind": "hang", "direction": "in", "wher": "/"}, {"kind": ["hang"]}])
def test_wrong_table(table: dict[str, object]) -> None:
    """So is a table with a name or a value that means nothing."""
    with pytest.raises(ValueError, match="kind"):
        from_table(table)


@given(
    kind=st.sampled_from(KINDS),
    direction=st.sampled_from(["in", "out", "both"]),
    share=st.floats(0, 1),
    every=st.integers(1, 99),
    times=st.integers(0, 99),
    after=st.integers(0, 999),
    method=st.sampled_from(["", "GET", "POST"]),
)
def test_written_is_read_again(
    kind: str, direction: str, share: float, every: int, times: int, after: int, method: str
) -> None:
    """Whatever a fault is, its line gives the same line again."""
    where = "payment" if kind == "partition" else "/a/{b}/*"
    fault = Fault(
        kind, direction, where, method, 1.5 if kind in ("latency", "hang") else 0.0,  # type: ignore[arg-type]  # drawn
        share=share, every=every, times=times, after=float(after),
    )  # fmt: skip
    line = written(fault)
    assert written(parsed(line)) == line


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    """No text breaks the reader: it is a fault that can be written, or a ValueError."""
    with suppress(ValueError):
        fault = parsed(f"in {text}")
        assert written(parsed(written(fault))) == written(fault)


@pytest.mark.parametrize(("pattern", "path", "fits"), [
    ("", "/anything", True),
    ("/orders", "/orders", True),
    ("/orders", "/orders/1", False),
    ("/orders/*", "/orders/1/items", True),
    ("/orders/{id}", "/orders/1", True),
    ("/orders/{id}", "/orders/1/items", False),
    ("/orders/{id}/items", "/orders/a.b/items", True),
    ("/a.b", "/aXb", False),
])  # fmt: skip
def test_paths(pattern: str, path: str, fits: bool) -> None:
    """`*` is anything, `{name}` one segment, all else itself."""
    assert fits_path(pattern, path) is fits


@pytest.mark.parametrize(("where", "fits"), [
    ("", True),
    ("payment", True),
    ("payment:8003", True),
    ("payment:8004", False),
    ("http://payment:8003", True),
    ("https://payment:8003", False),
    ("http://payment", False),
    ("pay*", True),
    ("*", True),
    ("stock", False),
    ("payment/charge", True),
    ("payment/refund", False),
    ("/charge", True),
    ("/refund", False),
    ("http://payment:8003/*", True),
])  # fmt: skip
def test_origins(where: str, fits: bool) -> None:
    """An origin with or without a path; a name alone is every port of it."""
    assert fits_origin(where, "http", "payment", 8003, "/charge") is fits


def test_peers() -> None:
    """Of two sides the other one is the peer; a third service has none."""
    found = peer_of("order|payment@http://127.0.0.1:8003", "order")
    assert found is not None
    assert found[0].fullmatch("payment")
    assert found[1] == "http://127.0.0.1:8003"
    back = peer_of("order|payment@http://127.0.0.1:8003", "payment")
    assert back is not None
    assert (back[0].pattern, back[1]) == ("order", "order")
    assert peer_of("order|payment", "stock") is None
    alone = peer_of("http://payment:8003", "order")
    assert alone is not None
    assert alone[0].fullmatch("payment")
