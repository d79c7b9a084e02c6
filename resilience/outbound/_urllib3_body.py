"""The connection under a response of urllib3: until when its headers and its body are read, and how long it may pause.

A read timeout begins anew with each piece: a peer that sends a byte now and then would hold a thread for as long as it
likes. None of it is urllib3's interface. Where it looks different (another version, pyOpenSSL's sockets), nothing is
done, and the read timeout stays that of the headers.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

__all__ = ["bound", "bounding", "unbound"]


class _Bounded:
    """A socket whose every read ends with the attempt."""

    __slots__ = ("_decref_socketios", "_ends", "_now", "_theirs", "socket")

    def __init__(self, inner: Any, ends: float, now: Callable[[], float]) -> None:
        self.socket = inner
        self._ends = ends
        self._now = now
        self._theirs: float | None = -1.0
        """The read timeout, from the second read on: that of the first was just set, to what was left."""
        self._decref_socketios = inner._decref_socketios

    def recv_into(self, buffer: Any) -> int:
        held = self.socket
        if self._theirs == -1.0:
            self._theirs = held.gettimeout()
        else:
            left = self._ends - self._now()
            if left <= 0:  # also where pieces come faster than any timeout
                raise TimeoutError("timed out")
            theirs = self._theirs
            held.settimeout(left if theirs is None or theirs > left else theirs)
        got: int = held.recv_into(buffer)
        return got

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)


def bounding(original: Any, ends: Callable[[], float], now: Callable[[], float]) -> Callable[..., Any]:
    """`response_class` of connections: their responses must be there at `ends()`, in seconds of `now`; or infinity."""

    def begun(sock: Any, *args: Any, **options: Any) -> Any:
        response = original(sock, *args, **options)
        limit = ends()
        if limit < inf:
            _bound(getattr(response.fp, "raw", None), limit, now)
        return response

    return begun


def bound(raw: Any, ends: float, now: Callable[[], float]) -> None:
    """Have the rest of the body of `raw` (urllib3's response) come before `ends`."""
    with suppress(AttributeError):
        _bound(raw._fp.fp.raw, ends, now)


def _bound(reader: Any, ends: float, now: Callable[[], float]) -> None:
    if isinstance(reader, socket.SocketIO):
        held: Any = reader
        if not isinstance(held._sock, _Bounded):
            held._sock = _Bounded(held._sock, ends, now)


def unbound(raw: Any, seconds: float | None) -> None:
    """Give a body that is streamed the read timeout that the code wrote; None: it may pause for ever."""
    with suppress(AttributeError):
        reader = raw._fp.fp.raw
        if isinstance(reader._sock, _Bounded):
            reader._sock = reader._sock.socket
    with suppress(AttributeError, OSError):
        raw._connection.sock.settimeout(seconds)
