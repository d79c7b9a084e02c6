"""Faults on purpose under urllib3 and requests: around `HTTPConnectionPool._make_request`, whose errors both translate
themselves. None of it is urllib3's interface; where it is not there, nothing is injected, and that is said once.
"""

import http.client
import io
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3 import connectionpool, exceptions

from ..chaos.header import NAME
from ..chaos.rule import Call
from . import _chaos

if TYPE_CHECKING:
    from ..chaos.book import Book, Plan
    from ..chaos.fault import Fault

__all__ = ["install"]

_log = logging.getLogger("handrail")
_SEAM = "_make_request"
_IN_MEMORY = (bytes, str, bytearray, memoryview, type(None))
_undo: Callable[[], None] | None = None
_VERSION = version("urllib3")
_OLD = _VERSION.startswith("1.")


class _Step:
    """The step; `book` knows what is to happen."""

    def __init__(self, book: "Book") -> None:
        self._book = book

    def around(self, original: Any) -> Any:
        """`_make_request` with the step before it."""

        @wraps(original)
        def _make_request(pool: Any, conn: Any, method: str, url: str, *more: Any, **options: Any) -> Any:
            plan = self._plan(pool, method, url, options)
            if plan is None:
                return original(pool, conn, method, url, *more, **options)
            fault = plan.fault
            self._wait(pool, url, options, plan.delay)
            if fault is None:
                return original(pool, conn, method, url, *more, **options)
            if fault.kind in ("refuse", "partition"):
                refused = _chaos.refusal(fault.kind)
                text = f"Failed to establish a new connection: {refused}"
                raise exceptions.NewConnectionError(conn, text) from refused
            if fault.kind == "hang":
                self._wait(pool, url, options, _chaos.lasting(fault.seconds))
                raise _disconnected()
            if fault.kind == "error":
                return _answer(fault, pool, method, url, options)
            if fault.kind == "reset":
                return _torn(lambda: original(pool, conn, method, url, *more, **_unread(options)), options)
            response = original(pool, conn, method, url, *more, **options)
            if fault.kind == "lost":
                _drain(response)
                conn.close()
                raise _disconnected()
            if isinstance(options.get("body"), _IN_MEMORY):
                with suppress(Exception):  # the caller sees the first alone
                    other = pool._new_conn()
                    try:
                        _drain(original(pool, other, method, url, *more, **{**options, **_of(options, other)}))
                    finally:
                        other.close()
            return response

        return _make_request

    def _plan(self, pool: Any, method: str, url: str, options: dict[str, Any]) -> "Plan | None":
        headers = options.get("headers")
        if headers is not None:
            options["headers"] = made = headers.copy() if hasattr(headers, "copy") else dict(headers)
            carried = any(str(name).lower() == NAME for name in made)
            for name, value in self._book.headers():
                if name != NAME or not carried:
                    made[name] = value
        path = url if url.startswith("/") else f"/{url.partition('://')[2].partition('/')[2]}"
        call = Call(method.upper(), pool.scheme, str(pool.host).strip("[]"), pool.port or 0, path.partition("?")[0])
        return self._book.of_call(call)

    def _wait(self, pool: Any, url: str, options: dict[str, Any], seconds: float) -> None:
        """Wait; raises where the request waits less long for an answer."""
        read = pool._get_timeout(options.get("timeout")).read_timeout
        limit = read if isinstance(read, int | float) else None
        if limit is not None and seconds >= limit:
            self._book.clock.sleep_sync(limit)
            raise exceptions.ReadTimeoutError(pool, url, f"Read timed out. (read timeout={limit})")
        self._book.clock.sleep_sync(min(seconds, _chaos.DAY))


def _disconnected() -> Exception:
    return http.client.RemoteDisconnected("Remote end closed connection without response")


def _unread(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "preload_content": False} if "preload_content" in options else options


def _of(options: dict[str, Any], other: Any) -> dict[str, Any]:
    return {"response_conn": other} if options.get("response_conn") is not None else {}


def _torn(send: Callable[[], Any], options: dict[str, Any]) -> Any:
    """The response, whose body breaks off when it is read; at once where urllib3 was to read it."""
    response = send()
    inner = getattr(response, "_fp", response)  # before 2.0 it is http.client's own
    if getattr(inner, "fp", None) is not None:
        inner.fp = _Broken(inner.fp)
    if options.get("preload_content"):
        response.read()
    return response


class _Broken(io.RawIOBase):
    """A socket's file whose peer is gone."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def _break(self, *_args: Any) -> Any:
        raise _chaos.broken()

    read = read1 = readinto = readinto1 = readline = peek = _break

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Canned:
    """In the place of a socket: what came over it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, *_args: object, **_options: object) -> io.BytesIO:
        """What http.client reads from."""
        return io.BytesIO(self._content)


def _answer(fault: "Fault", pool: Any, method: str, url: str, options: dict[str, Any]) -> Any:
    """A response that no peer gave."""
    body = _chaos.body_of(fault.kind, fault.status)
    reason = http.client.responses.get(fault.status, "")
    head = "".join(f"{name}: {value}\r\n" for name, value in _chaos.told(fault.retry_after, len(body)))
    canned: Any = _Canned(f"HTTP/1.1 {fault.status} {reason}\r\n{head}\r\n".encode() + body)
    raw = http.client.HTTPResponse(canned, method=method)
    raw.begin()
    if _OLD:
        return raw
    made: Any = urllib3.HTTPResponse(
        body=raw,
        headers=urllib3.HTTPHeaderDict(raw.headers.items()),
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        preload_content=options.get("preload_content", True),
        decode_content=options.get("decode_content", True),
        original_response=raw,
        pool=pool,
        connection=options.get("response_conn"),
        request_method=method,
        request_url=url,
    )
    made.version_string = "HTTP/1.1"
    made.retries = options.get("retries")
    return made


def _drain(response: Any) -> None:
    with suppress(Exception):
        response.read()


def install(book: "Book") -> Callable[[], None]:
    """Patch the class of the pools; see `_chaos.install`."""
    global _undo
    if _undo is not None:
        return _undo
    owner: Any = connectionpool.HTTPConnectionPool
    original = vars(owner).get(_SEAM)
    if original is None:
        _log.warning("urllib3 %s looks otherwise: no faults can be injected into its calls", _VERSION)
        return lambda: None
    ours = _Step(book).around(original)
    setattr(owner, _SEAM, ours)

    def undo() -> None:
        global _undo
        if _undo is undo:
            _undo = None
            if vars(owner).get(_SEAM) is ours:
                setattr(owner, _SEAM, original)

    _undo = undo
    return undo
