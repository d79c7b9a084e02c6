"""What is asked of a store of answers, what it says, and what a store must be able to do.

A key goes through these states; every step is one atomic operation of the store:

    (none) --Begin--> begun --Keep--> kept          until the retention ends
                        |
                        +--Free--> (none)           the request failed: it may be sent again
                        |
                        +--lease over--> broken     whoever began it has died, or is cut off

A store works in batches, because one transaction, script or pipeline for twenty requests costs little more than for
one. It is called by one thread alone (see `courier`), and may block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

__all__ = ["Backend", "Begin", "Free", "Held", "Keep", "Renew", "State", "Work"]


class State(Enum):
    """What `Begin` found."""

    NEW = "new"
    """Nothing: the key is now begun, and ours."""
    BUSY = "busy"
    """Somebody else's, who is at work on it."""
    KEPT = "kept"
    """The answer stands in `Held.answer`."""
    BROKEN = "broken"
    """Begun by somebody who stopped saying that he lives; whether the request was carried out nobody knows."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a store holds of a key. `left`: seconds until the lease of a BUSY key ends, unless it is renewed.

    `again`: a NEW key was BROKEN before, and taken over.
    """

    state: State
    answer: bytes | None = None
    left: float = 0.0
    again: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """Take a key, or learn what is known of it.

    The same Begin twice, by its `owner`, is NEW twice: the first answer of the store may have been lost. A lease that
    has run out is BROKEN, or with `take_over` becomes NEW, `again`, for exactly one of those who ask.
    """

    key: bytes
    """32 bytes: a digest of method, route, caller and the client's key. The client's key itself is not kept."""
    owner: str
    """Whose: unique to this request, in all processes and machines."""
    lease: float
    """Seconds until it counts as BROKEN, unless renewed."""
    retention: float
    """Seconds after which a store forgets the key, whatever its state; but none whose lease is alive."""
    take_over: bool = False


@dataclass(frozen=True, slots=True)
class Keep:
    """Put the answer down. True, unless somebody else has taken the key over, or it is gone.

    Also True where the lease is over and nobody took over: the truth came late, and replaces BROKEN. Twice is True
    twice.
    """

    key: bytes
    owner: str
    answer: bytes
    retention: float


@dataclass(frozen=True, slots=True)
class Free:
    """Forget a key that is begun by `owner`. True where it was; anybody else's is left alone, and what is kept is."""

    key: bytes
    owner: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Say that the owner lives: the lease of its begun key ends `lease` seconds from now. True where it was its own."""

    key: bytes
    owner: str
    lease: float


Work = Begin | Keep | Free | Renew


class Backend(Protocol):
    """A store: SQLite, Redis or Postgres. Called by one thread; made, opened and closed in it.

    Any exception means that the store is away: nothing, all or a part of the batch may have happened, and the courier
    asks again (all work is idempotent by its owner), or gives up. After an exception the next call begins anew: the
    backend connects again by itself. Time is the store's own, never that of this process, except for SQLite, whose
    processes share a machine (wall clock).
    """

    shown: str
    """Its name in log lines and errors: no password."""

    def open(self) -> str:
        """Connect, make the tables, and return the store's identity: 16 or more random hex digits, made by whoever
        came first and the same for all who share the store, however they call it. Called again to see whether a
        store that was away is there.
        """

    def run(self, work: Sequence[Work]) -> list[Held | bool]:
        """Do it in the order given; one result for each: Held for Begin, bool for the others."""

    def tidy(self) -> None:
        """Forget what is past its retention, and the oldest kept answers while the store is above its bound: the
        answer alone, not its key, which stays KEPT with the answer b"" until its retention ends. Called every few
        seconds while there is work, and after some hundred pieces of it; bounded in time (some hundred rows each).
        """

    def close(self) -> None:
        """Never raises."""
