"""W3C Baggage, section 3: the header as it comes in and goes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage
from opentelemetry.context import Context

from handrail.tracing.propagation import W3CPropagator

PROPAGATOR = W3CPropagator()


def read(*headers: str) -> dict[str, object]:
    """What several baggage headers hold."""
    return dict(baggage.get_all(PROPAGATOR.extract({"baggage": list(headers)}, Context())))


def through(*headers: str) -> str | None:
    """The baggage header that goes out for these that came in."""
    out: dict[str, str] = {}
    PROPAGATOR.inject(out, PROPAGATOR.extract({"baggage": list(headers)}, Context()))
    return out.get("baggage")


def test_3_3_1_members_are_read_with_whitespace_around_them() -> None:
    """3.3.1: OWS is allowed around members, keys and values."""
    assert read(" userId = alice ,\tserverNode=DF%2028 , isProduction=false") == {
        "userId": "alice",
        "serverNode": "DF 28",
        "isProduction": "false",
    }


def test_3_2_several_headers_are_one_list() -> None:
    """3.2: multiple baggage headers are combined (RFC 9110, 5.3)."""
    assert read("a=1", "b=2,c=3") == {"a": "1", "b": "2", "c": "3"}


def test_3_3_2_1_values_are_percent_encoded_utf_8_and_plus_is_a_plus() -> None:
    """3.3.2.1: only percent-encoding is decoded; it is no HTML form."""
    assert read("a=1+1,b=%C3%A4%2C%3B%3D%25") == {"a": "1+1", "b": "ä,;=%"}
    assert through("a=1+1,b=%C3%A4%2C%3B%3D%25") == "a=1+1,b=%C3%A4%2C%3B=%25"


def test_3_3_2_1_bytes_that_are_no_utf_8_become_the_replacement_character() -> None:
    """3.3.2.1: code points that cannot be decoded are replaced by U+FFFD."""
    assert read("a=%FF") == {"a": "\ufffd"}


def test_3_3_2_2_properties_travel_with_their_value() -> None:
    """3.3.2.2: properties of a member are propagated as they came and are no part of the value."""
    assert read("key1=value1;property1;property2, key2 = value2") == {"key1": "value1", "key2": "value2"}
    assert through("key1=value1;property1;p2=a%20b, key2 = value2") == "key1=value1;property1;p2=a%20b,key2=value2"


@pytest.mark.parametrize(
    "member", ["", "a", "=1", "a b=1", "a=\x00", "a=1 2", 'a="1"', "a=1\\2", "ä=1", "a=\xe4", "(=1"]
)
def test_3_3_a_malformed_member_is_skipped_alone(member: str) -> None:
    """A malformed member never fails a request and never costs its neighbours."""
    assert read(f"before=1,{member},after=2") == {"before": "1", "after": "2"}


def test_3_3_3_64_members_are_kept() -> None:
    """3.3.3: a platform must propagate 64 members; above that it may drop."""
    header = ",".join(f"k{n}={n}" for n in range(65))
    assert list(read(header)) == [f"k{n}" for n in range(64)]
    assert (through(header) or "").count(",") == 63


def test_3_3_3_8192_bytes_are_kept_and_cut_at_a_member() -> None:
    """3.3.3: a platform must propagate 8192 bytes; what is dropped is whole members."""
    member = "v" * 1021  # with its key and comma 1024 bytes
    fits = ",".join(f"{n}={member}" for n in range(8))
    assert len(fits) == 8191
    assert through(fits + "1") == fits + "1"
    assert through(fits + "12") == fits.rpartition(",")[0]
    assert read("a=" + "v" * 8191) == {}


def test_3_3_3_what_the_service_adds_is_bounded_on_the_way_out() -> None:
    """3.3.3: the limits count for the header that leaves, members added by the service included."""
    context = Context()
    for n in range(70):
        context = baggage.set_baggage(f"k{n}", "ä" * 20, context)
    context = baggage.set_baggage("huge", "x" * 9000, context)
    out: dict[str, str] = {}
    PROPAGATOR.inject(out, context)
    assert out["baggage"].count(",") <= 63
    assert len(out["baggage"]) <= 8192
    assert "huge" not in out["baggage"]


def test_of_a_doubled_key_the_last_member_counts() -> None:
    """The API holds one value per key."""
    assert read("a=1,a=2") == {"a": "2"}


def test_no_empty_header_is_sent() -> None:
    """Without members there is no header."""
    assert through("") is None
    assert through("garbage") is None


def test_baggage_needs_no_trace_and_a_trace_needs_no_baggage() -> None:
    """The two headers are independent."""
    assert through("a=1") == "a=1"
    only_trace = W3CPropagator(baggage=False)
    assert not baggage.get_all(only_trace.extract({"baggage": ["a=1"]}, Context()))
    assert only_trace.fields == {"traceparent", "tracestate"}
    assert W3CPropagator(trace_context=False).fields == {"baggage"}


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=5))
def test_no_baggage_raises_and_what_is_read_survives_the_way_out(headers: list[str]) -> None:
    """Whatever comes, the request goes on."""
    sent = through(*headers)
    if sent is not None:
        assert read(sent) == read(*headers)


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,10}", fullmatch=True), st.text(st.characters(codec="utf-8")), max_size=5)
)
def test_any_text_that_the_service_sets_arrives(values: dict[str, str]) -> None:
    """3.3.2.1: what is outside baggage-octet is percent-encoded."""
    context = Context()
    for key, value in values.items():
        context = baggage.set_baggage(key, value, context)
    out: dict[str, str] = {}
    PROPAGATOR.inject(out, context)
    assert read(out.get("baggage", "")) == values
