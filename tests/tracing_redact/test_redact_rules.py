"""The rules one by one: names, allow and deny, routes, exceptions, spans of others."""

import uuid

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from handrail.tracing import redact
from handrail.tracing.export._sdk_log import reason
from handrail.tracing.redact import Redaction
from handrail.tracing.redact._span import cleaned
from handrail.tracing.testing import Spans

SEMCONV = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"]
SEMCONV += ["X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token"]


@pytest.mark.parametrize("key", SEMCONV)
def test_the_list_of_the_conventions(key: str) -> None:
    """A1-9: the seven keys of url.query and url.full are hidden; the key stays, in its own case."""
    assert Redaction().query(f"a=1&{key}=sesame&b=2") == f"a=1&{key}=REDACTED&b=2"
    assert Redaction().url(f"https://u:p@h/?{key}=sesame") == f"https://REDACTED:REDACTED@h/?{key}=REDACTED"


def test_deny_wins_over_allow_and_allow_over_ours() -> None:
    """`deny` adds names, `allow` gives ours back, and what is in both is hidden."""
    chosen = Redaction(deny=("SSN", "both"), allow=("token", "both", "Code"))
    query = "ssn=1&token=2&both=3&code=4&access_token=5&user[s-s-n]=6"
    assert chosen.query(query) == (
        "ssn=REDACTED&token=2&both=REDACTED&code=4&access_token=REDACTED&user[s-s-n]=REDACTED"
    )
    assert chosen.text("{'ssn': 7, 'token': 8}") == "{'ssn': REDACTED, 'token': 8}"
    assert (chosen.header("ssn"), chosen.header("Token"), chosen.header("cookie")) == (True, False, True)


def test_a_semicolon_ends_no_secret() -> None:
    """Who splits at & alone sees `a;b` as one value, so it goes up to the next &."""
    assert Redaction().query("page=2;token=a;b&size=1") == "page=2;token=REDACTED&size=1"


def test_a_remembered_key_is_no_door() -> None:
    """Keys known as harmless are remembered, by name and in bounds: none of it hides a secret behind one."""
    chosen = Redaction()
    for _ in range(2):
        assert chosen.query("page=1&size=2") == "page=1&size=2"
        assert chosen.query("page=1;token=2") == "page=1;token=REDACTED"
        assert chosen.query("page=?token=2") == "page=?token=REDACTED"
    for number in range(5000):
        chosen.query(f"k{number}=1")
    assert len(chosen._harmless) < 1100


@pytest.mark.parametrize(
    ("route", "path", "shown"),
    [
        ("/reset/{token}", "/reset/sesame", "/reset/REDACTED"),
        ("/reset/{token:str}/go", "/api/reset/sesame/go/", "/api/reset/REDACTED/go/"),
        ("/f/{id}/{api_key}", "/f/1/sesame", "/f/1/REDACTED"),
        ("/r/<str:token>/", "/r/sesame/", "/r/REDACTED/"),
        ("^r/(?P<token>[^/]+)/$", "/r/sesame/", "^r/(?P<token>[^/]+)/$"),
        ("/s/{secret:path}", "/s/a/b", "/s/REDACTED"),
        ("/elsewhere/{token}", "/reset/sesame", "/elsewhere/{token}"),
        ("/orders/{order_id}", "/orders/7", "/orders/7"),
    ],
)
def test_the_route_names_the_secret_segment(route: str, path: str, shown: str) -> None:
    """A parameter named like a secret hides its segment; where path and template disagree, the template is shown."""
    chosen = Redaction()
    assert [chosen.path(route, path) for _ in range(2)] == [shown, shown]


def test_path_parameters_of_the_scope() -> None:
    """What the log says of a path: the values of parameters that are named like secrets are gone."""
    chosen = Redaction()
    assert chosen.parameters("/reset/sesame/7", {"token": "sesame", "id": "7"}) == "/reset/REDACTED/7"
    assert chosen.parameters("/reset/sesame", None) == "/reset/sesame"


def test_path_parameters_that_are_no_text() -> None:
    """What a converter made of it: a UUID in any spelling, a number with zeros before it, and nothing else."""
    token = uuid.UUID("0a2f41a3-c54c-fce8-32d2-0324e1c32e22")
    for spelled in (str(token), token.hex, str(token).upper()):
        assert Redaction().parameters(f"/reset/{spelled}/7", {"token": token}) == "/reset/REDACTED/7"
    assert Redaction().parameters("/pin/007/70", {"pin": 7}) == "/pin/REDACTED/70"


