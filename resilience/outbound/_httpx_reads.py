"""Reads of headers on a thread end with the attempt: httpcore begins its read timeout anew with each piece.

A peer that sends a byte of its headers every few seconds would hold a thread for as long as it likes. httpcore's
streams are not an interface: where they look different, nothing is done.
"""

import sys
from contextlib import suppress
from functools import wraps
from math import inf
from typing import Any

from ..call import under_way

__all__ = ["bound"]

_done: set[type] = set()


def bound(transport: object) -> None:
    """See to it once for the library under a transport."""
    kind = type(getattr(transport, "_pool", None))
    if kind in _done:
        return
    _done.add(kind)
    with suppress(AttributeError, KeyError):
        module = sys.modules[f"{kind.__module__.partition('.')[0]}._backends.sync"]
        for stream in (module.SyncStream, module.TLSinTLSStream):
            if stream not in _done:
                _done.add(stream)
                stream.read = _bounded(stream.read)


def _bounded(original: Any) -> Any:
    @wraps(original)
    def read(stream: Any, max_bytes: int, timeout: float | None = None) -> bytes:
        call: Any = under_way.get()
        if call is not None and call.attempt_ends < inf and not getattr(call, "headed", True):
            left = call.wire.left(call)
            timeout = left if timeout is None or timeout > left else timeout
        got: bytes = original(stream, max_bytes, timeout)
        return got

    return read
