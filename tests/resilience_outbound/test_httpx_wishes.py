"""Timeouts that the calling code wrote are its wish; what may be sent twice is said by the request."""

from math import inf, nan

import httpx
import pytest

from handrail.resilience.call import Resend
from handrail.resilience.outbound._httpx_wishes import cut_to, limits, resend_class
from handrail.resilience.settings import ResilienceSettings

SETTINGS = ResilienceSettings()


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
        ("POST", {"headers": {"Idempotency-Key": ""}}, Resend.UNSAFE),
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
