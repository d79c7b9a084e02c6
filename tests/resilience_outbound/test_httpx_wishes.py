"""Timeouts that the calling code wrote are its wish; what may be sent twice is said by the request."""

import asyncio
from math import inf, nan

import httpx
import pytest

from handrail.resilience.call import Resend
from handrail.resilience.outbound._httpx_wishes import cut_to, limits, resend_class, widened
from handrail.resilience.overrides import Override, enter, leave
from handrail.resilience.settings import ResilienceSettings

SETTINGS = ResilienceSettings()
EIGHT = {"attempt_timeout": 8.0}


@pytest.mark.parametrize(
    ("timeout", "streamed", "expected"),
    [
        (2, False, (None, None)),
        (60, False, (240.0, 260.0)),
        (httpx.Timeout(5, read=60), False, (75.0, 95.0)),
        (httpx.Timeout(5, read=60), True, (75.0, 95.0)),
        (None, False, (None, None)),
        (None, True, (inf, inf)),
        (nan, False, (None, None)),
        (httpx.Timeout(5, read=None), False, (15.0, 35.0)),
        (httpx.Timeout(1, read=None), False, (None, None)),
        (httpx.Timeout(5, read=None), True, (inf, inf)),
    ],
)
def test_written_timeouts_lengthen_and_never_shorten(timeout, streamed, expected):
    """The attempt may last as long as all phases together; the total grows by the same; None unbinds a stream only."""
    assert limits(httpx.Timeout(timeout).as_dict(), SETTINGS, streamed=streamed) == expected


def test_silence_is_allowed_for_as_long_as_an_attempt():
    """Read and write get the attempt's time where they had less; connecting and the pool stay as they are."""
    unsaid = httpx.Timeout(5).as_dict()
    assert widened(unsaid, 8.0) == {"connect": 5, "read": 8.0, "write": 8.0, "pool": 5}
    assert widened(unsaid, 5.0) is None
    assert widened({"connect": 5.0, "read": None}, 8.0) is None


@pytest.mark.parametrize(("settings", "policy", "read"), [({}, {}, 5.0), (EIGHT, {}, 8.0), ({}, EIGHT, 8.0)])
def test_a_chosen_attempt_timeout_holds_for_a_client_that_says_nothing(
    guard, server, library, monkeypatch, settings, policy, read
):
    """Httpx's own 5 s end no attempt that was given more, by the settings or a policy; the default gives no more."""
    seen = []
    send = library.AsyncHTTPTransport.handle_async_request

    async def spy(transport, request):
        seen.append(request.extensions["timeout"]["read"])
        return await send(transport, request)

    monkeypatch.setattr(library.AsyncHTTPTransport, "handle_async_request", spy)
    guard(**settings)

    async def main():
        async with library.AsyncClient() as client:
            await client.get(server.url)

    maker = object()
    enter(Override(policy, maker=maker), has_fallback=False)
    try:
        asyncio.run(main())
    finally:
        leave(maker)
    assert seen == [read]


def test_phases_are_cut_to_what_is_left():
    """No phase may last longer than what is left; shorter ones stay, and the original is not touched."""
    written = {"connect": 5.0, "read": None, "write": 0.5, "pool": 5.0}
    assert cut_to(written, 1.0) == {"connect": 1.0, "read": 1.0, "write": 0.5, "pool": 1.0}
    assert written["read"] is None


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        *[(method, {}, Resend.SAFE) for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE")],
        ("get", {}, Resend.SAFE),
        ("POST", {}, Resend.UNSAFE),
        ("PATCH", {"json": {}}, Resend.UNSAFE),
        ("LOCK", {}, Resend.UNSAFE),
        ("POST", {"headers": {"idempotency-key": "a"}}, Resend.KEYED),
        *[("POST", {"headers": {"Idempotency-Key": text}}, Resend.UNSAFE) for text in ("", " ", '""')],
        ("PUT", {"content": iter([b"a"])}, Resend.ONE_SHOT),
        ("POST", {"content": iter([b"a"]), "headers": {"idempotency-key": "a"}}, Resend.ONE_SHOT),
        ("PUT", {"files": {"a": b"1"}}, Resend.SAFE),
    ],
)
def test_resend_class(method, options, expected):
    """Safe by RFC 9110, by a key, not at all, or not even readable twice."""
    assert resend_class(httpx.Request(method, "http://x", **options), httpx.ByteStream) is expected


def test_long_timeout_of_the_code_is_kept(server, steps, guard, send):
    """An attempt timeout of 0.05 s does not cut a call whose code allows 5 s for each phase."""
    guard(attempt_timeout=0.05, total_timeout=0.05, attempts=1)
    server.script(steps.slow)
    assert send("GET", server.url, timeout=6).content == b"fine"
