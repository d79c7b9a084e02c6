"""What stands between requests on event loops and a store that may block: one thread that carries batches."""

from collections.abc import Callable

from ..clock import Clock, SystemClock
from ._away import StoreAway
from .work import Backend, Begin, Held, Work

__all__ = ["Courier", "StoreAway"]


class Courier:
    """(The body is under way; the signature stays.)"""

    def __init__(self, connect: Callable[[], Backend], *, lease: float, clock: Clock | None = None) -> None:
        self._connect = connect
        self._lease = lease
        self._clock = clock or SystemClock()

    @property
    def identity(self) -> str | None:
        """Of the store; None until it is known, and while the store is away. The first look starts the thread."""
        return None

    async def ask(self, work: Work, seconds: float, /) -> Held | bool:
        """Have it done, and wait for the result, for `seconds` at most; raises StoreAway."""
        raise StoreAway(f"{work} and {seconds}: not there yet")

    def tell(self, work: Work) -> None:
        """Have it done at some time."""

    def hold(self, begin: Begin) -> None:
        """Renew its lease every third of it, until `let_go`."""

    def let_go(self, key: bytes, owner: str) -> None:
        """Renew it no more."""

    def end(self, seconds: float = 1.0, /) -> None:
        """Do what was told, within `seconds`, and stop."""
