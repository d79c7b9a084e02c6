"""Answers of aiohttp that are kept for `stale_on_error`: taken apart, and put together again.

Their bodies are the service's to read, so an answer is kept when it has called `read()`, `text()` or `json()`.
"""

import inspect
from collections.abc import Awaitable, Callable, Hashable
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..stale import Later, Snapshot
from ._kept_headers import lower, spelled, spelling
from ._way import same

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Keeper", "way"]

_LATER = "_handrail_later"
_LIMIT = 2**16
_OF_CONNECTOR = ("_ssl", "_local_addr_infos", "_local_addr")


class _Sent:
    """In the place of what wrote the request: there was none."""

    output_size = 0


class Keeper:
    """For one module. From the first answer on that may be kept it listens to `ClientResponse.read`."""

    def __init__(self, module: ModuleType) -> None:
        self._response: Any = module.ClientResponse
        self._known = inspect.signature(module.ClientResponse.__init__).parameters
        self._reader: Any = module.StreamReader
        self._module = module
        self._restore: Callable[[], None] | None = None

    def undo(self) -> None:
        """Listen no more."""
        restore, self._restore = self._restore, None
        if restore is not None:
            restore()

    def parts(self, result: "aiohttp.ClientResponse", most: int, later: Later) -> Snapshot:
        """Those of a response without its body; with it they are told when somebody has read all of it."""
        raw = spelling(name.decode("utf-8", "surrogateescape") for name, _ in result.raw_headers)
        note = (result.reason, result.version, spelling(result.headers), raw)  # aiohttp has them in two spellings
        headers = lower(result.headers.items())

        def read(body: bytes) -> None:
            if len(body) <= most:
                later(Snapshot(result_status, headers, body, note))

        result_status = result.status
        if result._body is not None:
            return Snapshot(result_status, headers, result._body, note, whole=len(result._body) <= most)
        self._listen()
        setattr(result, _LATER, read)
        return Snapshot(result_status, headers, b"", note, whole=False)

    def _listen(self) -> None:
        if self._restore is not None:
            return
        kind = self._response
        original: Callable[[Any], Awaitable[bytes]] = kind.read

        @wraps(original)
        async def read(response: Any) -> bytes:
            told: Callable[[bytes], None] | None = response.__dict__.pop(_LATER, None)
            whole = told is not None and response._body is None and _untouched(response.content)
            body = await original(response)
            if whole and told is not None:
                told(body)
            return body

        kind.read = read

        def restore() -> None:
            if kind.read is read:
                kind.read = original

        self._restore = restore

    def rebuilt(self, request: "aiohttp.ClientRequest", session: object, answer: Snapshot) -> "aiohttp.ClientResponse":
        """A response of those parts, its body still to be read."""
        told = {
            "writer": None,
            "continue100": None,
            "timer": None,
            "request_info": request.request_info,
            "traces": [],
            "loop": request.loop,
            "session": session,
            "stream_writer": _Sent(),
            "request_headers": request.headers,
            "original_url": request.original_url,
        }
        given = {name: value for name, value in told.items() if name in self._known}
        kind: Any = request.response_class
        made = kind(request.method, request.original_url, **given)
        note: Any = answer.note
        made.reason, made.version, names, raw = note
        made.status = answer.status
        dicts = import_module("multidict")
        made._headers = dicts.CIMultiDictProxy(dicts.CIMultiDict(spelled(answer.headers, names)))
        made._raw_headers = tuple((_raw(name), _raw(value)) for name, value in spelled(answer.headers, raw))
        protocol = import_module(f"{self._module.__name__}.base_protocol").BaseProtocol(request.loop)
        made.content = self._reader(protocol, _LIMIT, loop=request.loop)
        made._closed = False
        made.content.on_eof(made._response_eof)
        made.content.feed_data(answer.body)
        made.content.feed_eof()
        found: aiohttp.ClientResponse = made
        return found


def way(request: "aiohttp.ClientRequest", session: Any, decompress: object) -> Hashable:
    """Equal for two requests that reach the same peer in the same way, as the same client."""
    asked: Any = request
    connector = session._connector
    stock = type(connector).__module__.partition(".")[0] == "aiohttp"  # a subclass may do anything
    proxy = (str(asked.proxy), asked.proxy_auth, list((asked.proxy_headers or {}).items())) if asked.proxy else None
    trust = [
        _trust(getattr(asked, "_ssl", asked.ssl)),
        *(_trust(getattr(connector, name, 0)) for name in _OF_CONNECTOR),
    ]
    unpacked = session._auto_decompress if decompress is None else decompress
    own = None if stock else connector
    return "aiohttp", same(trust), same(asked.server_hostname), same(proxy), same(own), same(unpacked)


def _trust(value: object) -> object:
    return getattr(value, "fingerprint", value)


def _untouched(content: Any) -> bool:
    """Whether nobody has taken a part of the body: what is left of it is not the body."""
    return getattr(content, "total_bytes", None) == 0 or getattr(content, "_cursor", None) == 0


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
