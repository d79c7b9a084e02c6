"""A kept answer as bytes, and back."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience.replay.record import Record, Unreadable

headers = st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=20)), max_size=5).map(tuple)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
records = st.builds(
    Record,
    status=st.integers(200, 599),
    headers=headers,
    body=st.binary(max_size=200),
    trailers=st.none() | headers,
    missing=st.none() | texts,
    asked=texts,
    cookies=texts,
    body_digest=texts,
    read=st.integers(0, 2**60),
    whole=st.booleans(),
    trace=st.none() | texts,
)
RAW = Record(200, ((b"a", b"\xff"),), b"body", asked="00", trace="ab").dump()


@given(records)
def test_it_comes_back_as_it_was(record: Record) -> None:
    """Any bytes in headers and bodies."""
    assert Record.load(record.dump()) == record


@given(st.binary(max_size=300))
def test_garbage_is_an_error_of_its_own(raw: bytes) -> None:
    """Whatever stands in the store: no other exception, and nothing is run."""
    with suppress(Unreadable):
        assert Record.load(raw).dump()


@given(st.integers(0, len(RAW) - 5), st.integers(1, 255))
def test_a_damaged_head_is_never_another_kind_of_error(at: int, change: int) -> None:
    """A bit that fell over: an error that says so, or another value of the right kind."""
    raw = bytearray(RAW)
    raw[at] ^= change
    with suppress(Unreadable):
        assert isinstance(Record.load(bytes(raw)).status, int)


@pytest.mark.parametrize("end", range(len(RAW)))
def test_what_is_cut_off_is_never_given_again(end: int) -> None:
    """Wherever it was cut."""
    with pytest.raises(Unreadable):
        Record.load(RAW[:end])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b"\x02" + RAW[1:], "version 2; this handrail reads version 1"),
        (RAW + b"x", "damaged"),
        (b"\x01\x00\x00\x00\x02[]", "damaged"),
        (RAW.replace(b'"status":200', b'"status":"x"'), "has str where int belongs"),
        (RAW.replace(b'"status":200', b'"status":101'), "damaged"),
        (RAW.replace(b'"whole":false', b'"whole":"yes"'), "has str where bool belongs"),
        (RAW.replace(b'"trailers":null', b'"trailers":1234'), "has int where list belongs"),
    ],
)
def test_what_is_no_record_says_why(raw: bytes, said: str) -> None:
    """For the one who reads the refusal."""
    with pytest.raises(Unreadable, match=said):
        Record.load(raw)
