"""Breakers shared through a real Redis over TLS: whom it trusts, who is trusted, and what a wrong certificate costs."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from examples.order_service.ports import free_ports
from handrail.resilience.state._redis import reached, shown
from tests.certificates import Certified, authority, certified
from tests.redis_server import RedisServer, until
from tests.resilience_state.instances import on_redis


@dataclass(frozen=True)
class Secured:
    """A Redis that speaks TLS, and the authorities of the test: the one that vouches for it, and another."""

    port: int
    good: Certified
    other: Certified
    me: Certified

    def url(self, by: Certified | None, *more: str) -> str:
        """As it stands in the settings."""
        query = [*([f"ssl_ca_certs={by.cert}"] if by is not None else []), *more]
        return f"rediss://127.0.0.1:{self.port}/0?{'&'.join(query)}"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Certified, Certified, Certified, Certified]:
    folder = tmp_path_factory.mktemp("certificates")
    good, other = authority(folder, "good"), authority(folder, "other")
    return folder, good, other, certified(folder, "redis", good), certified(folder, "me", good)


Start = Callable[..., Secured]


@pytest.fixture
def start(tmp_path: Path, files: tuple[Path, Certified, Certified, Certified, Certified]) -> Iterator[Start]:
    folder, good, other, own, me = files
    running: list[RedisServer] = []

    def started(clients: str = "no", at: str = "") -> Secured:
        port, shown = free_ports(1)[0], certified(folder, "elsewhere", good, at) if at else own
        tls = {"port": port, "cert-file": shown.cert, "key-file": shown.key, "ca-cert-file": good.cert}
        told = [word for name, value in tls.items() for word in (f"--tls-{name}", str(value))]
        server = RedisServer(tmp_path, *told, "--tls-auth-clients", clients)
        running.append(server)
        server.start()
        return Secured(port, good, other, me)

    yield started
    for server in running:
        server.stop()


def test_votes_travel_over_tls(start: Start) -> None:
    """Two that found a peer dead open the breaker of a third, through a server whose authority the URL names."""
    secured = start()
    url = secured.url(secured.good)
    one, two, three = (on_redis(url, machine) for machine in "abc")
    try:
        one.fail()
        two.fail()
        until(lambda: three.breaker().state == "open")
        assert three.causes == ["shared"]
    finally:
        for instance in (one, two, three):
            instance.shared.end()
    until(lambda: reached(url) == "")
    assert "ssl_ca_certs" not in shown(url)


def test_a_server_that_wants_a_certificate_gets_it(start: Start) -> None:
    """Mutual TLS: certificate and key stand in the URL; without them it is as away."""
    secured = start("yes")
    mine = secured.url(secured.good, f"ssl_certfile={secured.me.cert}", f"ssl_keyfile={secured.me.key}")
    until(lambda: reached(mine) == "")
    assert reached(secured.url(secured.good)) != ""


WRONG = pytest.mark.parametrize("by", ["another authority", "the machine's authorities"])


@WRONG
def test_a_server_that_is_not_trusted_costs_no_call(start: Start, caplog: pytest.LogCaptureFixture, by: str) -> None:
    """One warning with the reason; breakers go by their own calls, open and refuse, and nothing is ever sent there."""
    caplog.set_level(logging.INFO, "handrail")
    secured = start()
    url = secured.url(secured.other if by == "another authority" else None)
    one = on_redis(url, "a")
    try:
        assert one.call("ok", "good", times=50) == [1] * 50
        until(lambda: _said(caplog))
        one.fail()
        assert one.call("ok") == []
        assert one.causes == ["failures"]
        assert one.call("ok", "good", times=50) == [1] * 50
    finally:
        one.shared.end()
    (line,) = _said(caplog)
    assert line.levelno == logging.WARNING
    until(lambda: "CERTIFICATE_VERIFY_FAILED" in reached(url))  # a machine under load may be too late to see it
    with redis.Redis.from_url(secured.url(secured.good), socket_timeout=20) as asked:
        assert asked.keys() == []


def test_a_server_of_another_name_is_not_trusted(start: Start) -> None:
    """The authority is right, the name is not: somebody else with a certificate of the same authority."""
    secured = start(at="DNS:elsewhere.test")
    until(lambda: "CERTIFICATE_VERIFY_FAILED" in reached(secured.url(secured.good)))
    until(lambda: reached(secured.url(secured.good, "ssl_check_hostname=false")) == "", "who asks for it gets it")


def test_no_tls_at_all_is_away(start: Start) -> None:
    """`redis://` to a TLS port, and the other way round: a reason, and no waiting."""
    secured = start()
    assert reached(f"redis://127.0.0.1:{secured.port}") != ""


def _said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "shared through" in record.getMessage()]
