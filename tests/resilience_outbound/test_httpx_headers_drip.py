"""Headers that come byte by byte, and ports that nobody listens on."""

import pytest


def test_dripping_headers_on_a_thread_end_with_the_attempt(server, guard, library):
    """A peer that never pauses for the read timeout, and never comes to the end of its headers."""

    def drips(server, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nx-a: ")
        connection.settimeout(0.02)
        for _ in range(250):
            connection.sendall(b"a")
            try:
                connection.recv(1)
                break
            except TimeoutError:
                continue
        server.gone.set()

    guard(attempt_timeout=0.6, attempts=1)
    server.script(drips)
    with library.Client(timeout=0.4) as client, pytest.raises(library.ReadTimeout):
        client.get(server.url)
    assert server.gone.wait(60)


def test_port_0_is_an_origin_of_its_own(guard, send, library):
    """Whoever may choose a URL cannot open the breaker of port 80 by it."""
    registry = guard(attempts=1).registry
    with pytest.raises(library.ConnectError):
        send("GET", "http://127.0.0.1:0/")
    assert [entry.target for entry in registry.entries()] == ["http://127.0.0.1:0"]
