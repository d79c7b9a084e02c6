"""What a client of the service gets when a dependency failed and nobody handled it."""

import asyncio
import json
import logging

import httpx
import pytest

from handrail.resilience import errors
from handrail.resilience.inbound.problem import ProblemDetails
from handrail.resilience.outbound.failure import Failure, mark

TRACE = "0af7651916cd43dd8448eb211c80319c"
OPEN = "circuit open for http://inventory:8003: 60 % of 20 calls failed in the last 30 s; next probe in 12.3 s"


def circuit_open():
    return errors.CircuitOpen(OPEN, target="http://inventory:8003", retry_after=12.3)


def timed_out(kind: type[errors.TimedOut] = errors.AttemptTimedOut):
    return kind("too late", target="http://inventory:8003", limit=10.0, elapsed=10.1)


def marked(error, cause):
    mark(error, Failure("http://inventory:8003", 3, cause))
    return error


def status_error(status, **headers):
    request = httpx.Request("GET", "http://inventory:8003/items?token=secret")
    response = httpx.Response(status, headers=headers, request=request)
    with pytest.raises(httpx.HTTPStatusError) as caught:
        response.raise_for_status()
    return caught.value


def raising(error):
    async def app(scope, receive, send):
        raise error

    return app


def call(app, *, trace_id=TRACE, method="GET", kind="http"):
    """Messages that the middleware sent for one request."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "method": method, "path": "/orders", "headers": [], "query_string": b""}
    asyncio.run(ProblemDetails(app, trace_id=lambda: trace_id)(scope, receive, send))
    return sent


def answered(error, **options):
    start, body = call(raising(error), **options)
    return start["status"], dict(start["headers"]), json.loads(body["body"])


def test_open_circuit_becomes_503_with_all_that_is_known():
    """503, Retry-After in whole seconds rounded up, and a problem document by RFC 9457."""
    status, headers, document = answered(circuit_open())
    assert status == 503
    assert headers[b"retry-after"] == b"13"
    assert headers[b"content-type"] == b"application/problem+json"
    assert document == {
        "type": "urn:handrail:problem:circuit-breaker",
        "title": "Service Unavailable",
        "status": 503,
        "detail": OPEN,
        "trace_id": TRACE,
        "policy": "circuit_breaker",
        "target": "http://inventory:8003",
        "retry_after": 13,
    }


@pytest.mark.parametrize(
    ("error", "status", "policy"),
    [
        (errors.BulkheadFull("full", target="http://x"), 503, "bulkhead"),
        (errors.RetryBudgetSpent("spent", target="http://x"), 503, "retry_budget"),
        (timed_out(), 504, "attempt_timeout"),
        (timed_out(errors.DeadlineExceeded), 504, "total_timeout"),
        (marked(httpx.ConnectError("refused"), "connect"), 503, "retry"),
        (marked(httpx.ReadError("reset"), "network"), 503, "retry"),
        (marked(httpx.ReadTimeout("timed out"), "deadline"), 504, "retry"),
        (marked(httpx.PoolTimeout("full"), "pool"), 503, "retry"),
        (marked(httpx.ReadTimeout("slow"), "timeout"), 504, "retry"),
    ],
)
def test_every_kind_has_its_status(error, status, policy):
    """Refused or unreachable is 503, too slow is 504; without a known wait there is no Retry-After."""
    got, headers, document = answered(error)
    assert (got, document["policy"]) == (status, policy)
    assert b"retry-after" not in headers


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (Failure("http://payment", 1, "network"), True),
        (Failure("http://payment", 3, "network", used_up=True), False),
        (Failure("http://payment", 1, "connect"), False),
    ],
)
def test_a_call_that_may_have_been_carried_out_says_so(failure: Failure, told: bool) -> None:
    """What broke off and may not be repeated leaves its caller to ask; what was repeated, or never left, does not."""
    error = httpx.ReadError("reset")
    mark(error, failure)
    _, _, problem = answered(error)
    assert problem["detail"].endswith("; it may have been carried out") is told


@pytest.mark.parametrize(("theirs", "ours"), [(429, 503), (502, 503), (503, 503), (504, 504)])
def test_raise_for_status_of_a_transient_answer(theirs, ours):
    """The dependency's own refusal is passed on in kind, its Retry-After copied, its query left out."""
    status, headers, document = answered(status_error(theirs, **{"Retry-After": "7"}))
    assert status == ours
    assert headers[b"retry-after"] == b"7"
    assert document["retry_after"] == 7
    assert document["target"] == "http://inventory:8003"
    assert "secret" not in json.dumps(document)


def test_retry_after_as_a_date_is_copied():
    """An HTTP date stays one."""
    date = "Fri, 31 Dec 1999 23:59:59 GMT"
    _, headers, _ = answered(status_error(503, **{"Retry-After": date}))
    assert headers[b"retry-after"] == date.encode()


@pytest.mark.parametrize(
    "theirs", ["9" * 400, "9" * 40, "-1", "1.5", "abc", "x" * 5000, "Wed, 99 Oct 99999 99:28:00 GMT", ""]
)
def test_a_retry_after_that_nobody_can_use_is_left_out(theirs):
    """The answer stays the 503; whoever reads it gets a number of seconds, a date, or nothing."""
    status, headers, document = answered(status_error(503, **{"Retry-After": theirs}))
    assert (status, document["status"]) == (503, 503)
    assert b"retry-after" not in headers
    assert "retry_after" not in document


