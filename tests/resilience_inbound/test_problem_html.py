"""Browsers get a page, programs the document: by content negotiation, and the page is safe to show."""

import asyncio
import re
from base64 import b64encode
from collections.abc import MutableMapping
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience.inbound._accept import prefers_html
from handrail.resilience.inbound._answer import FAILED, Answer
from handrail.resilience.inbound._html import page
from handrail.resilience.inbound._reply import Replies

TRACE = "0af7651916cd43dd8448eb211c80319c"
FIREFOX = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
CHROME = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
BUSY = Answer(503, "overloaded", "more than can be served", "load_shedding", retry_after=13.0)


def reply(answer: Answer = BUSY, *accept: bytes, method: str = "GET", link: str = "") -> tuple[dict[bytes, bytes], str]:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/", "headers": [(b"accept", value) for value in accept]}
    asyncio.run(Replies(trace_id=lambda: TRACE, link=link).send(answer, scope, send))
    return dict(sent[0]["headers"]), sent[1]["body"].decode()


@pytest.mark.parametrize(
    "accept",
    [
        FIREFOX,
        CHROME,
        b"text/html",
        b"TEXT/HTML",
        b"text/*",
        b"text/html;q=0.4, application/json;q=0.3",
        b"text/html; charset=utf-8; q=0.9, */*;q=0.1",
        b"application/json;q=0, text/html;q=0.001",
    ],
)
def test_who_prefers_html_gets_it(accept: bytes) -> None:
    """RFC 9110, 12.5.1: the most specific range counts, and weights decide."""
    headers, _ = reply(BUSY, accept)
    assert headers[b"content-type"] == b"text/html; charset=utf-8"


@pytest.mark.parametrize(
    "accept",
    [
        b"*/*",
        b"",
        b"application/json",
        b"application/problem+json, text/html",
        b"application/json, text/plain, */*",
        b"text/html, application/json",
        b"text/html;q=0.5, */*",
        b"text/html;q=0",
        b"text/html;q=nonsense",
        b"text/html;q=nan",
        b"text/html;q=9",
        b"text/plain",
        b";;;,,,=q",
        b"\xff\xfe\x00text/",
    ],
)
def test_everybody_else_gets_the_document(accept: bytes) -> None:
    """curl, fetch, axios, the same weight for both, and what cannot be read."""
    headers, _ = reply(BUSY, accept)
    assert headers[b"content-type"] == b"application/problem+json"


def test_no_accept_and_several() -> None:
    """Nothing said is the document; fields that came apart are one list."""
    assert reply(BUSY)[0][b"content-type"] == b"application/problem+json"
    assert reply(BUSY, b"text/html", b"application/json")[0][b"content-type"] == b"application/problem+json"


def test_both_say_that_they_depend_on_accept() -> None:
    """RFC 9110, 12.5.5: for caches between."""
    assert reply(BUSY)[0][b"vary"] == reply(BUSY, FIREFOX)[0][b"vary"] == b"accept"


@given(st.binary(max_size=200))
def test_no_accept_header_is_too_strange(accept: bytes) -> None:
    """Whatever a client writes there."""
    assert prefers_html([(b"accept", b"text/," + accept)]) in (True, False)


class Page(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def test_the_page_says_what_a_person_needs() -> None:
    """What happened in plain words, when to come back, what to quote, and where it can be seen."""
    headers, text = reply(BUSY, FIREFOX, link="http://localhost:16686/trace/{trace_id}")
    shown = Page(text)
    assert shown.open == []
    for wanted in (
        "Not available right now",
        "Please try again in 13 seconds.",
        "more than can be served",
        "503 Service Unavailable",
        TRACE,
    ):
        assert wanted in shown.text
    assert ("href", f"http://localhost:16686/trace/{TRACE}") in shown.attributes
    assert headers[b"retry-after"] == b"13"
    assert int(headers[b"content-length"]) == len(text.encode())


def test_nothing_is_said_that_is_not_known() -> None:
    """No wait, no trace, no link: no empty lines for them."""
    text = Page(page(FAILED, None).decode()).text
    assert "Something went wrong here" in text
    for unwanted in ("again in", "quote", "trace", "None"):
        assert unwanted not in text


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        (0.0, "again now."),
        (0.2, "again in 1 second."),
        (119.0, "again in 119 seconds."),
        (121.0, "again in 3 minutes."),
        (7200.0, "again in 2 hours."),
        (200_000.0, "again in 3 days."),
        ("Fri, 31 Dec 1999 23:59:59 GMT", "again after Fri, 31 Dec 1999 23:59:59 GMT."),
    ],
)
def test_a_wait_in_words(wait: float | str, words: str) -> None:
    """Rounded up: who comes back then does not come too early."""
    answer = Answer(503, "x", "x", retry_after=wait)
    assert words in Page(page(answer, None).decode()).text


def test_the_policy_allows_the_style_and_nothing_else() -> None:
    """Its hash is that of the style which is there; no script, nothing loaded, no frame around it."""
    headers, text = reply(BUSY, FIREFOX)
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert headers[b"content-security-policy"].decode() == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert not re.search(r"<script|\bon\w+=|style=|src=|@import|url\(", text)


@given(st.text(), st.text())
def test_nothing_in_an_answer_becomes_markup(detail: str, target: str) -> None:
    """What a peer said is text: the page has the same tags, whatever it is."""
    answer = Answer(503, "x", detail, None, target)
    plain = Page(page(Answer(503, "x", "x"), TRACE, "http://x").decode())
    got = Page(page(answer, TRACE, "http://x").decode(errors="replace"))
    assert (got.tags, got.attributes, got.open) == (plain.tags, plain.attributes, [])


def test_a_link_cannot_leave_its_attribute() -> None:
    """The setting is the operator's, and still escaped."""
    attributes = Page(page(BUSY, TRACE, 'http://x/"><script>').decode()).attributes
    assert ("href", 'http://x/"><script>') in attributes


@pytest.mark.parametrize("status", [400, 404, 408, 409, 413, 418, 421, 422, 429, 431, 499, 500, 503, 504, 599])
def test_every_status_has_a_page_and_a_title(status: int) -> None:
    """Also those that nobody has thought of."""
    answer = Answer(status, "x", "it is so")
    assert answer.title
    assert f"{status} {answer.title}" in Page(page(answer, None).decode()).text


def test_a_head_request_gets_the_headers_of_its_page() -> None:
    """And not a byte of it."""
    headers, text = reply(BUSY, FIREFOX, method="HEAD")
    assert (int(headers[b"content-length"]) > 1000, text) == (True, "")
