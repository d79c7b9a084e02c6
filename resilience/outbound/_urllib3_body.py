"""The connection under a response of urllib3: how long it may be silent while a body is read.

None of it is urllib3's interface. Where it looks different (another version, pyOpenSSL's sockets), nothing is done,
and the read timeout stays that of the headers.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["bound", "unbound"]

_SHORTEST = 0.001


class _Bounded:
    """A socket whose every read ends with the attempt: a body that drips never reaches its read timeout."""

    __slots__ = ("_ends", "_now", "_socket", "_theirs")

    def __init__(self, inner: Any, ends: float, now: Callable[[], float]) -> None:
        self._socket = inner
        self._ends = ends
        self._now = now
        self._theirs: float | None = inner.gettimeout()

    def recv_into(self, buffer: Any) -> int:
        left = max(self._ends - self._now(), _SHORTEST)
        theirs = self._theirs
        self._socket.settimeout(left if theirs is None or theirs > left else theirs)
        got: int = self._socket.recv_into(buffer)
        return got

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def bound(raw: Any, ends: float, now: Callable[[], float]) -> None:
    """Have the rest of the body of `raw` (urllib3's response) come before `ends`."""
    with suppress(AttributeError):
        reader = raw._fp.fp.raw
        if isinstance(reader, socket.SocketIO):
            held: Any = reader
            held._sock = _Bounded(held._sock, ends, now)


def unbound(raw: Any, seconds: float | None) -> None:
    """Give a body that is streamed the read timeout that the code wrote; None: it may pause for ever."""
    with suppress(AttributeError, OSError):
        raw._connection.sock.settimeout(seconds)
