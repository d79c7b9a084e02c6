"""A vote says that an instance has a breaker open: what it looks like, and how many are enough."""

import hashlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LONGEST", "Vote", "Voter", "agreed", "machine_name", "parsed"]

LONGEST = 3600.0
"""Seconds that a vote lasts at most, however long its breaker stays open."""


@dataclass(frozen=True, slots=True)
class Voter:
    """An instance, which is one process of a service, and the machine that it runs on."""

    machine: str
    instance: str


@dataclass(frozen=True, slots=True)
class Vote:
    """`begins` and `ends` are seconds since the epoch by the clock of the store, which all instances share."""

    voter: Voter
    begins: float
    ends: float

    def __str__(self) -> str:
        return f"{self.begins * 1000:.0f}/{self.voter.machine}/{self.voter.instance}"


def parsed(text: str, ends: float) -> Vote | None:
    """The vote that was written as `text`; None where nobody of this version wrote it."""
    match text.split("/"):
        case [begins, machine, instance] if begins.isdecimal() and len(begins) < 16 and machine and instance:
            vote = Vote(Voter(machine, instance), int(begins) / 1000, ends)
            return vote if 0 < ends - vote.begins <= LONGEST + 1 else None
        case _:
            return None


def agreed(votes: Iterable[Vote], voter: Voter, quorum: int, now: float, since: float = 0.0) -> float:
    """Seconds for which the votes of others are enough for `voter`; 0 where they are not.

    Another machine counts once, however many of its instances vote: what is wrong with it may be wrong with it
    alone. Instances of the voter's own machine count each: what is wrong there concerns the voter too. A vote that
    began at `since` or before does not count: the voter has found out by himself after it.
    """
    ends: dict[tuple[str, str], float] = {}
    for vote in votes:
        if vote.voter.instance == voter.instance or vote.begins <= since or not now < vote.ends <= now + LONGEST:
            continue
        near = vote.voter.machine == voter.machine
        key = ("instance", vote.voter.instance) if near else ("machine", vote.voter.machine)
        ends[key] = max(ends.get(key, 0.0), vote.ends)
    if len(ends) < quorum:
        return 0.0
    return sorted(ends.values(), reverse=True)[quorum - 1] - now


def machine_name() -> str:
    """The same for all processes that one kernel runs, those in containers too; the host's name where none says so."""
    try:
        known = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        known = socket.gethostname()
    return hashlib.sha256(known.encode()).hexdigest()[:12]
