"""By which way a client reaches its peer: what it trusts, who it is, and through whom. Asked for kept answers alone."""

import weakref
from collections.abc import Hashable, Mapping
from hashlib import sha256

__all__ = ["same"]

_LONG = 256
"""Characters of a text that are compared as they are; a bundle of certificates is compared by its digest."""


def same(value: object) -> Hashable:
    """Something that is equal for equal settings of a client: of values by their value, of all else by the object.

    An object (an SSLContext does not say what was loaded into it) is the same as itself alone, and held by nobody.
    """
    if value is None or isinstance(value, bool | int | float):
        return type(value), value  # 1 is no True here
    if isinstance(value, str):
        return value if len(value) <= _LONG else same(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        return value if len(value) <= _LONG else (len(value), sha256(value).digest())
    if isinstance(value, tuple | list):
        return tuple(same(one) for one in value)
    if isinstance(value, Mapping):
        return frozenset((same(name), same(one)) for name, one in value.items())
    try:
        found = weakref.ref(value)
        hash(found)  # kept from now on, also when the object is gone
    except TypeError:
        return object()  # equal to nothing
    return found
