"""Faults in websockets, as a client sees them, under servers that we know."""

from collections.abc import Iterator

import pytest
from opentelemetry.trace import SpanKind
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from handrail.chaos import inject
from handrail.resilience.testing import FakeClock
from handrail.tracing.testing import Spans
from tests.chaos.chaos_service import SERVERS, Service, serve, until


@pytest.fixture(params=SERVERS)
def service(request: pytest.FixtureRequest, spans: Spans) -> Iterator[Service]:
    assert spans is not None
    with serve(request.param) as running:
        yield running


def _open(service: Service) -> ClientConnection:
    return connect(f"{service.url.replace('http', 'ws', 1)}/socket", open_timeout=60, close_timeout=60)


def _echo(socket: ClientConnection) -> str | bytes:
    socket.send("hello")
    return socket.recv(60)


@pytest.mark.parametrize("fault", ["in refuse /socket", "in error=503 GET /socket", "in hang=0.01 /socket"])
def test_closed_before_it_is_open(service: Service, fault: str) -> None:
    """The handshake is refused, and the app is not begun; the next one is served."""
    with inject(fault) as injected:
        with pytest.raises(InvalidStatus) as refused:
            _open(service)
        assert injected.count == 1
    assert refused.value.response.status_code == (503 if "error" in fault else 403)
    assert service.seen == []
    with _open(service) as socket:
        assert _echo(socket) == "hello"


def test_a_reset(service: Service, spans: Spans) -> None:
    """It is open; at the first message the connection breaks off without a close, and the app sees its client gone."""
    with inject("in reset /socket times=1"):
        with _open(service) as socket, pytest.raises(ConnectionClosed) as broken:
            _echo(socket)
        with _open(service) as socket:
            assert _echo(socket) == "hello"
    assert broken.value.rcvd is None
    until(lambda: service.seen.count("socket ended") == 2)
    until(lambda: len(spans.of_kind(SpanKind.SERVER)) == 2)
    first = min(spans.of_kind(SpanKind.SERVER), key=lambda one: one.start_time or 0)
    assert (first.attributes or {})["handrail.chaos.injected"] == "reset"


def test_latency(service: Service) -> None:
    """The handshake takes that much longer."""
    clock = FakeClock()
    with inject("in latency=5 /socket", clock=clock) as injected, _open(service) as socket:
        assert _echo(socket) == "hello"
        assert injected.count == 1
    assert clock.now() >= 5


def test_faults_of_answers_mean_nothing_to_it(service: Service) -> None:
    """It has no answer that could be lost, and is not carried out twice; they are not counted."""
    with inject("in lost", "in duplicate") as injected, _open(service) as socket:
        assert _echo(socket) == "hello"
        assert injected.count == 0
    assert service.seen.count("socket") == 1