def test_a_date_that_is_written_otherwise_becomes_the_one_form():
    """RFC 9110, 5.6.7: a sender writes IMF-fixdate, whatever the peer wrote."""
    _, headers, _ = answered(status_error(503, **{"Retry-After": "Wednesday, 21-Oct-65 07:28:00 GMT"}))
    assert headers[b"retry-after"] == b"Wed, 21 Oct 2065 07:28:00 GMT"


@pytest.mark.parametrize("wait", [float("inf"), float("nan"), -1.0, 1e300])
def test_an_error_of_ours_that_names_no_wait_is_answered(wait):
    """Whatever raised a rejection, the document and its headers can be written."""
    status, headers, document = answered(errors.CircuitOpen(OPEN, target="http://inventory:8003", retry_after=wait))
    assert (status, "retry_after" in document, b"retry-after" in headers) == (503, False, False)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        TimeoutError("their own"),
        httpx.ConnectError("not from a pipeline"),
        status_error(500),
        status_error(404),
        errors.SettingsError("wrong"),
        ExceptionGroup("mixed", [circuit_open(), ValueError("a bug")]),
    ],
)
def test_other_errors_pass_through(error):
    """A bug stays a 500 of the server's: the error goes up as the same object and nothing is sent."""
    with pytest.raises(type(error)) as caught:
        call(raising(error))
    assert caught.value is error


def test_wrapped_errors_are_the_apps_decision():
    """`raise MyError from circuit_open` is not looked through."""

    async def app(scope, receive, send):
        raise RuntimeError("mine") from circuit_open()

    with pytest.raises(RuntimeError, match="mine"):
        call(app)


def test_group_whose_leaves_all_qualify():
    """A task group that lost two dependencies is answered for the one that asks for most patience."""
    group = ExceptionGroup("both", [timed_out(), ExceptionGroup("inner", [circuit_open()])])
    status, headers, document = answered(group)
    assert (status, headers[b"retry-after"], document["policy"]) == (503, b"13", "circuit_breaker")


def test_begun_response_is_not_touched():
    """Once the status line is out, the error goes up to the server, which cuts the connection."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise circuit_open()

    with pytest.raises(errors.CircuitOpen):
        call(app)


def test_unknown_members_are_left_out():
    """Without a trace there is no trace_id; no null is sent."""
    _, _, document = answered(errors.BulkheadFull("full", target="http://x"), trace_id=None)
    assert "trace_id" not in document
    assert None not in document.values()


def test_head_gets_no_body():
    """The answer to HEAD has the headers of the document and none of its bytes."""
    start, body = call(raising(circuit_open()), method="HEAD")
    assert start["status"] == 503
    assert int(dict(start["headers"])[b"content-length"]) > 0
    assert body["body"] == b""


def test_one_warning_line(caplog):
    """What was answered is logged once, as one line, without a traceback."""
    with caplog.at_level(logging.WARNING, logger="handrail"):
        call(raising(circuit_open()))
    (record,) = caplog.records
    assert record.getMessage() == f"GET /orders answered 503: {OPEN}"
    assert record.exc_info is None


def test_other_scopes_and_messages_pass_untouched():
    """Websockets and lifespan are not looked at; a response that goes well is passed message by message."""
    with pytest.raises(errors.CircuitOpen):
        call(raising(circuit_open()), kind="websocket")
    messages = [
        {"type": "http.response.start", "status": 500, "headers": [(b"x", b"y")]},
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b"},
    ]

    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    assert call(app) == messages


def test_cancellation_passes():
    """A client that went away is not a dependency that failed."""
    with pytest.raises(asyncio.CancelledError):
        call(raising(asyncio.CancelledError()))


def test_the_answer_says_that_the_next_hop_failed():
    """RFC 9209: our callers are told that not we but our dependency is down, and which one."""
    _, headers, _ = answered(errors.CircuitOpen("open", target="http://inventory:8003", retry_after=3.0))
    assert headers[b"proxy-status"] == b'handrail; error=destination_unavailable; next-hop="http://inventory:8003"'
    _, headers, _ = answered(timed_out())
    assert headers[b"proxy-status"].startswith(b"handrail; error=http_response_timeout; next-hop=")


def test_a_strange_target_makes_no_strange_header():
    """Quotes, backslashes and other alphabets stay out of a structured field."""
    _, headers, _ = answered(errors.CircuitOpen("open", target='http://a"b\\c\u00e9:1', retry_after=None))
    assert headers[b"proxy-status"].endswith(b'next-hop="http://abc?:1"')


def test_a_request_writes_one_line_into_the_log_and_no_more(caplog):
    """CWE-117: a path is decoded, an error may quote its input; neither begins a line of its own."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.disconnect"}

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/caf\u00e9\nERROR forged\x1b[2J",
        "headers": [],
        "query_string": b"",
    }
    with pytest.raises(ValueError, match="quoted"):
        asyncio.run(ProblemDetails(raising(ValueError("quoted\r\nERROR")), trace_id=lambda: None)(scope, receive, send))
    assert caplog.messages == ["GET /caf\u00e9\\nERROR forged\\x1b[2J answered 500: ValueError: quoted\\r\\nERROR"]
