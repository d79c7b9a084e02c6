"""The probes: what they answer, whose answer wins, and what they leave alone."""

import asyncio
import json
import logging
from typing import Any

import pytest

from handrail.resilience.inbound._health_document import FAIL, WARN, Check
from handrail.resilience.inbound.health import Health


class Service:
    """An app that answers `status` to every path, behind the layer; its own answers say `"app"`."""

    def __init__(self, status: int = 404, own: Any = None, **options: Any) -> None:
        self.status = status
        self.checks: list[Check] = []
        self.own: list[bool | None] = own or [None, None]
        self.called: list[str] = []
        self.asked = 0
        self.closing = False
        settings: dict[str, Any] = {"live_path": "/livez", "ready_path": "/readyz", **options}
        self.layer = Health(
            self._through,
            ready=lambda: self.checks,
            asked=self._count,
            closing=lambda: self.closing,
            own=self._own,
            asking=self._asking,
            **settings,
        )

    def _count(self) -> None:
        self.asked += 1

    def _own(self, scope: Any) -> bool | None:
        return self.own["routed" in scope]

    async def _through(self, scope: Any, receive: Any, send: Any) -> None:
        self.called.append("through")
        await self._app(scope, receive, send)

    async def _asking(self, scope: Any, receive: Any, send: Any) -> None:
        self.called.append("asked")
        await self._app(scope, receive, send)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        scope["routed"] = True
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b'"app"'})

    def ask(self, path: str, method: str = "GET", **more: Any) -> tuple[int, Any, dict[bytes, bytes]]:
        """Status, document and headers."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "http_version": "1.1", "path": path, "method": method, "query_string": b"", **more}
        asyncio.run(_await(self.layer(scope, None, send)))  # type: ignore[arg-type] # nobody receives
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], json.loads(body) if body else None, dict(sent[0]["headers"])


async def _await(what: Any) -> None:
    await what


def test_it_lives_and_is_ready() -> None:
    """Both answer 200 with a health document that no cache keeps."""
    service = Service()
    for path in ("/livez", "/readyz"):
        status, told, headers = service.ask(path)
        assert (status, told) == (200, {"status": "pass"})
        assert headers[b"content-type"] == b"application/health+json"
        assert headers[b"cache-control"] == b"no-store"


def test_one_failed_check_is_enough() -> None:
    """Not ready is 503, alive all the same; a warning is no reason. Names are told on request alone."""
    service = Service()
    service.checks = [Check("drain"), Check("http://payment:8003", WARN, "due for a probe")]
    assert service.ask("/readyz")[:2] == (200, {"status": "warn"})
    service.checks.append(Check("answers", FAIL, "away", "datastore"))
    assert service.ask("/readyz")[:2] == (503, {"status": "fail"})
    assert service.ask("/livez")[:2] == (200, {"status": "pass"})
    _, told, _ = service.ask("/readyz", query_string=b"verbose")
    assert told["checks"]["drain"] == [{"componentType": "component", "status": "pass"}]
    assert told["checks"]["answers"] == [{"componentType": "datastore", "status": "fail", "output": "away"}]


def test_head_has_no_body() -> None:
    """HEAD is answered as GET, without the document and with its length."""
    status, told, headers = Service().ask("/readyz", "HEAD")
    assert (status, told, headers[b"content-length"]) == (200, None, b"18")


def test_only_questions_for_readiness_are_counted() -> None:
    """Whether somebody follows readiness is known by these alone, also where the app answers them."""
    service = Service()
    service.ask("/livez")
    assert service.asked == 0
    service.ask("/readyz")
    service.own = [True, True]
    service.ask("/readyz")
    assert service.asked == 2


def test_the_app_is_asked_once_where_it_has_no_such_route() -> None:
    """A 404 is remembered: the next probe costs the app nothing."""
    service = Service()
    service.ask("/livez")
    service.ask("/livez")
    assert service.called == ["asked"]


@pytest.mark.parametrize("status", [200, 204, 503])
def test_the_own_answer_of_an_app_wins(status: int) -> None:
    """An app that answers a probe by itself, well or not, is passed through each time."""
    service = Service(status)
    assert service.ask("/readyz")[:2] == (status, "app")
    assert service.ask("/readyz")[:2] == (status, "app")


@pytest.mark.parametrize("status", [301, 401, 403, 405, 500])
def test_what_stands_before_the_routes_is_no_answer(status: int) -> None:
    """A middleware that refuses or redirects whatever comes has no health route by that; it is asked again."""
    service = Service(status)
    assert service.ask("/readyz")[:2] == (200, {"status": "pass"})
    service.status = 200
    assert service.ask("/readyz")[:2] == (200, "app")


def test_a_route_of_that_name_goes_the_whole_way() -> None:
    """Where the app's table has the path, the request is one as all others, whatever its answer."""
    service = Service(401, own=[True, True])
    assert service.ask("/livez")[:2] == (401, "app")
    assert service.called == ["through"]


