"""What two handrails say to each other of idempotency keys: the headers, and a key that handrail gave."""

import re
from dataclasses import dataclass
from hashlib import blake2b
from uuid import uuid4

__all__ = [
    "HONOURED",
    "HONOURS",
    "INTERRUPTED_KEY",
    "IN_FLIGHT",
    "METHODS",
    "MISDIRECTED_KEY",
    "NOT_KEPT",
    "REFUSED",
    "STORE",
    "Key",
    "Promise",
    "promise",
    "seen",
]

METHODS = frozenset({"POST", "PATCH"})
"""The methods that a key makes safe; the only ones that are given one, and whose answers are looked at or kept."""
HONOURS = "idempotency-key-honoured"
"""The response header by which a service says that a key makes POST and PATCH safe to send to it again."""
HONOURED = "?1"
"""Its value: a structured-field boolean (RFC 9651, 3.3.6). Anything else says that keys are not honoured."""
STORE = "idempotency-key-store"
"""The request header by which a key that handrail gave names the store that it relies on, as a string of RFC 9651."""
REFUSED = "idempotency-key-refused"
"""The response header of an answer that is about the key, not about what was asked; its value, a token, says why."""
IN_FLIGHT = "in-flight"
"""A reason: another request with this key is at work. All others are final."""
INTERRUPTED_KEY = "interrupted"
"""A reason: the first one broke off. It may have been carried out."""
NOT_KEPT = "not-kept"
"""A reason: it was carried out, and the answer cannot be given again."""
MISDIRECTED_KEY = "misdirected"
"""A reason: the key relies on another store. Nothing was done."""

_LONGEST = 64
"""Characters of the name of a store that are looked at."""
_PARAMETER = re.compile(r';[ \t]*([a-z]+)="?([^";]*)"?').findall


class Key(str):
    """The text of a key of ours; `store` is the one that it relies on, empty where the peer names none."""

    __slots__ = ("store",)
    store: str

    @classmethod
    def new(cls, store: str) -> "Key":
        """A key for one call, as a structured-field string."""
        key = cls(f'"{uuid4()}"')
        key.store = store
        return key


@dataclass(frozen=True, slots=True)
class Promise:
    """What a service says of keys, and to whom: somebody in between may hand it on who does not keep it.

    `store`: its name, empty where it has none. `host`: the Host of the request that was answered, None where nothing
    is said of it. `key`: what was `seen` of its key, empty without one.
    """

    store: str
    host: str | None
    key: str


def seen(key: str) -> str:
    """By what a service shows that a key of ours has reached it. `key` without its quotes."""
    return blake2b(key.encode("latin-1", "replace"), digest_size=8).hexdigest()


def promise(value: str | None) -> Promise | None:
    """What an answer says; None where it does not honour keys."""
    if value is None:
        return None
    said, mark, rest = value.partition(";")
    if said.strip() != HONOURED:
        return None
    found: dict[str, str] = dict(_PARAMETER(mark + rest))
    return Promise(found.get("store", "")[:_LONGEST], found.get("host"), found.get("key", ""))
