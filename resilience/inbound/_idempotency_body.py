"""The body of a request with a key: counted and hashed on its way to the app, and compared with a later one."""

from hashlib import blake2b
from typing import TYPE_CHECKING

from ..replay.record import Record

if TYPE_CHECKING:
    from starlette.types import Message, Receive

__all__ = ["BodyRead", "Gone", "same_body"]


class Gone(Exception):
    """The client left before its body was here: nobody waits for an answer."""


_EDGE = b"\0boundary\0"


class Digest:
    """Of a body, as if each `boundary` in it were the same one; of the bytes themselves where that is empty."""

    __slots__ = ("_boundary", "_digest", "_rest")

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._digest = blake2b(digest_size=16)
        self._rest = b""

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._boundary:
            *before, last = (self._rest + data).split(self._boundary)
            cut = max(0, len(last) - len(self._boundary) + 1)
            data, self._rest = _EDGE.join([*before, last[:cut]]), last[cut:]
        self._digest.update(data)

    def hexdigest(self) -> str:
        """Of all of it, in hex."""
        if not self._rest:
            return self._digest.hexdigest()
        whole = self._digest.copy()
        whole.update(self._rest)
        return whole.hexdigest()


class BodyRead:
    """How much of a body was read, and its digest. Not held: nothing is buffered."""

    __slots__ = ("_digest", "read", "whole")

    def __init__(self, boundary: bytes = b"") -> None:
        self._digest = Digest(boundary)
        self.read = 0
        self.whole = False

    def see(self, message: "Message") -> None:
        """Take an `http.request` message."""
        body = message.get("body", b"")
        if body:
            self._digest.update(body)
            self.read += len(body)
        self.whole = not message.get("more_body", False)

    def digest(self) -> str:
        """Of what was read until now, in hex."""
        return self._digest.hexdigest()


async def same_body(receive: "Receive", record: Record, length: int | None, boundary: bytes = b"") -> bool:
    """Whether a body is the one that the first request had, as far as that was read. No more of it is read.

    `length`: what Content-Length says; `boundary`: that of a form, see `Digest`. Raises Gone where the client leaves.
    """
    if length is not None and (length != record.read if record.whole else length < record.read):
        return False
    digest, left = Digest(boundary), record.read
    more = left > 0 or record.whole
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        body = message.get("body", b"")
        if len(body) > left and record.whole:
            return False
        digest.update(body[:left])
        left -= min(left, len(body))
        more = bool(message.get("more_body", False))
        if left and not more:
            return False
        if not left and not record.whole:
            break
    return digest.hexdigest() == record.body_digest
