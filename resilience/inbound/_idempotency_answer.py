"""The answer to a request with a key: a copy that grows as it passes, and the same answer given once more."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..keyed import HONOURED
from ..replay.record import Record
from ._idempotency_body import BodyRead
from ._idempotency_request import Asked

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

__all__ = ["REPLAYED", "Copy", "replay", "with_header"]

REPLAYED = (b"idempotent-replayed", b"true")
"""Says that an answer was given before: Stripe's name for it."""

_FREED = frozenset({401, 403, 404, 405, 408, 421, 425, 429})
"""Not carried out, or not yet: the same request may be answered otherwise when it comes again. So are all of 5xx."""
_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade", b"date"})
"""Of one connection (RFC 9110, 7.6.1) or of one moment: the server that sends it again writes its own."""
_STREAM = b"text/event-stream"
_HONOURED = HONOURED.encode()


class Copy:
    """What passed of an answer: at most `limit` bytes of its body. `cookies`: drop, keep or skip those that it sets.

    `missing`: why it cannot be given again, see `Record`; None until then.
    """

    __slots__ = ("_chunks", "_cookies", "_headers", "_limit", "_size", "_trailers", "missing", "status", "stream")

    def __init__(self, limit: int, cookies: str) -> None:
        self._limit = limit
        self._cookies = cookies
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._size = 0
        self._trailers: list[tuple[bytes, bytes]] | None = None
        self.status: int | None = None
        self.missing: str | None = None
        self.stream = False
        """Whether it is a stream of events, which ends when its reader leaves."""

    @property
    def done(self) -> bool:
        """Whether it says that the request was carried out, or that it never will be."""
        return self.status is not None and self.status < 500 and self.status not in _FREED

    def see(self, message: "Message") -> bool:
        """Take a message; True for the last of the answer."""
        match message["type"]:
            case "http.response.start":
                self._begin(message)
                return False
            case "http.response.body":
                self._grow(message.get("body", b""))
                return not message.get("more_body", False) and self._trailers is None
            case "http.response.trailers" if self._trailers is not None:
                self._trailers += _pairs(message)
                return not message.get("more_trailers", False)
            case "http.response.pathsend" | "http.response.zerocopysend":  # though the scope offered neither
                self._miss("unkeepable")
                return not message.get("more_body", False)
            case _:
                return False

    def _begin(self, message: "Message") -> None:
        self.status = int(message["status"])
        if message.get("trailers", False):
            self._trailers = []
        if not self.done:
            return
        left_out = _HOP
        headers = [(name.lower(), name, value) for name, value in _pairs(message)]
        for name, _, value in headers:
            if name == b"connection":
                left_out |= {word.strip().lower() for word in value.split(b",")}
            elif name == b"content-type":
                self.stream = value.startswith(_STREAM)
            elif name == b"set-cookie" and self._cookies != "keep":
                left_out |= {name}
                if self._cookies == "skip":
                    self._miss("set_cookie")
        self._headers = [(name, value) for lower, name, value in headers if lower not in left_out]

    def _grow(self, body: bytes) -> None:
        if not body or self.missing is not None or not self.done:
            return
        self._size += len(body)
        if self._size > self._limit:
            self._miss("too_large")
        else:
            self._chunks.append(bytes(body))

    def _miss(self, why: str) -> None:
        self.missing = self.missing or why
        self._chunks.clear()

    def broken_off(self) -> None:
        """There will be no more of it."""
        self._miss("broken_off")

    def record(self, asked: Asked, read: BodyRead, trace: str | None) -> Record:
        """It, to be kept, and what it was given to; without headers, body and trailers where it is `missing`."""
        here = self.missing is None
        return Record(
            status=self.status or 0,
            headers=tuple(self._headers) if here else (),
            body=b"".join(self._chunks) if here else b"",
            trailers=tuple(self._trailers) if here and self._trailers is not None else None,
            missing=self.missing,
            asked=asked.asked,
            cookies=asked.cookies,
            body_digest=read.digest(),
            read=read.read,
            whole=read.whole,
            trace=trace,
        )


def _pairs(message: "Message") -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]


def with_header(headers: Iterable[tuple[bytes, bytes]], said: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer and ours, unless the app has said by itself that keys are not honoured.

    What another service has promised goes no further where an app hands on its answer.
    """
    found, named = list(headers), said[0]
    length = len(named)
    for place, (name, value) in enumerate(found):
        if len(name) == length and bytes(name).lower() == named:
            if bytes(value).startswith(_HONOURED):
                found[place] = said
            return found
    found.append(said)
    return found


async def replay(record: Record, scope: "Scope", send: "Send", said: tuple[bytes, bytes] | None) -> None:
    """Give a kept answer again, with `said` among its headers."""
    trailing = record.trailers is not None and "http.response.trailers" in (scope.get("extensions") or {})
    headers = [*record.headers, REPLAYED] if said is None else with_header((*record.headers, REPLAYED), said)
    start: Message = {"type": "http.response.start", "status": record.status, "headers": headers}
    if trailing:
        start["trailers"] = True
    await send(start)
    await send({"type": "http.response.body", "body": record.body})
    if trailing:
        await send({"type": "http.response.trailers", "headers": list(record.trailers or ())})
