"""W3C Trace Context level 2, section 3.3: the tracestate header as it comes in."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, get_current_span

from handrail.tracing.propagation import W3CPropagator

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def span_of(traceparent: str, *tracestate: str) -> SpanContext:
    """The remote parent that these headers give."""
    carrier = {"traceparent": [traceparent], "tracestate": list(tracestate)}
    return get_current_span(W3CPropagator().extract(carrier, Context())).get_span_context()


def read(*tracestate: str) -> dict[str, str]:
    """The members of these tracestate headers, beside a valid traceparent, which they must not touch."""
    span = span_of(PARENT, *tracestate)
    assert span.is_valid
    assert span.trace_flags == 1
    return dict(span.trace_state)


def test_3_3_without_a_valid_traceparent_the_tracestate_is_not_used() -> None:
    """3.3: where traceparent cannot be parsed, tracestate must not be."""
    assert not span_of("00-bad-bad-01", "foo=1").trace_state
    assert not W3CPropagator().extract({"tracestate": ["foo=1"]}, Context())


@pytest.mark.parametrize("header", ["foo", "=1", "foo=", "foo=1=2", "FOO=1", "foo=1,\x00", "foo=\xe4", "foo =1", "@"])
def test_3_3_an_invalid_tracestate_is_dropped_whole_and_alone(header: str) -> None:
    """3.3: failure to parse tracestate must not affect traceparent."""
    assert read("good=1", header) == {}


def test_3_3_1_several_headers_are_one_list_in_their_order() -> None:
    """3.3.1: they are combined by RFC 9110, 5.3."""
    found = read("foo=1,bar=2", "rojo=1,congo=2", "baz=3")
    assert list(found.items()) == [("foo", "1"), ("bar", "2"), ("rojo", "1"), ("congo", "2"), ("baz", "3")]


@pytest.mark.parametrize("headers", [("",), (" ",), ("\t",), (",",), (" , ,\t",), ("", "")])
def test_3_3_1_empty_headers_are_accepted(headers: tuple[str, ...]) -> None:
    """3.3.1: vendors must accept empty tracestate headers."""
    assert read(*headers) == {}


@pytest.mark.parametrize(
    "headers", [("foo=1", ""), ("", "foo=1"), (",foo=1,",), ("foo=1,,",), (" , \t,foo=1, ",), (",,,,", "foo=1")]
)
def test_3_3_1_1_empty_members_are_skipped(headers: tuple[str, ...]) -> None:
    """3.3.1.1: empty and whitespace-only members are allowed."""
    assert read(*headers) == {"foo": "1"}


@pytest.mark.parametrize(
    "header",
    [
        "foo=1 \t , \t bar=2, \t baz=3",
        "foo=1\t \t,\t \tbar=2,\t \tbaz=3",
        " foo=1,bar=2,baz=3 ",
        "\tfoo=1,bar=2,baz=3\t",
    ],
)
def test_3_3_1_1_whitespace_around_members_is_ignored(header: str) -> None:
    """3.3.1: spaces and tabs surrounding members are ignored."""
    assert read(header) == {"foo": "1", "bar": "2", "baz": "3"}


def test_3_3_1_1_32_members_are_kept_and_33_are_dropped() -> None:
    """3.3.1.1: a list has at most 32 members, over all headers."""
    members = [f"k{n:02}={n}" for n in range(33)]
    assert len(read(",".join(members[:10]), ",".join(members[10:32]))) == 32
    assert read(",".join(members[:10]), ",".join(members[10:])) == {}


@pytest.mark.parametrize(
    "key",
    ["a", "0", "9lives", "a@b", "a@", "1@2@3", "z" * 256, "t" * 242 + "@v", string.ascii_lowercase + "0123456789_-*/@"],
)
def test_3_3_1_3_1_keys_of_level_2(key: str) -> None:
    """3.3.1.3.1: a lower-case letter or digit, then up to 255 of a-z 0-9 _ - * / @, in any place."""
    assert read(f"{key}=1") == {key: "1"}


@pytest.mark.parametrize("key", ["", "@a", "_a", "-a", "*a", "/a", "A", "aB", "a.b", "a b", "a\tb", "ä", "z" * 257])
def test_3_3_1_3_1_keys_that_are_none(key: str) -> None:
    """3.3.1.3.1: any other key makes the list invalid."""
    assert read(f"good=1,{key}=1") == {}


def test_3_3_1_3_2_a_value_holds_all_printable_characters_but_comma_and_equals() -> None:
    """3.3.1.3.2: 0x20 to 0x7e without "," and "="."""
    value = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
    assert read(f"foo={value}") == {"foo": value}


def test_3_3_1_3_2_leading_spaces_belong_to_the_value_and_trailing_do_not() -> None:
    """3.3.1.3.2: leading spaces must be preserved, trailing ones are optional whitespace."""
    assert read("foo=  1  ,bar=2") == {"foo": "  1", "bar": "2"}


@pytest.mark.parametrize("value", ["", " ", "a\tb", "\t1", "a\x7fb", "a=b", "\xa0", "v" * 257])
def test_3_3_1_3_2_values_that_are_none(value: str) -> None:
    """3.3.1.3.2: an empty value, a tab within, a character outside or 257 of them make the list invalid."""
    assert read(f"good=1,foo={value},bar=3") == {}


def test_3_3_1_3_2_a_value_of_256_characters_is_kept() -> None:
    """3.3.1.3.2: up to 256 characters."""
    assert read("foo=" + "v" * 256) == {"foo": "v" * 256}


@pytest.mark.parametrize("headers", [("foo=1,bar=3,foo=2",), ("foo=1,bar=3", "foo=2"), ("foo=1", "bar=3,foo=1")])
def test_3_3_1_4_of_a_doubled_key_the_first_member_counts(headers: tuple[str, ...]) -> None:
    """3.3.1.4 and 3.5: one entry per key; receivers may delete the rest, and the left one is the most recent."""
    assert read(*headers) == {"foo": "1", "bar": "3"}


def test_3_3_1_5_at_least_512_characters_are_propagated() -> None:
    """3.3.1.5: vendors should propagate at least 512 characters of the combined header."""
    members = {f"k{n}": "v" * 250 for n in range(30)}
    assert read(",".join(f"{key}={value}" for key, value in members.items())) == members


def test_3_3_1_5_a_header_beyond_our_limit_is_dropped() -> None:
    """3.3.1.5: the maximum is documented: 8192 bytes."""
    assert read(",".join(f"k{n:02}=" + "v" * 256 for n in range(32))) == {}


def test_3_3_3_the_tracestate_of_a_higher_version_is_read_as_far_as_it_goes() -> None:
    """3.3.3: vendors need to attempt to parse it."""
    span = span_of("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", "foo=1,1a=2")
    assert dict(span.trace_state) == {"foo": "1", "1a": "2"}


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=5))
def test_3_3_no_tracestate_raises_or_touches_the_traceparent(headers: list[str]) -> None:
    """3.3: whatever comes, the request goes on, and what is kept obeys the limits."""
    found = read(*headers)
    assert len(found) <= 32
    assert read(",".join(f"{key}={value}" for key, value in found.items())) == found
