"""A connection between two services that loses answers, when it is told to, after the request has arrived."""

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["Lossy"]


class Lossy:
    """Passes everything between its callers and one of `ports`, the next one for each connection in turn.

    `lose` answers are thrown away, and their connections broken off; `passed` counts requests.
    """

    def __init__(self, *ports: int) -> None:
        self.ports: Sequence[int] = ports
        self.lose = 0
        self.passed = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request of one connection: what comes next has another connection, and so maybe another port."""
        with client, suppress(OSError):
            request = client.recv(65536)
            if not request:
                return
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            length = next((int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")), 0)
            while len(body) < length:
                body += client.recv(65536)
            port = self.ports[self.passed % len(self.ports)]
            self.passed += 1
            with socket.create_connection(("127.0.0.1", port)) as server:
                server.sendall(b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body)
                answer = b"".join(iter(lambda: server.recv(65536), b""))
            if self.lose:
                self.lose -= 1
                return
            client.sendall(answer)
