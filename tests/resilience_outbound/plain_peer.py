"""The peer and the proxy of the plain script: every ordinary way to answer, and some that are none."""

import base64
import gzip
import re
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

__all__ = ["BIG", "Peer", "Proxy", "ports", "seen", "serve", "told_of"]

BIG = bytes(range(256)) * 16384
OURS = ("x-envoy-expected-rq-timeout-ms", "x-envoy-attempt-count", "traceparent", "tracestate")

seen: list[Any] = []
"""What came over the wire."""
told_of: set[str] = set()
"""Which headers of handrail's came."""
ports: dict[str, int] = {}
"""By name, since they differ from run to run."""


class Peer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _all(self) -> None:
        body = self._body()
        told = [
            [name, re.sub('(cnonce|response)="[^"]*"', "", value)]
            for name, value in self.headers.items()
            if name.lower() not in OURS
        ]
        told_of.update(name.lower() for name in self.headers if name.lower() in OURS)
        seen.append([self.command, self.path, told, len(body), base64.b64encode(body[:300]).decode()])
        path = urlsplit(self.path).path
        getattr(self, "on_" + path.strip("/").replace("-", "_"), self.on_)(body)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._all
        raise AttributeError(name)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def on_(self, body: bytes) -> None:
        self.answer(200, b"found", content_type="text/plain; charset=latin-1")

    def on_gzip(self, body: bytes) -> None:
        self.answer(200, gzip.compress(b"text" * 100, mtime=0), content_encoding="gzip")

    def on_bad_gzip(self, body: bytes) -> None:
        self.answer(200, b"not gzip at all", content_encoding="gzip")

    def on_big(self, body: bytes) -> None:
        self.answer(200, BIG)

    def on_lines(self, body: bytes) -> None:
        self.answer(200, b"a\nbb\nccc\n")

    def on_chunked(self, body: bytes) -> None:
        self.send_response_only(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")

    def on_missing(self, body: bytes) -> None:
        self.answer(404, b"nothing here")

    def on_cookie(self, body: bytes) -> None:
        self.answer(200, b"", set_cookie="a=b; Path=/")

    def on_redirect(self, body: bytes) -> None:
        self.answer(302, b"over there", location="/found?x=1")

    def on_see_other(self, body: bytes) -> None:
        self.answer(303, b"", location="/found")

    def on_keep(self, body: bytes) -> None:
        self.answer(307, b"", location="/found")

    def on_loop(self, body: bytes) -> None:
        self.answer(302, b"", location="/loop")

    def on_elsewhere(self, body: bytes) -> None:
        self.answer(302, b"", location=f"http://localhost:{ports['peer']}/found")

    def on_broken_redirect(self, body: bytes) -> None:
        self.send_response_only(302)
        self.send_header("location", "/found")
        self.send_header("content-encoding", "gzip")
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"oops")

    def on_digest(self, body: bytes) -> None:
        if "authorization" not in self.headers:
            told = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
            self.answer(401, b"who?", www_authenticate=told)
        else:
            self.answer(200, b"you")

    def on_close(self, body: bytes) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nto the end")

    def on_half(self, body: bytes) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it")

    def on_half_chunk(self, body: bytes) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc")

    def on_gone(self, body: bytes) -> None:
        self.close_connection = True

    def on_nonsense(self, body: bytes) -> None:
        self.close_connection = True
        self.wfile.write(b"what is this\r\n\r\n")

    def on_busy(self, body: bytes) -> None:
        self.answer(501, b"no")

    def on_hang(self, body: bytes) -> None:
        self.connection.settimeout(5)
        self.connection.recv(1)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Proxy(Peer):
    """A forward proxy: answers absolute URLs itself, and joins what is CONNECTed."""

    def do_CONNECT(self) -> None:
        seen.append(["CONNECT", "", [], 0, ""])
        with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as other:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            ends = {self.connection: other, other: self.connection}
            while True:
                for one in select.select(list(ends), [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    ends[one].sendall(data)


def serve(kind: type[BaseHTTPRequestHandler]) -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server.server_port
