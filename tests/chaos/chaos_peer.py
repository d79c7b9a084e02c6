"""A peer on a real socket that counts what it carries out, and one way to call it through each client library."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import httpx2
import requests
import urllib3

__all__ = ["CALLS", "Answer", "Peer", "serve"]

Answer = tuple[int, bytes, dict[str, str]]
BODY = b"done, and this is the whole of the answer\n"


class Peer(ThreadingHTTPServer):
    """`carried` lists (method, path, body) of all that it did, `headers` those of the last request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.carried: list[tuple[str, str, bytes]] = []
        self.headers: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Carry it out."""
        peer = self.server
        assert isinstance(peer, Peer)
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        peer.carried.append((self.command, self.path, body))
        peer.headers = {name.lower(): value for name, value in self.headers.items()}
        self.send_response(200)
        self.send_header("content-length", str(len(BODY)))
        self.send_header("x-count", str(len(peer.carried)))
        self.end_headers()
        self.wfile.write(BODY)

    def do_POST(self) -> None:
        """The same."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serve() -> Iterator[Peer]:
    """A running peer."""
    with Peer() as peer:
        thread = threading.Thread(target=peer.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield peer
        finally:
            peer.shutdown()
            thread.join()


def _httpx(method: str, url: str, headers: dict[str, str]) -> Answer:
    found = httpx.request(method, url, content=b"x" if method == "POST" else None, headers=headers)
    return found.status_code, found.content, dict(found.headers)


def _httpx2(method: str, url: str, headers: dict[str, str]) -> Answer:
    found = httpx2.request(method, url, content=b"x" if method == "POST" else None, headers=headers)
    return found.status_code, found.content, dict(found.headers)


def _httpx_async(method: str, url: str, headers: dict[str, str]) -> Answer:
    async def main() -> Answer:
        async with httpx.AsyncClient() as client:
            found = await client.request(method, url, content=b"x" if method == "POST" else None, headers=headers)
            return found.status_code, found.content, dict(found.headers)

    return asyncio.run(main())


def _httpx2_async(method: str, url: str, headers: dict[str, str]) -> Answer:
    async def main() -> Answer:
        async with httpx2.AsyncClient() as client:
            found = await client.request(method, url, content=b"x" if method == "POST" else None, headers=headers)
            return found.status_code, found.content, dict(found.headers)

    return asyncio.run(main())


def _requests(method: str, url: str, headers: dict[str, str]) -> Answer:
    found = requests.request(method, url, data=b"x" if method == "POST" else None, headers=headers, timeout=5)
    return found.status_code, found.content, {name.lower(): value for name, value in found.headers.items()}


def _urllib3(method: str, url: str, headers: dict[str, str]) -> Answer:
    with urllib3.PoolManager(retries=False, timeout=5) as pool:
        found = pool.request(method, url, body=b"x" if method == "POST" else None, headers=headers)
        return found.status, found.data, {name.lower(): value for name, value in found.headers.items()}


def _aiohttp(method: str, url: str, headers: dict[str, str]) -> Answer:
    async def main() -> Answer:
        timeout = aiohttp.ClientTimeout(sock_read=5)
        async with (
            aiohttp.ClientSession(timeout=timeout) as client,
            client.request(method, url, data=b"x" if method == "POST" else None, headers=headers) as found,
        ):
            body = await found.read()
            return found.status, body, {name.lower(): value for name, value in found.headers.items()}

    return asyncio.run(main())


CALLS: dict[str, Callable[[str, str, dict[str, str]], Answer]] = {
    "httpx": _httpx,
    "httpx-async": _httpx_async,
    "httpx2": _httpx2,
    "httpx2-async": _httpx2_async,
    "requests": _requests,
    "urllib3": _urllib3,
    "aiohttp": _aiohttp,
}
