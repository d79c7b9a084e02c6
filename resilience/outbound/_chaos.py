"""Faults on purpose in calls: a step next to the wire of each client library, below spans, policies and retries.

There they look like the real ones: each library makes its own error of them, an attempt's time covers them, its span
tells them, and the breaker counts them. Nothing stands there while no fault is switched on.
"""

import errno
import os
from collections.abc import Callable, Iterable
from importlib import import_module
from math import inf
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..chaos.book import Book

__all__ = ["DAY", "body_of", "broken", "install", "lasting", "refusal", "told"]

_CORES = {"httpx": "httpcore", "httpx2": "httpcore2"}
DAY = 86_400.0
"""Seconds for which what hangs for ever hangs."""


def install(module: ModuleType, book: "Book") -> Callable[[], None]:
    """Put the step under `module`: httpx, httpx2, aiohttp, requests or urllib3. Returns the undo.

    It may come before or after tracing and policies: it sits below all of them in any case.
    """
    if module.__name__ in _CORES:
        from . import _chaos_httpcore

        return _chaos_httpcore.install(import_module(_CORES[module.__name__]), book)
    if module.__name__ == "aiohttp":
        from . import _chaos_aiohttp

        return _chaos_aiohttp.install(module, book)
    if module.__name__ == "requests":  # it sends through urllib3
        return lambda: None
    from . import _chaos_urllib3

    return _chaos_urllib3.install(book)


def refusal(kind: str) -> OSError:
    """What the socket says where a connection is refused, or where there is no way to the peer."""
    number = errno.ECONNREFUSED if kind == "refuse" else errno.EHOSTUNREACH
    return OSError(number, os.strerror(number))


def broken() -> OSError:
    """What the socket says where the peer broke the connection off."""
    return OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))


def lasting(seconds: float) -> float:
    """How long a hang lasts: for ever where nobody said."""
    return seconds or inf


def body_of(kind: str, status: int) -> bytes:
    """The body of an answer that no peer gave."""
    return f"a fault on purpose (chaos): {kind}={status}\n".encode()


def told(retry_after: float | None, length: int) -> Iterable[tuple[str, str]]:
    """The headers of that answer."""
    yield "content-type", "text/plain; charset=utf-8"
    yield "content-length", str(length)
    if retry_after is not None:
        yield "retry-after", f"{retry_after:g}"