@pytest.mark.parametrize(
    "text",
    [
        "fernet.InvalidToken: the message",
        "KeyError: 'token'",
        "status code=404, key: 7",
        'File "/app/tokens.py", line 3, in token',
        "http://[::1]:8000/users/a@b.example",
        "Basic authentication is required",
        "mail to a@b.example // or call",
    ],
)
def test_what_only_resembles_a_secret_stays(text: str) -> None:
    """Names of classes, common words, addresses in paths: an error must stay readable."""
    assert Redaction().text(text) == text


def test_an_exception_is_told_as_the_sdk_tells_it() -> None:
    """Type, message and stack trace are those of `record_exception` where there is nothing to hide."""
    with pytest.raises(LookupError) as caught:
        raise LookupError("no such order")
    spans = Spans()
    span = spans.provider.get_tracer("theirs").start_span("x")
    span.record_exception(caught.value)
    span.end()
    assert redact.exception(caught.value) == spans.finished[0].events[0].attributes


def test_a_long_exception_is_bounded_and_cut_between_lines() -> None:
    """Of a message the beginning, of a stack trace the last lines; a name is never cut off from its secret."""
    lines = "\n".join(f"line {number} password=sesame{number}" for number in range(10_000))
    message, stack = redact.told(lines), redact.told(lines, end=True)
    assert message.startswith("line 0 password=REDACTED\n")
    assert stack.endswith("line 9999 password=REDACTED")
    assert stack.startswith("line ")
    assert "sesame" not in message + stack
    assert max(len(message), len(stack)) <= 64 * 1024
    single = redact.told("x" * 100_000 + "\n", end=True)
    assert len(single) == 64 * 1024


def test_an_exception_that_cannot_be_printed() -> None:
    """A `__str__` that raises costs the message, not the span."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert redact.exception(Mute())["exception.message"] == ""


def _refused(spans: Spans, url: str) -> None:
    with spans.provider.get_tracer("theirs").start_as_current_span("call") as span:
        span.set_attributes({"http.url": url, "url.query": "token=sesame", "note": "kept"})
        span.add_event("kept", {"note": "kept"})
        httpx.Response(401, request=httpx.Request("GET", url)).raise_for_status()


def _recorded(url: str) -> ReadableSpan:
    """A span as the service and other instrumentations write it."""
    spans = Spans()
    with pytest.raises(httpx.HTTPStatusError):
        _refused(spans, url)
    return spans.finished[0]


def test_what_others_wrote_is_cleaned_on_the_way_out() -> None:
    """URLs, the recorded exception and the status: all that is not secret stays, and the span itself as it was."""
    span = _recorded("https://user:sesame@h/x?token=sesame&page=2")
    assert span.to_json().count("sesame") > 4
    clean = cleaned(span)
    assert "sesame" not in clean.to_json()
    assert clean.attributes == {
        "http.url": "https://REDACTED:REDACTED@h/x?token=REDACTED&page=2",
        "url.query": "token=REDACTED",
        "note": "kept",
    }
    assert [event.name for event in clean.events] == ["kept", "exception"]
    assert clean.status.status_code is StatusCode.ERROR
    assert (clean.context, clean.start_time, clean.end_time) == (span.context, span.start_time, span.end_time)
    assert "sesame" in span.to_json()


def test_a_clean_span_is_passed_on_itself() -> None:
    """No copy where there is nothing to hide."""
    spans = Spans()
    span = spans.tracing().tracer.start_span("x", attributes={"url.full": "http://h/?page=2"})
    span.add_event("e", {"k": "v"})
    span.end()
    assert cleaned(spans.finished[0]) is spans.finished[0]


def test_a_subprotocol_that_is_a_token() -> None:
    """Names of protocols are shown, what browsers smuggle in their place is not."""
    names = ["graphql-transport-ws", "graphql-ws", "mqtt", "v12.stomp", "wamp.2.json", "ocpp1.6", "ocpp2.0.1", "chat"]
    assert [redact.protocol(name) for name in names] == names
    for token in (
        "eyJhbGciOiJIUzI1NiJ9.e30.x",
        "5f4dcc3b5aa765d61d83",
        "a3f9c2e1b7d84f60",
        "Sesame",
        "token.sesame." * 4,
    ):
        assert redact.protocol(token) == "REDACTED"


def test_a_collector_with_a_key_in_its_url() -> None:
    """What our log says of a collector that cannot be reached holds no key of its URL."""
    said = "Max retries exceeded with url: /v1/traces?api-key=sesame (Caused by SomethingNew('http://u:sesame@h/'))"
    assert "Max retries" in reason(said)
    assert "sesame" not in reason(said)
