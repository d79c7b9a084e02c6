"""What is measured of a service: seconds to the first byte and to the last, and how many bytes there were."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.passthrough.wire_http1 import Http1
from tests.passthrough.wire_http2 import Http2

__all__ = ["Measured", "Measures", "of_http1", "of_http2", "of_websocket"]

Run = Callable[[int], "Measured"]
Kind = type[Http1] | type[Http2]
BLOCK = b"\0" * 1_000_000
SMALL = 200
"""Rounds of a small message, to and fro."""


@dataclass(frozen=True, slots=True)
class Measured:
    """`bytes` is 0 where it says nothing how many there are a second."""

    first: float
    whole: float
    bytes: int = 0


class Measures:
    """Of transfers of so many megabytes."""

    def __init__(self, megabytes: int, kind: Kind = Http1) -> None:
        self.megabytes = megabytes
        self.kind = kind

    def got(self, path: str, *, warm: bool = True) -> Run:
        """A GET on a connection that was used before."""

        def run(port: int) -> Measured:
            with self.kind(port) as http:
                if warm:
                    http.begin("GET", "/ready")
                    http.head()
                    list(http.body())
                began = time.perf_counter()
                http.begin("GET", path)
                status, _ = http.head()
                body = http.body()
                total = len(next(body))
                first = time.perf_counter() - began
                total += sum(map(len, body))
                assert status == 200, f"{path}: {status}"
                return Measured(first, time.perf_counter() - began, total)

        return run

    def events(self, port: int) -> Measured:
        """A stream of 2,000 events."""
        return self.got("/events?free=1&n=2000")(port)

    def file(self, port: int) -> Measured:
        """A file from the disk."""
        return self.got("/file")(port)

    def pieces(self, port: int) -> Measured:
        """The same amount in pieces of 64 KiB that the application makes."""
        return self.got(f"/pieces?size=65536&n={self.megabytes * 1_000_000 // 65536}")(port)

    def upload(self, port: int) -> Measured:
        """As much in the other direction, and the application's word that all of it arrived."""
        with self.kind(port) as http:
            began = time.perf_counter()
            http.begin("POST", "/upload?id=trial", body=True)
            for _ in range(self.megabytes):
                http.put(BLOCK)
            http.finish()
            status, _ = http.head()
            told = b"".join(http.body())
            whole = time.perf_counter() - began
            assert (status, b'"bytes": %d' % (self.megabytes * len(BLOCK)) in told) == (200, True), (status, told)
            return Measured(whole, whole, self.megabytes * len(BLOCK))

    def both_ways(self, port: int) -> Measured:
        """A request and its answer, open at once: a piece goes and comes back, then the next; seconds of one."""
        with self.kind(port) as http:
            began = time.perf_counter()
            http.begin("POST", "/echo", body=True)
            http.put(b"x")
            http.head()
            body = http.body()
            next(body)
            first = time.perf_counter() - began
            for _ in range(SMALL):
                http.put(b"x")
                next(body)
            http.finish()
            assert list(body) == []
            return Measured(first, time.perf_counter() - began)

    def trailers(self, port: int) -> Measured:
        """To the first byte, and to the trailers."""
        assert self.kind is Http2
        with Http2(port) as http:
            began = time.perf_counter()
            http.begin("GET", "/trailers")
            names = []
            first = 0.0
            while "StreamEnded" not in names:
                names.append(type(http.event()).__name__)
                first = first or time.perf_counter() - began
            assert "TrailersReceived" in names, names
            return Measured(first, time.perf_counter() - began)


def of_http1(measures: Measures) -> list[tuple[str, Run]]:
    """By title."""
    return [
        ("event stream, 2,000 events", measures.events),
        (f"file, {measures.megabytes} MB", measures.file),
        (f"pieces of 64 KiB, {measures.megabytes} MB", measures.pieces),
        (f"upload, {measures.megabytes} MB", measures.upload),
        ("request and answer open at once", measures.both_ways),
    ]


def of_http2(measures: Measures, *, trailers: bool) -> list[tuple[str, Run]]:
    """The same and trailers; a tenth of the bytes, which the client of the trial takes slowly."""
    other = Measures(max(1, measures.megabytes // 10), Http2)
    return [*of_http1(other), *([("trailers", other.trailers)] if trailers else [])]


def of_websocket(measures: Measures) -> list[tuple[str, Run]]:
    """Small messages to and fro, and large ones."""

    def small(port: int) -> Measured:
        return _echoed(port, b"x" * 20, SMALL)

    def large(port: int) -> Measured:
        return _echoed(port, BLOCK, max(1, measures.megabytes // 10))

    return [(f"{SMALL} small messages", small), ("messages of 1 MB", large)]


def _echoed(port: int, message: bytes, times: int) -> Measured:
    address = f"ws://127.0.0.1:{port}/room"
    chat = [Subprotocol("chat")]
    with connect(address, subprotocols=chat, compression=None, max_size=None, open_timeout=60, proxy=None) as socket:
        began = time.perf_counter()
        first = 0.0
        for _ in range(times):
            socket.send(message)
            assert socket.recv(60) == message
            first = first or time.perf_counter() - began
        return Measured(first, time.perf_counter() - began, times * len(message))
