"""Faults in requests that come, as a client sees them, under servers that we know."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.trace import SpanKind

from handrail.chaos import inject
from handrail.tracing.testing import Spans
from tests.chaos.chaos_service import SERVERS, TEXT, Service, serve, until

DROPPED = (http.client.RemoteDisconnected, ConnectionResetError)


@pytest.fixture(params=SERVERS)
def service(request: pytest.FixtureRequest, spans: Spans, tmp_path: Path) -> Iterator[Service]:
    assert spans is not None
    with serve(request.param, {"idempotency_store": f"sqlite:///{tmp_path}/answers.sqlite3"}) as running:
        yield running


def _ask(
    service: Service, path: str, method: str = "GET", body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str, dict[str, str]]:
    """By a client that handrail does not guard."""
    port = int(service.url.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        found = connection.getresponse()
        return found.status, found.read().decode(), {name.lower(): value for name, value in found.getheaders()}
    finally:
        connection.close()


def test_refuse(service: Service) -> None:
    """The connection is dropped before the app is begun; another path is served."""
    with inject("in refuse /text") as injected:
        with pytest.raises(DROPPED):
            _ask(service, "/text")
        assert _ask(service, "/items/1")[0] == 200
        assert injected.count == 1
    assert service.seen == ["GET /items/1"]
    assert _ask(service, "/text")[0] == 200


def test_partition(service: Service) -> None:
    """Requests of the service that it is cut off from are dropped, those of others are not."""
    with inject("partition order"):
        with pytest.raises(DROPPED):
            _ask(service, "/text", headers={"handrail-chaos-from": "order"})
        assert _ask(service, "/text", headers={"handrail-chaos-from": "shop"})[0] == 200
        assert _ask(service, "/text")[0] == 200


def test_error(service: Service) -> None:
    """A problem document with the status, Retry-After and the fault as it was written; the app is not begun."""
    with inject("in error=502 GET /items/{id} retry_after=2"):
        status, body, headers = _ask(service, "/items/7")
        assert (status, headers["retry-after"]) == (502, "2")
        assert "in error=502 GET /items/{id} retry_after=2" in body
        assert _ask(service, "/items/7/8")[0] == 404
    assert service.seen == []


def test_hang(service: Service) -> None:
    """No answer comes: the client gives up. With seconds, the connection ends without an answer then."""
    port = int(service.url.rpartition(":")[2])
    with inject("in hang") as injected, socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"GET /text HTTP/1.1\r\nhost: x\r\n\r\n")
        until(lambda: injected.count == 1)
    with inject("in hang=0.01"), pytest.raises(DROPPED):
        _ask(service, "/text")
    assert service.seen == []


@pytest.mark.parametrize("path", ["/text", "/pieces"])
def test_reset(service: Service, path: str) -> None:
    """The body breaks off in its middle, what was carried out was."""
    with inject("in reset"), pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        _ask(service, path)
    until(lambda: len(service.seen) == 1)


def test_endless_stream_is_reset(service: Service) -> None:
    """A stream that would go on for ever breaks off at its first piece, and its application sees the client leave."""
    with inject("in reset"), pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        _ask(service, "/endless")
    until(lambda: service.seen == ["ended"])


def test_lost(service: Service) -> None:
    """Done, but the answer never comes."""
    with inject("in lost POST"):
        with pytest.raises(DROPPED):
            _ask(service, "/charge", "POST", "7")
        assert _ask(service, "/text")[1] == TEXT
    assert service.ledger == ["7"]


def test_duplicate(service: Service) -> None:
    """It is carried out twice with the same body, and the caller gets the first answer."""
    with inject("in duplicate /charge"):
        assert _ask(service, "/charge", "POST", "7")[:2] == (201, '{"number":1}')
        until(lambda: service.ledger == ["7", "7"])


def test_duplicate_without_a_body(service: Service) -> None:
    """The same where the app does not look at the body, and where it streams."""
    with inject("in duplicate"):
        assert _ask(service, "/pieces")[1] == "one pieceanother piece"
        until(lambda: len(service.seen) == 2)


def test_keyed_duplicate_has_one_effect(service: Service) -> None:
    """With an Idempotency-Key the second delivery gets the kept answer: the effect happens once."""
    with inject("in duplicate /charge") as injected:
        for number in range(5):
            key = {"idempotency-key": f'"{service.url}-{number}"'}
            assert _ask(service, "/charge", "POST", str(number), key)[0] == 201
    assert injected.count == 5
    assert service.ledger == ["0", "1", "2", "3", "4"]


def test_lost_answer_is_replayed(service: Service) -> None:
    """The answer was lost, the effect was not: the same key gets the answer of the first."""
    key = {"idempotency-key": f'"{service.url}-lost"'}
    with inject("in lost /charge times=1"):
        with pytest.raises(DROPPED):
            _ask(service, "/charge", "POST", "7", key)
        status, body, headers = _ask(service, "/charge", "POST", "7", key)
    assert (status, body) == (201, '{"number":1}')
    assert headers["idempotent-replayed"] == "true"
    assert service.ledger == ["7"]


def test_span_says_so(service: Service, spans: Spans) -> None:
    """The SERVER span of the request that was hit has the kind as an attribute, and the fault in an event."""
    with inject("in error=503 /text"):
        _ask(service, "/text")
    until(lambda: bool(spans.of_kind(SpanKind.SERVER)))
    attributes = spans.server.attributes or {}
    assert (attributes["handrail.chaos"], attributes["handrail.chaos.injected"]) == (True, "error")
    [event] = [one for one in spans.server.events if one.name == "handrail.chaos.injected"]
    assert (event.attributes or {})["handrail.chaos.rule"] == "in error=503 /text"


def test_nothing_stays(spans: Spans) -> None:
    """Before and after a block nothing stands in the layers of an app and at the client libraries."""
    assert spans is not None
    httpx_pool = type(httpx.HTTPTransport()._pool)
    before = httpx_pool.handle_request
    with serve() as service:
        _ask(service, "/text")  # its layers are made at the first request
        chain = _chain()
        with inject("in error=503"):
            assert httpx_pool.handle_request is not before
            assert "Faults" in _chain()
        assert _chain() == chain
        assert "Faults" not in chain
    assert httpx_pool.handle_request is before


def _chain() -> list[str]:
    """The layers, outermost first, down to the idempotency of keyed requests."""
    from handrail._chaos import _places

    found: list[str] = []
    for place in _places:
        one = place._above
        while one is not None and type(one).__name__ != "Starlette":
            found.append(type(one).__name__)
            one = getattr(one, "app", None)
    return found
