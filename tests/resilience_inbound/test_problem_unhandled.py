"""An error that nobody expected: strangers get a 500 that says nothing of it, the server gets the error itself."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from handrail.resilience import errors
from handrail.resilience.inbound.problem import ProblemDetails

TRACE = "0af7651916cd43dd8448eb211c80319c"
SECRET = "password=hunter2 at 10.0.0.7"
Message = MutableMapping[str, Any]


class Asked:
    """One request, and what came of it."""

    def __init__(self, app: Any, *, method: str = "GET", accept: bytes = b"*/*", link: str = "", gone: bool = False):
        self.sent: list[Message] = []
        self.raised: BaseException | None = None
        self._gone = gone
        scope = {"type": "http", "method": method, "path": "/orders", "headers": [(b"accept", accept)]}
        layer = ProblemDetails(app, trace_id=lambda: TRACE, clean=lambda text: text.replace("hunter2", "…"), link=link)
        asyncio.run(self._ask(layer, scope))

    async def _ask(self, layer: ProblemDetails, scope: dict[str, Any]) -> None:
        async def receive() -> Message:
            return {"type": "http.request"}

        try:
            await layer(scope, receive, self._send)
        except Exception as error:
            self.raised = error

    async def _send(self, message: Message) -> None:
        if self._gone:
            raise OSError("the client has left")
        self.sent.append(message)

    @property
    def document(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads(self.sent[1]["body"])
        return known


def raising(error: BaseException) -> Callable[[Any, Any, Any], Awaitable[None]]:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise error

    return app


def test_a_bug_is_answered_and_goes_up() -> None:
    """500 with the trace id, nothing of the error, and the same object for the server to log."""
    bug = ValueError(SECRET)
    asked = Asked(raising(bug))
    assert asked.raised is bug
    assert asked.sent[0]["status"] == 500
    assert asked.document == {
        "type": "urn:handrail:problem:failed",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "the service met an error that it was not prepared for",
        "trace_id": TRACE,
    }
    assert b"hunter2" not in b"".join(value for _, value in asked.sent[0]["headers"])


def test_the_log_names_the_request_and_the_error(caplog: pytest.LogCaptureFixture) -> None:
    """One line, secrets taken out: servers log the error without saying which request it was."""
    caplog.set_level(logging.WARNING, "handrail")
    Asked(raising(ValueError(SECRET)))
    Asked(raising(KeyError()))
    assert caplog.messages == [
        "GET /orders answered 500: ValueError: password=… at 10.0.0.7",
        "GET /orders answered 500: KeyError",
    ]


def test_a_head_request_gets_no_body() -> None:
    """The same headers, and not a byte more."""
    asked = Asked(raising(ValueError()), method="HEAD")
    assert (asked.sent[0]["status"], asked.sent[1]["body"]) == (500, b"")


def test_after_the_beginning_it_only_goes_up() -> None:
    """The server cuts the connection; nothing is added to what the client has."""
    bug = ValueError()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise bug

    asked = Asked(app)
    assert asked.raised is bug
    assert [message["type"] for message in asked.sent] == ["http.response.start"]


@pytest.mark.parametrize("bug", [ValueError("a bug"), errors.CircuitOpen("open", target="http://x")])
def test_a_client_that_has_left(bug: Exception) -> None:
    """What cannot be sent hides nothing: the app's error goes up, not the server's about the line."""
    assert Asked(raising(bug), gone=True).raised is bug


def test_surrogates_in_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """A message that is no text (a file's name, say) does not make a second error of the first."""
    asked = Asked(raising(errors.CircuitOpen("no \udcff text", target="http://x\udcff")))
    assert (asked.raised, asked.sent[0]["status"]) == (None, 503)
    assert asked.document["detail"] == "no \udcff text"
    assert caplog.messages == ["GET /orders answered 503: no \\udcff text"]
    page = Asked(raising(errors.CircuitOpen("no \udcff text", target="http://x")), accept=b"text/html")
    assert b"no \\udcff text" in page.sent[1]["body"]


def test_the_trace_is_linked_where_the_setting_says_so() -> None:
    """An extension member of RFC 9457 (3.2); without the setting there is none."""
    asked = Asked(raising(ValueError()), link="http://jaeger:16686/trace/{trace_id}?x=1")
    assert asked.document["trace"] == f"http://jaeger:16686/trace/{TRACE}?x=1"
    assert "trace" not in Asked(raising(ValueError())).document


def test_an_error_of_a_second_kind_while_the_first_is_answered() -> None:
    """An outer layer of the app's that fails on the way out: its error goes up, and one answer is sent."""
    second = RuntimeError("on the way out")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        from starlette.applications import Starlette
        from starlette.routing import Route

        async def fails(_request: Any) -> Any:
            raise ValueError("a bug")

        try:
            await Starlette(routes=[Route("/orders", fails)])({**scope, "query_string": b""}, receive, send)
        except ValueError:
            raise second from None

    asked = Asked(app)
    assert asked.raised is second
    assert [message.get("status") for message in asked.sent] == [500, None]
    assert asked.document["trace_id"] == TRACE
