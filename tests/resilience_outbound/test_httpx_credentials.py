"""Credentials that are good for one request: sent again, they are a replay."""

import re

import pytest

from handrail.resilience.events import NotRetried
from handrail.resilience.outbound._credentials import one_time

CHALLENGE = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'


@pytest.fixture
def strict(server, steps):
    """Answers each nonce count once, the first time with 503; a second time it is a replay."""
    counts = []

    def checks(server, connection):
        told = "".join(server.received[-1].all("authorization"))
        count = re.search(r"nc=(\w+)", told)
        if count is None or count[1] in counts:
            return steps.answer(401, www_authenticate=CHALLENGE)(server, connection)
        counts.append(count[1])
        return steps.answer(503 if len(counts) == 1 else 200)(server, connection)

    server.script(otherwise=checks)
    return server


def test_digest_is_not_replayed(strict, guard, send, library):
    """The 503 to an authenticated request goes up; sent again with the same count, a 401 would come in its place."""
    guarded = guard()
    assert send("GET", strict.url, auth=library.DigestAuth("u", "p")).status_code == 503
    assert len(strict.received) == 2
    assert [event.reason for event in guarded.events if isinstance(event, NotRetried)] == ["one_time_credentials"]


def test_digest_that_never_left_is_sent(silent, guard, send, library):
    """A refused connection spends nothing: the same credentials may be sent again."""
    listening: list[object] = []

    def when_refused(event):
        if not listening:
            listening.append(event)
            silent.listen()

    guarded = guard()
    guarded.registry.tools.emit.add(when_refused)
    headers = {"authorization": 'Digest username="u", nonce="n", nc=00000001'}
    assert send("GET", silent.url, headers=headers).status_code == 200
    assert len(silent.received) == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"Authorization": "Bearer t"}, False),
        ({"Authorization": "Basic bmM9"}, False),
        ({"Authorization": "OAuth a-bearer-token"}, False),
        ({"Authorization": 'Digest username="u", nonce="n", response="r"'}, False),
        ({"Authorization": 'Digest username="u", nonce="n", nc=00000002, response="r"'}, True),
        ({"authorization": "digest nonce=n, nc=1"}, True),
        ({"Proxy-Authorization": "Digest nonce=n, nc=1"}, True),
        ({"Authorization": 'OAuth oauth_token="t", oauth_nonce="n"'}, True),
        ({"Authorization": 'Hawk id="i", nonce="n", mac="m"'}, True),
        ({"Authorization": "DPoP t", "DPoP": "proof"}, True),
    ],
)
def test_which_credentials_are_spent(library, headers, expected):
    """Only schemes whose proof names a count or a nonce of its own; a token may be shown again."""
    assert one_time(library.Request("GET", "http://x", headers=headers).headers) is expected
