"""What a contender is: a way to do one piece of work, made anew in a process of its own."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from opentelemetry.sdk.trace import SpanProcessor

__all__ = ["Contender", "Work"]


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Work:
    """`once` does the work, `drain` finishes what it left behind; `told` says what came out where that is no span."""

    once: Callable[[], Awaitable[object]]
    drain: Callable[[], None] = _nothing
    told: Callable[[], str] | None = None


@dataclass(frozen=True)
class Contender:
    """`make` is called in a fresh process, with the processor that ended spans go to.

    `base` names the contender without whose cost this one's is told; `step` is how many times the work is done
    between two counts of instructions, each for `units` requests, spans or calls. `needs` names the modules without
    which it cannot take part.
    """

    name: str
    title: str
    make: Callable[[SpanProcessor], Work]
    base: str | None = None
    step: int = 200
    units: int = 1
    needs: tuple[str, ...] = ()
