"""Small peers on real sockets: one that keeps every header field it got, one that never answers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Recorder", "recorder", "silent"]


class Recorder:
    """Answers with the given statuses in turn, then 200; `seen` has each request's fields as they came."""

    def __init__(self, statuses: list[int]) -> None:
        self.seen: list[list[tuple[str, str]]] = []
        self._statuses = list(statuses)
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status = outer.note([(name.lower(), value) for name, value in self.headers.items()])
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/stock"

    def note(self, fields: list[tuple[str, str]]) -> int:
        """Keep the fields of a request and say which status answers it."""
        with self._lock:
            self.seen.append(fields)
            return self._statuses.pop(0) if self._statuses else 200


@contextmanager
def recorder(*statuses: int) -> Iterator[Recorder]:
    """A running Recorder."""
    made = Recorder(list(statuses))
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()


@contextmanager
def silent() -> Iterator[str]:
    """The address of a peer that takes connections (the kernel does, nobody accepts) and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/stock"
