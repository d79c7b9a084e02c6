"""What holds for any text: nothing raises, nothing changes twice, nothing harmless changes, no secret survives."""

import string
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.tracing.redact import REDACTED, Redaction
from handrail.tracing.redact._hint import may_hold
from handrail.tracing.redact._names import ENDINGS, HEADERS, Names
from handrail.tracing.redact._names import WORDS as NAMES
from handrail.tracing.redact._text import clean

REDACTION = Redaction()
KEYS = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature", "X-Amz-Signature", "X-Amz-Credential"]
KEYS += ["X-Amz-Security-Token", "token", "access_token", "refresh_token", "id_token", "api_key", "apikey", "key"]
KEYS += ["code", "password", "passwd", "secret", "client_secret", "session", "jwt", "auth", "user[password]"]
KEYS += ["authorization", "new-password", "user.token", "csrfToken", "jsessionid", "client_assertion", "SAMLResponse"]
HARMLESS = ["page", "size", "q", "sort", "order_id", "page_token", "X-Amz-Date", "X-Amz-SignedHeaders", "keyword"]
SECRETS = st.text(string.ascii_letters + string.digits, min_size=6, max_size=20).map(lambda text: f"Zz{text}zZ")
WORDS = st.text(string.ascii_letters + string.digits + "-._~", max_size=12)
ANYTHING = st.text() | st.lists(
    st.sampled_from([*KEYS, *"=&;?#/@: \n'\"%[]", "//", "https://", "%3D", "%40", "%25", "Bearer ", "eyJ", "REDACTED"])
    | st.text(max_size=4),
    max_size=30,
).map("".join)
HOWS = ("query", "url", "text")


@st.composite
def spelled(draw: st.DrawFn) -> str:
    """A secret key in any case, some of its letters percent-encoded, perhaps twice."""
    key = draw(st.sampled_from(KEYS))
    letters = [draw(st.sampled_from([letter, letter.lower(), letter.upper()])) for letter in key]
    encoded = "".join(f"%{ord(letter):02X}" if draw(st.integers(0, 5)) == 0 else letter for letter in letters)
    return encoded.replace("%", "%25") if draw(st.integers(0, 5)) == 0 else encoded


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, str]:
    """(a query with a secret in it, the secret); the rest is harmless."""
    secret = draw(SECRETS)
    before = [f"{draw(st.sampled_from(HARMLESS))}={draw(WORDS)}" for _ in range(draw(st.integers(0, 3)))]
    pairs = [*before, *[f"{draw(spelled())}={secret}" for _ in range(draw(st.integers(1, 2)))], "last=1"]
    return draw(st.sampled_from("&;")).join(pairs), secret


@given(ANYTHING, st.sampled_from(HOWS))
def test_never_raises_and_says_the_same_twice(text: str, how: str) -> None:
    """Any text gives text, and what was redacted stays as it is."""
    once = getattr(REDACTION, how)(text)
    assert getattr(REDACTION, how)(once) == once


@given(ANYTHING)
def test_what_is_not_looked_at_closely_holds_nothing(text: str) -> None:
    """Where the first look finds no hint, the second one would change nothing, with denied names and without."""
    for names in (REDACTION.names, Names(deny=("x-tenant", "page"))):
        assert may_hold(text, names) or clean(text, names) == text


@pytest.mark.parametrize("name", sorted({*ENDINGS, *NAMES, *HEADERS}))
def test_every_name_is_a_hint(name: str) -> None:
    """A name that is added to the list is seen at the first look, and so is a denied one, however it is spelled."""
    assert may_hold(f"{name}=x", Names())
    assert may_hold("S-S_n: x", Names(deny=("ssn",)))
    assert not may_hold('"GET /orders/7?page=2&size=10 HTTP/1.1" 200', Names(deny=("ssn",)))


