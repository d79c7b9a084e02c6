"""The body of a request with a key: counted and hashed on its way to the app, and compared with a later one."""

from hashlib import blake2b
from typing import TYPE_CHECKING

from ..replay.record import Record

if TYPE_CHECKING:
    from starlette.types import Message, Receive

__all__ = ["BodyRead", "Gone", "same_body"]


class Gone(Exception):
    """The client left before its body was here: nobody waits for an answer."""


class BodyRead:
    """How much of a body was read, and its digest. Not held: nothing is buffered."""

    __slots__ = ("_digest", "read", "whole")

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=16)
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


async def same_body(receive: "Receive", record: Record, length: int | None) -> bool:
    """Whether a body is the one that the first request had, as far as that was read. No more of it is read.

    `length`: what Content-Length says. Raises Gone where the client leaves.
    """
    if length is not None and (length != record.read if record.whole else length < record.read):
        return False
    digest, left = blake2b(digest_size=16), record.read
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
