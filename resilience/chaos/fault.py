"""One fault: what goes wrong, where, when and how often."""

from dataclasses import dataclass
from datetime import datetime
from math import inf, isfinite
from typing import Literal

from .place import checked_path, checked_peer, checked_where

__all__ = ["DIRECTIONS", "KINDS", "Direction", "Fault", "Kind", "Moment"]

Kind = Literal["latency", "error", "refuse", "hang", "reset", "duplicate", "partition", "lost"]
Direction = Literal["in", "out", "both"]
Moment = float | datetime
"""Seconds since the faults were switched on, or a time of day with its zone."""

KINDS: tuple[Kind, ...] = ("latency", "error", "refuse", "hang", "reset", "duplicate", "partition", "lost")
DIRECTIONS: tuple[Direction, ...] = ("in", "out", "both")

_LONGEST = 86_400.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a request that comes in, or with an attempt of a call that goes out.

    latency    it takes `seconds` longer
    error      `status` is answered (default 503), with `retry_after` where that is set; nothing is carried out
    refuse     the connection is refused; of a request that came, the connection is dropped before the app is begun
    hang       no answer comes, for `seconds` or for as long as the caller waits; nothing is carried out
    reset      the connection breaks off in the middle of the response's body
    duplicate  it is carried out twice, one after the other; the caller gets the first answer
    partition  calls to the peer `where` find no route, and requests that come from it are dropped
    lost       it is carried out, and the connection breaks off with no answer

    `where`, of calls: `[scheme://]host[:port][/path]`, of requests: `/path`. `*` is anything, `{name}` one segment of a
    path, a host without scheme and port has any. Of a partition: the peer's service name or origin, or
    `name@origin` where its host does not tell its name, or `a|b` for two services, which does nothing in others.

    A websocket is refused or delayed before it is open; `reset` ends it at its first message, `duplicate` and `lost` do
    nothing to it.

    `share` is the probability (0 to 1); or every `every`-th that fits; at most `times` (0: any). `after` and `until`
    bound it: seconds since the start, or times with a zone. `service`: in the service of this name alone.

    Raises ValueError for what cannot be.
    """

    kind: Kind
    direction: Direction | Literal[""] = ""
    where: str = ""
    method: str = ""
    seconds: float = 0.0
    status: int = 503
    retry_after: float | None = None
    share: float = 1.0
    every: int = 1
    times: int = 0
    after: Moment = 0.0
    until: Moment = inf
    service: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of fault: known are {', '.join(KINDS)}")
        if self.kind == "partition" and not self.direction:
            object.__setattr__(self, "direction", "both")
        if self.direction not in DIRECTIONS:
            raise ValueError(f"{self.kind} needs a direction: in, out or both")
        self._check_place()
        self._check_numbers()

    @property
    def comes_in(self) -> bool:
        """Whether it is about requests that come."""
        return self.direction != "out"

    @property
    def goes_out(self) -> bool:
        """Whether it is about calls of this service."""
        return self.direction != "in"

    def _check_place(self) -> None:
        if self.kind == "partition":
            checked_peer(self.where)
        elif self.direction == "in":
            checked_path(self.where)
        else:
            checked_where(self.where)
        if self.direction == "both" and self.where and self.kind != "partition":
            checked_path(self.where)
        for name, value in (("method", self.method), ("service", self.service)):
            if any(letter.isspace() or letter in ",=" for letter in value):
                raise ValueError(f"{name} must be one word")
        if self.method and not (self.method.isalpha() and self.method.isupper()):
            raise ValueError("method must be in capitals, such as POST")

    def _check_numbers(self) -> None:
        if not 0 <= self.seconds <= _LONGEST or (self.kind == "latency" and self.seconds == 0):
            raise ValueError(f"{self.kind} needs seconds, such as {self.kind}=0.5, up to {_LONGEST:g}")
        if not 100 <= self.status <= 599 or self.status < 200:
            raise ValueError("status must be from 200 to 599")
        if self.retry_after is not None and not 0 <= self.retry_after <= _LONGEST:
            raise ValueError("retry_after must be seconds, 0 or more")
        if not 0 <= self.share <= 1:
            raise ValueError("share must be from 0 to 1")
        if self.every < 1 or self.times < 0:
            raise ValueError("every must be 1 or more, times 0 (any) or more")
        for moment in (self.after, self.until):
            if isinstance(moment, datetime) and moment.tzinfo is None:
                raise ValueError("a time needs its zone, such as 2026-11-21T17:00Z")
        if isinstance(self.after, datetime) != isinstance(self.until, datetime) and self.until != inf and self.after:
            raise ValueError("from and until must both be seconds, or both be times")
        if isinstance(self.after, float | int) and not (isfinite(self.after) and self.after >= 0):
            raise ValueError("from must be seconds since the start, or a time such as 2026-11-21T17:00Z")
        if self._never():
            raise ValueError("until must be later than from")

    def _never(self) -> bool:
        after, until = self.after, self.until
        if isinstance(after, datetime):
            return isinstance(until, datetime) and until <= after
        return not isinstance(until, datetime) and not until > after

    def __str__(self) -> str:
        """As the settings write it."""
        from .text import written

        return written(self)
