"""W3C Trace Context level 2, section 3.2: the traceparent header as it comes in."""

import pytest
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, get_current_span

from handrail.tracing.propagation import W3CPropagator, _w3c

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


def read(*values: str) -> SpanContext | None:
    """What several traceparent headers give, or None where they are ignored."""
    carrier = {"traceparent": list(values)}
    context = W3CPropagator().extract(carrier, Context())
    span = get_current_span(context).get_span_context()
    return span if span.is_valid else None


def test_3_2_2_a_valid_header_names_the_remote_parent() -> None:
    """3.2.2: version, trace-id, parent-id and flags, separated by dashes."""
    span = read(GOOD)
    assert span is not None
    assert (span.trace_id, span.span_id, span.is_remote) == (int(TRACE, 16), int(PARENT, 16), True)
    assert span.trace_flags == 1


@pytest.mark.parametrize(
    "value",
    [
        f"0-{TRACE}-{PARENT}-01",
        f"000-{TRACE}-{PARENT}-01",
        f"0000-{TRACE}-{PARENT}-01",
        f".0-{TRACE}-{PARENT}-01",
        f"0.-{TRACE}-{PARENT}-01",
        f"0A-{TRACE}-{PARENT}-01",
        f"00_{TRACE}-{PARENT}-01",
        f"{TRACE}-{PARENT}-01",
        "",
        "-",
        "00",
    ],
)
def test_3_2_2_1_a_version_that_is_not_two_lower_case_hex_digits_restarts_the_trace(value: str) -> None:
    """3.2.2.1 and 3.2.4: where the version prefix cannot be parsed, the trace restarts."""
    assert read(value) is None


def test_3_2_2_1_version_ff_is_invalid() -> None:
    """3.2.2.1: version ff is forbidden."""
    assert read(f"ff-{TRACE}-{PARENT}-01") is None


@pytest.mark.parametrize("rest", ["-", "-01", "-what-the-future-will-be-like", "0", ".", " x"])
def test_3_2_2_2_version_00_ends_with_its_flags(rest: str) -> None:
    """3.2.2.2: the format of version 00 has no further field."""
    assert read(GOOD + rest) is None


@pytest.mark.parametrize(
    "trace_id",
    ["0" * 32, TRACE.upper(), TRACE[:-1], TRACE + "0", "." + TRACE[1:], TRACE[:-1] + "g", TRACE[:-2] + "_0", ""],
)
def test_3_2_2_3_an_invalid_trace_id_is_ignored_with_the_whole_header(trace_id: str) -> None:
    """3.2.2.3: 32 lower-case hex digits, not all zero."""
    assert read(f"00-{trace_id}-{PARENT}-01") is None


@pytest.mark.parametrize(
    "parent_id", ["0" * 16, "00F067AA0BA902B7", PARENT[:-1], PARENT + "0", "." + PARENT[1:], PARENT[:-1] + ".", ""]
)
def test_3_2_2_4_an_invalid_parent_id_is_ignored_with_the_whole_header(parent_id: str) -> None:
    """3.2.2.4: 16 lower-case hex digits, not all zero."""
    assert read(f"00-{TRACE}-{parent_id}-01") is None


@pytest.mark.parametrize("flags", ["1", "001", ".0", "0.", "0A", "", "+1", "0x"])
def test_3_2_2_5_flags_are_two_lower_case_hex_digits(flags: str) -> None:
    """3.2.2.5: anything else makes the header invalid."""
    assert read(f"00-{TRACE}-{PARENT}-{flags}") is None


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("08", False), ("09", True), ("ff", True)])
def test_3_2_2_5_1_sampled_is_the_lowest_bit_alone(flags: str, sampled: bool) -> None:
    """3.2.2.5.1: the field is a bit field and must be masked."""
    span = read(f"00-{TRACE}-{PARENT}-{flags}")
    assert span is not None
    assert span.trace_flags.sampled is sampled


@pytest.mark.parametrize(("flags", "random"), [("00", False), ("02", True), ("03", True), ("fd", False)])
def test_3_2_2_5_2_random_trace_id_is_the_second_bit(flags: str, random: bool) -> None:
    """3.2.2.5.2 (new in level 2): says that the trace-id has 56 random bits."""
    span = read(f"00-{TRACE}-{PARENT}-{flags}")
    assert span is not None
    assert span.trace_flags.random_trace_id is random


def test_3_2_2_5_3_other_flags_are_set_to_zero() -> None:
    """3.2.2.5.3: bits without a meaning are reserved and not passed on."""
    span = read(f"00-{TRACE}-{PARENT}-ff")
    assert span is not None
    assert _w3c.render(span) == f"00-{TRACE}-{PARENT}-03"


@pytest.mark.parametrize("version", ["01", "0a", "99", "cc", "fe"])
@pytest.mark.parametrize("rest", ["", "-", "-what-the-future-will-be-like", "-\xff"])
def test_3_2_4_a_higher_version_is_read_as_far_as_it_is_known(version: str, rest: str) -> None:
    """3.2.4: trace-id, parent-id and flags of a higher version are used; what follows a dash is not looked at."""
    span = read(f"{version}-{TRACE}-{PARENT}-01{rest}")
    assert span is not None
    assert _w3c.render(span) == GOOD


@pytest.mark.parametrize("rest", [".", "0", "x-y", " -x"])
def test_3_2_4_after_the_flags_of_a_higher_version_comes_a_dash_or_the_end(rest: str) -> None:
    """3.2.4: the two characters of the flags are at the end or followed by a dash."""
    assert read(f"01-{TRACE}-{PARENT}-01{rest}") is None


def test_3_2_4_a_higher_version_shorter_than_55_characters_restarts_the_trace() -> None:
    """3.2.4: such a header is not parsed."""
    assert read(f"01-{TRACE}-{PARENT}-1") is None


@pytest.mark.parametrize("value", [f" {GOOD}", f"\t{GOOD}", f"{GOOD} ", f"{GOOD}\t", f"\t {GOOD} \t"])
def test_3_2_2_whitespace_around_the_value_is_no_part_of_it(value: str) -> None:
    """RFC 9110, 5.5: whitespace around a field value is not part of it."""
    span = read(value)
    assert span is not None
    assert _w3c.render(span) == GOOD


@pytest.mark.parametrize("other", [GOOD, f"00-{'1' * 32}-{PARENT}-01", ""])
def test_3_2_2_several_traceparent_headers_restart_the_trace(other: str) -> None:
    """The header is no list: combined by RFC 9110, 5.3, two of them match no version."""
    assert read(GOOD, other) is None
    assert read(other, GOOD) is None


def test_3_2_2_a_traceparent_of_any_bytes_never_raises() -> None:
    """A malformed header never fails a request."""
    for value in (bytes(range(256)), b"\xff" * 55, b"00-" + b"\xe4" * 52, b"0" * 100_000):
        assert _w3c.parse(value, None) is None