@pytest.mark.parametrize("status", [200, 401, 404, 500])
def test_a_route_that_is_known_afterwards_has_its_say(status: int) -> None:
    """A service that calls itself broken is not called ready: its own route of that name may answer as it likes."""
    service = Service(status, own=[None, True])
    assert service.ask("/readyz")[:2] == (status, "app")
    assert service.ask("/readyz")[:2] == (status, "app")


def test_a_404_to_head_tells_nothing_of_get() -> None:
    """Who asks by HEAD does not take the app's own answer to GET away from all others."""
    service = Service(404)
    assert service.ask("/livez", "HEAD")[0] == 200
    service.status = 200
    assert service.ask("/livez")[:2] == (200, "app")


def test_a_catch_all_is_no_route_of_that_name() -> None:
    """A page that answers every path with 200 would make a dead service ready: ours answers, and asks no more."""
    service = Service(200, own=[None, False])
    assert service.ask("/readyz")[:2] == (200, {"status": "pass"})
    assert service.ask("/readyz")[:2] == (200, {"status": "pass"})
    assert service.called == ["asked"]


def test_below_a_root_path() -> None:
    """The path behind the prefix of a proxy or a mount counts, and the whole one too."""
    service = Service()
    assert service.ask("/shop/livez", root_path="/shop")[1] == {"status": "pass"}
    assert service.ask("/livez", root_path="/shop")[1] == {"status": "pass"}
    assert service.ask("/other/livez", root_path="/shop")[1] == "app"


def test_everything_else_is_the_apps() -> None:
    """Other methods, other paths, websockets, and a probe that is off."""
    service = Service(live_path=None)
    service.ask("/readyz", "POST")
    service.ask("/orders")
    service.ask("/livez")
    service.ask("/readyz", type="websocket")
    assert service.called == ["through"] * 4


def test_while_it_drains_connections_end_with_the_answer() -> None:
    """Over HTTP/1.1; in HTTP/2 there is no such header."""
    service = Service()
    assert b"connection" not in service.ask("/readyz")[2]
    service.closing = True
    assert service.ask("/readyz")[2][b"connection"] == b"close"
    assert b"connection" not in service.ask("/readyz", http_version="2")[2]


def test_each_change_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Probes come every second; what is said is that it is not ready, why, and that it is again."""
    caplog.set_level(logging.INFO, "handrail")
    service = Service()
    service.ask("/readyz")
    service.checks = [Check("answers", FAIL, "away")]
    service.ask("/readyz")
    service.ask("/readyz")
    service.checks = []
    service.ask("/readyz")
    service.ask("/readyz")
    assert [record.getMessage() for record in caplog.records] == ["not ready: answers: away", "ready again"]


def test_a_reason_that_counts_seconds_is_no_change(caplog: pytest.LogCaptureFixture) -> None:
    """An open breaker says for how long, another number at each probe: one line, until something else fails too."""
    service = Service()
    for left in (15, 14, 13):
        service.checks = [Check("payment", FAIL, f"its breaker is open for {left} s more")]
        service.ask("/readyz")
    service.checks = [Check("payment", FAIL, "its breaker is open for 12 s more"), Check("drain", FAIL, "it ends")]
    service.ask("/readyz")
    assert [record.getMessage() for record in caplog.records] == [
        "not ready: payment: its breaker is open for 15 s more",
        "not ready: payment: its breaker is open for 12 s more; drain: it ends",
    ]
