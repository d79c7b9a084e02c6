"""What callers say of their time, read from three headers; nothing that they may send breaks a request."""

from datetime import UTC, datetime, timedelta, timezone
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience.inbound._deadline_headers import DeadlineHeaders

WALL = 1_700_000_000.0
NOW = datetime.fromtimestamp(WALL, UTC)
MS, AT, GRPC, ATTEMPT = (
    b"x-envoy-expected-rq-timeout-ms",
    b"x-request-deadline",
    b"grpc-timeout",
    b"x-envoy-attempt-count",
)
READ = DeadlineHeaders(MS.decode(), ATTEMPT.decode())


def left(found: dict[bytes, bytes], headers: DeadlineHeaders = READ) -> float | None:
    return headers.left(found, lambda: WALL)


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        (MS, b"1500", 1.5),
        (MS, b" 250 ", 0.25),
        (MS, b"12.5", 0.0125),
        (MS, b"0", 0.0),
        (MS, b"-20", -0.02),
        (AT, b"2.5", 2.5),
        (AT, b"-1", -1.0),
        (AT, NOW.isoformat().encode(), 0.0),
        (AT, (NOW + timedelta(seconds=7)).isoformat().replace("+00:00", "Z").encode(), 7.0),
        (AT, (NOW + timedelta(seconds=7)).astimezone(timezone(timedelta(hours=5))).isoformat().encode(), 7.0),
        (AT, (NOW - timedelta(days=1)).isoformat().encode(), -86_400.0),
        (AT, (NOW + timedelta(seconds=3)).replace(tzinfo=None).isoformat().encode(), 3.0),
        (GRPC, b"2H", 7200.0),
        (GRPC, b"3M", 180.0),
        (GRPC, b"4S", 4.0),
        (GRPC, b"500m", 0.5),
        (GRPC, b"99999999u", 99.999999),
        (GRPC, b"1000n", 1e-6),
        (GRPC, b"0S", 0.0),
    ],
)
def test_the_forms_in_use(name: bytes, value: bytes, seconds: float) -> None:
    """Envoy's milliseconds, Misk's seconds or instant (an instant without zone is UTC), gRPC's digits and unit."""
    assert left({name: value}) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in (MS, AT, GRPC)
        for value in (b"", b"soon", b"1e9", b"nan", b"inf", b"0x10", b"1_0", b"\xff\xfe", "٣".encode(), b"9" * 300)
    ]
    + [(MS, b"9" * 16), (GRPC, b"123456789S"), (GRPC, b"5"), (GRPC, b"5s"), (GRPC, b"-5S"), (AT, b"2026-11-21")]
    + [(AT, b"2026-13-45T99:00:00Z"), (AT, b"12:00"), (MS, b"5\n6")],
)
def test_garbage_says_nothing(name: bytes, value: bytes) -> None:
    """Neither an error nor a deadline; the other headers still count."""
    assert left({name: value}) is None
    other = GRPC if name is not GRPC else MS
    assert left({name: value, other: b"1S" if other is GRPC else b"1000"}) == 1.0


def test_the_smallest_wins() -> None:
    """Of all headers, and of one that was sent several times."""
    assert left({MS: b"1500,700", AT: b"0.9", GRPC: b"2S"}) == 0.7
    assert left({MS: b"x, 900 ,y", GRPC: b"2S"}) == 0.9
    assert left({}) is None


def test_the_name_can_be_set_or_switched_off() -> None:
    """A company's own header has Envoy's milliseconds; `off` believes neither, and the other two still count."""
    own = DeadlineHeaders("X-Left-Ms", "X-Try")
    assert own.names == {b"x-left-ms", b"x-try", AT, GRPC}
    assert left({b"x-left-ms": b"40", MS: b"1"}, own) == 0.04
    assert own.attempt({b"x-try": b"3", ATTEMPT: b"2"}) == 3
    off = DeadlineHeaders("off", "OFF")
    assert off.names == {AT, GRPC}
    assert left({MS: b"1", GRPC: b"2S"}, off) == 2.0
    assert off.attempt({ATTEMPT: b"2"}) == 1


@pytest.mark.parametrize(
    ("value", "attempt"),
    [
        *[(b"1", 1), (b"2", 2), (b" 4 ", 4), (b"100", 100), (b"101", 100), (b"9999999999", 100)],
        *[(garbage, 1) for garbage in (b"", b"0", b"-2", b"2.0", b"two", b"2,3", b"9" * 5000, b"\xb2", "٣".encode())],
    ],
)
def test_the_attempt_is_a_number_from_1_to_100(value: bytes, attempt: int) -> None:
    """Garbage is a first attempt."""
    assert READ.attempt({ATTEMPT: value}) == attempt


@given(
    st.dictionaries(
        st.sampled_from([MS, AT, GRPC, ATTEMPT]), st.binary(max_size=300) | st.from_regex(rb"[-+0-9.:TZHMSmun, ]{0,40}")
    )
)
def test_no_bytes_break_the_reading(found: dict[bytes, bytes]) -> None:
    """Whatever comes: a finite number of seconds or none, and an attempt within its bounds."""
    seconds = left(found)
    assert seconds is None or isfinite(seconds)
    assert 1 <= READ.attempt(found) <= 100
