"""Who a request comes from, and how many of each are under way."""

import threading
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope

__all__ = ["Clients"]

AddressOf = Callable[["Scope", Mapping[bytes, bytes]], str | None]


class Clients:
    """Counts requests under way by client; the table holds only those that have one. For any thread.

    A client is the value of the first of `callers`, headers in lower case, that the request has; else its address.
    One without either is not counted. A credential is not verified here: whoever makes one up is a client of his own.
    """

    def __init__(self, most: int, callers: Iterable[str], address_of: AddressOf) -> None:
        self.most = most
        self.callers = tuple(name.lower().encode("latin-1", "replace") for name in callers)
        self._address_of = address_of
        self._counts: dict[bytes | str, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._counts)

    def who(self, scope: "Scope", found: Mapping[bytes, bytes]) -> bytes | str | None:
        """What the table knows the client by; credentials are not kept."""
        for name in self.callers:
            value = found.get(name)
            if value is not None:
                return blake2b(name + b":" + value, digest_size=16).digest()
        return self._address_of(scope, found)

    def enter(self, client: bytes | str) -> bool:
        """Count one more; False where there are `most` of them."""
        with self._lock:
            count = self._counts.get(client, 0)
            if count >= self.most:
                return False
            self._counts[client] = count + 1
            return True

    def leave(self, client: bytes | str) -> None:
        """One that had entered is over."""
        with self._lock:
            count = self._counts[client] - 1
            if count:
                self._counts[client] = count
            else:
                del self._counts[client]
