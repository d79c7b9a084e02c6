"""What the pipeline knows of a failure that leaves it: a note for whoever answers for it later."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..classify import CUT_SHORT

if TYPE_CHECKING:
    from ..call import Call

__all__ = ["Failure", "concerns", "failure_of", "mark"]

_NAME = "__handrail__"


@dataclass(frozen=True, slots=True)
class Failure:
    """`attempts` calls to `target` failed, the last by `cause` (a verdict's cause).

    `used_up`: another would have been allowed, were there not enough of them; nobody further out should add any.
    """

    target: str
    attempts: int
    cause: str
    used_up: bool = False

    @classmethod
    def of(cls, call: "Call[Any]") -> "Failure":
        """That of a call that is over."""
        return cls(call.target, call.attempt, call.verdict.cause, call.used_up or call.attempt > 1)


def concerns(call: "Call[Any]") -> bool:
    """Whether the call failed by its peer or by its time, and not by a mistake of ours.

    On a thread what the caller's deadline cut off ends in the library's own timeout.
    """
    return call.verdict.transient or call.verdict is CUT_SHORT


def mark(failed: object, failure: Failure) -> None:
    """Attach the failure to an error, or to the response that is one, where it can be; nothing else of it changes."""
    with suppress(AttributeError):
        failed.__dict__[_NAME] = failure


def failure_of(failed: object) -> Failure | None:
    """The failure attached to an error or a response, if it came out of a pipeline."""
    found = getattr(failed, "__dict__", {}).get(_NAME)
    if found is None and isinstance(failed, TimeoutError):  # what aiohttp makes of a cancellation of its own
        found = getattr(failed.__cause__, "__dict__", {}).get(_NAME)
    return found if isinstance(found, Failure) else None
