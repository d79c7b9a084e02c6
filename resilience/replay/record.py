"""A kept answer as bytes, and back: a version, the length of a JSON head, the head, the body as it was sent.

No pickle: whoever can write into a store must not be able to run code here. What cannot be read is an error, and the
key counts as carried out all the same: to forget it would do the work twice.
"""

import json
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Headers", "Record", "Unreadable"]

Headers = tuple[tuple[bytes, bytes], ...]

T = TypeVar("T")

VERSION = 1
_LENGTH = 4
_START = 1 + _LENGTH


class Unreadable(ValueError):
    """Not a record, or one of a later version; the message says which."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was answered, and to what: all that a request with the same key is compared with.

    `asked`, `cookies` and `body_digest` are digests in hex; `read` is how many bytes of the body were read, `whole`
    whether that was all of it. `missing`: why the answer itself is not here (`too_large`, `set_cookie`, `broken_off`
    or `unkeepable`), None where it is. `trace`: the id of the trace in which it was given, in hex.
    """

    status: int
    headers: Headers = ()
    body: bytes = b""
    trailers: Headers | None = None
    missing: str | None = None
    asked: str = ""
    cookies: str = ""
    body_digest: str = ""
    read: int = 0
    whole: bool = False
    trace: str | None = None

    def dump(self) -> bytes:
        """As bytes; `load` gives it back."""
        head = {
            "status": self.status,
            "headers": _texts(self.headers),
            "trailers": None if self.trailers is None else _texts(self.trailers),
            "missing": self.missing,
            "asked": self.asked,
            "cookies": self.cookies,
            "body": self.body_digest,
            "read": self.read,
            "whole": self.whole,
            "trace": self.trace,
            "size": len(self.body),
        }
        text = json.dumps(head, ensure_ascii=True, separators=(",", ":")).encode()
        return b"%c%b%b%b" % (VERSION, len(text).to_bytes(_LENGTH, "big"), text, self.body)

    @classmethod
    def load(cls, raw: bytes) -> "Record":
        """Read what `dump` has written; raises Unreadable for anything else."""
        if not raw or raw[0] != VERSION:
            said = f"of version {raw[0]}; this handrail reads version {VERSION}" if raw else "empty"
            raise Unreadable(f"the kept answer is {said}")
        ends = _START + int.from_bytes(raw[1:_START], "big")
        try:
            if len(raw) < ends:
                raise Unreadable("the kept answer is cut off")
            return _record(json.loads(raw[_START:ends]), raw[ends:])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if isinstance(error, Unreadable):
                raise
            raise Unreadable(f"the kept answer is damaged: {error}") from error


def _record(head: dict[str, object], body: bytes) -> Record:
    trailers, status = head["trailers"], _of(int, head["status"])
    if len(body) != head["size"] or not 200 <= status <= 999:
        raise Unreadable("the kept answer is damaged: not the body or the status that was written")
    return Record(
        status=status,
        headers=_pairs(head["headers"]),
        body=body,
        trailers=None if trailers is None else _pairs(trailers),
        missing=_text_or_none(head["missing"]),
        asked=_of(str, head["asked"]),
        cookies=_of(str, head["cookies"]),
        body_digest=_of(str, head["body"]),
        read=_of(int, head["read"]),
        whole=_of(bool, head["whole"]),
        trace=_text_or_none(head["trace"]),
    )


def _texts(headers: Headers) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _pairs(found: object) -> Headers:
    return tuple(
        (_of(str, name).encode("latin-1"), _of(str, value).encode("latin-1")) for name, value in _of(list, found)
    )


def _text_or_none(found: object) -> str | None:
    return None if found is None else _of(str, found)


def _of(kind: type[T], found: object) -> T:
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise Unreadable(f"the kept answer has {type(found).__name__} where {kind.__name__} belongs")
    return found
