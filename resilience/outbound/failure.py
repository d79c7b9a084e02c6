"""What the pipeline knows of an error that leaves it: a note for whoever answers for the error later."""

from dataclasses import dataclass

__all__ = ["Failure", "failure_of", "mark"]

_NAME = "__handrail__"


@dataclass(frozen=True, slots=True)
class Failure:
    """`attempts` calls to `target` failed, the last by `cause` (a verdict's cause)."""

    target: str
    attempts: int
    cause: str


def mark(error: BaseException, failure: Failure) -> None:
    """Attach the failure; the error itself stays as it is."""
    error.__dict__[_NAME] = failure


def failure_of(error: BaseException) -> Failure | None:
    """The failure attached to an error, if it came out of a pipeline."""
    found = error.__dict__.get(_NAME)
    return found if isinstance(found, Failure) else None
