"""What is encoded and comes again, in bounded memory: attributes by key and value, resources and scopes by identity."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Heads", "Keys", "Memory", "Values"]

T = TypeVar("T")

VALUES_OF_A_KEY = 64
"""Methods, routes and states repeat; ids do not, and must not push the others out."""
LONGEST = 128
"""Characters of a text that is worth remembering."""
_MOST_HEADS = 64
_MOST = 4096
"""Remembered pairs of all keys: about a megabyte."""


class Memory:
    """Counts what the memories of one format hold, and empties them when it is too much."""

    def __init__(self) -> None:
        self.count = 0
        self.keys: list[Keys] = []

    def add(self) -> None:
        """Take note of one more."""
        self.count += 1
        if self.count > _MOST:
            self.count = 0
            for keys in self.keys:
                keys.clear()


class Values(dict[Any, bytes]):
    """Encoded attributes of one key, by values of one exact type; a subclass says how a new one is made."""

    __slots__ = ("key", "memory")

    def __init__(self, key: str, memory: Memory) -> None:
        self.key = key
        self.memory = memory

    def keep(self, value: object, found: bytes) -> bytes:
        """Remember, where there is room."""
        if len(self) < VALUES_OF_A_KEY:
            self.memory.add()
            self[value] = found
        return found


class Keys(dict[str, Values]):
    """`keys[key][value]` for values whose type is exactly one (1, 1.0 and True are the same key of a dict)."""

    __slots__ = ("_make", "_memory")

    def __init__(self, memory: Memory, make: Callable[[str, Memory], Values]) -> None:
        self._memory = memory
        self._make = make
        memory.keys.append(self)

    def __missing__(self, key: str) -> Values:
        self._memory.add()
        found = self[key] = self._make(key, self._memory)
        return found


class Heads(Generic[T]):
    """What stands before the spans of a resource or a scope, made once for each of them by `make`."""

    def __init__(self, make: Callable[[T], bytes]) -> None:
        self._make = make
        self._held: dict[int, tuple[T, bytes]] = {}
        """By identity; the object is kept beside it, so that its id is not given to another one."""

    def __call__(self, of: T) -> bytes:
        found = self._held.get(id(of))
        if found is None:
            if len(self._held) >= _MOST_HEADS:
                self._held.clear()
            found = self._held[id(of)] = (of, self._make(of))
        return found[1]
