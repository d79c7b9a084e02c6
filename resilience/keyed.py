"""What two handrails say to each other of idempotency keys: the headers, and a key that handrail gave."""

from uuid import uuid4

__all__ = ["HONOURED", "HONOURS", "IN_FLIGHT", "MISDIRECTED_KEY", "REFUSED", "STORE", "Key", "advertised"]

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
MISDIRECTED_KEY = "misdirected"
"""A reason: the key relies on another store. Nothing was done."""

_LONGEST = 64
"""Characters of the name of a store that are looked at."""


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


def advertised(value: str | None) -> str | None:
    """The store that an answer names, empty where it honours keys and names none; None where it does not honour."""
    if value is None:
        return None
    said, _, rest = value.partition(";")
    if said.strip() != HONOURED:
        return None
    name, _, store = rest.strip().partition("=")
    return store.strip('"')[:_LONGEST] if name == "store" else ""
