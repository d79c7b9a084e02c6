"""HTTP/1.1 by hand, on a blocking socket: nothing is read ahead, and nothing held back."""

import json
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self

__all__ = ["Http1", "ask"]

PATIENCE = 60.0


class Http1:
    """One connection; requests one after the other."""

    version = "1.1"

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held = bytearray()
        self._length: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave, whatever is under way."""
        self.socket.close()

    def begin(self, method: str, path: str, *, body: bool = False) -> None:
        """Send a head; `body`: chunks follow by `put`, and `finish`."""
        framing = "transfer-encoding: chunked\r\n" if body else ""
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{framing}\r\n".encode())

    def put(self, data: bytes) -> None:
        """Send a piece of the body."""
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        """Send the end of the body."""
        self.socket.sendall(b"0\r\n\r\n")

    def head(self) -> tuple[int, list[tuple[str, str]]]:
        """Read the next head, of an informational answer too."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = [
            (name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)
        ]
        known = dict(pairs)
        self._length = int(known["content-length"]) if "content-length" in known else None
        return int(lines[0].split()[1]), pairs

    def body(self) -> Iterator[bytes]:
        """Read pieces as they come, to the end of the body."""
        if self._length is not None:
            left = self._length
            while left:
                data = self._some()[:left]
                del self._held[: len(data)]
                left -= len(data)
                yield data
            return
        while size := int(self._until(b"\r\n"), 16):
            yield self._exactly(size + 2)[:-2]
        self._until(b"\r\n")

    def _until(self, mark: bytes) -> bytes:
        while (at := self._held.find(mark)) < 0:
            self._more()
        found = bytes(self._held[:at])
        del self._held[: at + len(mark)]
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            self._more()
        found = bytes(self._held[:size])
        del self._held[:size]
        return found

    def _some(self) -> bytes:
        if not self._held:
            self._more()
        return bytes(self._held)

    def _more(self) -> None:
        data = self.socket.recv(262_144)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._held += data


def ask(port: int, path: str) -> object:
    """What the service tells, as JSON, on a connection of its own."""
    with Http1(port) as http:
        http.begin("GET", path)
        http.head()
        return json.loads(b"".join(http.body()))