@given(st.lists(st.tuples(st.sampled_from(HARMLESS), WORDS), max_size=5), WORDS)
def test_without_secrets_nothing_changes(pairs: list[tuple[str, str]], path: str) -> None:
    """A harmless query, its URL and a sentence about it are given back as they are."""
    query = "&".join(f"{key}={value}" for key, value in pairs)
    url = f"https://shop.example:8443/{path}?{query}"
    assert REDACTION.query(query) == query
    assert REDACTION.url(url) == url
    assert (
        REDACTION.text(f"Client error '404 Not Found' for url {url}") == f"Client error '404 Not Found' for url {url}"
    )


@given(queries())
def test_no_secret_survives_in_a_query(found: tuple[str, str]) -> None:
    """A1-9: in any case, percent-encoded, doubled, between & or ;, in a bracket: the value goes, the key stays."""
    query, secret = found
    assert secret not in REDACTION.query(query)
    assert secret not in REDACTION.url(f"/orders?{query}")
    assert secret not in REDACTION.text(f"Client error '401' for url 'https://shop/orders?{query}'\nnext line")
    assert REDACTED in REDACTION.query(query)


@given(queries(), st.integers(1, 3))
def test_no_secret_survives_in_a_url_within_a_query(found: tuple[str, str], times: int) -> None:
    """A redirect's target as a value, plain or encoded up to three times."""
    query, secret = found
    inner = f"https://{secret}:{secret}@shop/back?{query}#{secret}"
    assert secret not in REDACTION.query(f"page=1&next={inner.replace('#' + secret, '')}")
    for _ in range(times):
        inner = quote(inner, safe="")
    assert secret not in REDACTION.query(f"page=1&next={inner}&size=2")


@given(SECRETS, SECRETS, st.sampled_from(["https", "redis", "postgresql+asyncpg"]), st.sampled_from("/?#:!'@+ "))
def test_no_userinfo_survives(user: str, password: str, scheme: str, odd: str) -> None:
    """User and password go from any URL, also a password with characters that it should have encoded."""
    odd = odd.strip() or "%20"
    for url in (
        f"{scheme}://{user}:{password}@h:1/x",
        f"{scheme}://{user}@h",
        f"{scheme}://{user}:{password}{odd}x@h/",
    ):
        for shown in (REDACTION.url(url), REDACTION.text(f"cannot reach '{url}' now"), REDACTION.text(url)):
            assert user not in shown
            assert password not in shown
            assert "@h" in shown


@given(SECRETS, st.sampled_from(["authorization", "Cookie", "X-Api-Key", "set-cookie", "Proxy-Authorization"]))
def test_no_header_survives_in_text(secret: str, name: str) -> None:
    """As a line, in a dict, in JSON and as ASGI holds it."""
    for text in (
        f"{name}: Bearer {secret}",
        f"{{'{name}': 'Bearer {secret}', 'accept': '*/*'}}",
        f'{{"{name}":"{secret}","accept":"*/*"}}',
        f"[(b'{name}', b'{secret}'), (b'accept', b'*/*')]",
        f"Illegal header value b'{secret}\\n'",
    ):
        assert secret not in REDACTION.text(text), text


HOSTILE = ["//a:b", "a=", "a: ", "eyJ", "'a':\"\\", "http://#", "input_value=", "@//", "?", "a?", "token=", "Bearer "]
HOSTILE += ["'a',b'", "%25", "a=%2525252525253D", "\\'", "//a@", "#", "'", "a", "x&", "[", "b'", "token: ", "%3D", ";"]
HOSTILE += ["token = ", "token=[", "token=(&", "token=&a", "token:", "token:'", "--token ", "--a b", "'--a','"]
HOSTILE += ["('a','", "[['a','\\", "<a>", "<a b", "</", "<token>x", "Bearer+", "token==", 'token := "', "{token:"]
HOSTILE += ["'token':["]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("piece", HOSTILE)
def test_time_grows_with_the_length_alone(piece: str, how: str) -> None:
    """A hundred thousand characters made to be slow take a fraction of a second, with and without an @ at the end."""
    redact = getattr(REDACTION, how)
    for text in (piece * (100_000 // len(piece)), piece * (100_000 // len(piece)) + "@%3D@"):
        began = time.process_time()
        redact(text)
        assert time.process_time() - began < 5
