"""Errors of ours as a client library's own kind too, so that `except` clauses written for that library hold; and
the one thing that is to be known of the errors of all libraries.
"""

import ssl
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .. import errors

__all__ = ["Kinds", "distrusts", "dressed", "in_place", "renewed"]

Kinds = dict[type[errors.HandrailError], type[errors.HandrailError]]
"""Each error of ours, and the class that is the library's as well."""

_DEPTH = 8
_DROPPED = ("pool", "_pool")  # they hold locks and sockets, which nothing can pickle


def dressed(where: str, refused: type[Exception], late: type[Exception], *of: str) -> Kinds:
    """The classes for one library. `where`: the module whose `kinds(*of)` gives them again to another process.

    Nothing was sent: as after a refused connection. A time limit: the peer may have acted.
    """
    kinds = {
        errors.CircuitOpen: refused,
        errors.BulkheadFull: refused,
        errors.RetryBudgetSpent: refused,
        errors.Throttled: refused,
        errors.AttemptTimedOut: late,
        errors.DeadlineExceeded: late,
    }
    return {ours: _both((where, *of), theirs, ours) for ours, theirs in kinds.items()}


def in_place(kinds: Kinds, error: errors.HandrailError) -> errors.HandrailError:
    """The same object, of the other class: traceback, notes and causes stay."""
    kind = kinds.get(type(error))
    if kind is not None:
        error.__class__ = kind
    return error


def renewed(kinds: Kinds, error: errors.HandrailError) -> errors.HandrailError:
    """The same where the library's errors are OSErrors, whose objects are laid out otherwise: a new one."""
    kind = kinds.get(type(error))
    if kind is None:
        return error
    again = errors.restored(kind, error.args)
    again.__dict__.update(error.__dict__)
    again.__cause__, again.__context__ = error.__cause__, error.__context__
    again.__suppress_context__ = error.__suppress_context__
    return again.with_traceback(error.__traceback__)


def distrusts(error: BaseException | None) -> bool:
    """Whether a certificate was refused, which no further attempt will change."""
    for _ in range(_DEPTH):
        if error is None:
            return False
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None  # urllib3 wraps so
        error = inner or error.__cause__ or error.__context__
    return False


# The library's class first: where a handler is looked up along the class's bases, the app's own
# one for the library's errors is found before one for HandrailError or TimeoutError.
def _both(where: tuple[str, ...], theirs: type[Exception], ours: type[errors.HandrailError]) -> Any:
    def reduce(self: errors.HandrailError) -> tuple[object, ...]:
        state = {name: value for name, value in self.__dict__.items() if name not in _DROPPED}
        return _restored, (where, ours, self.args), state

    def text(self: errors.HandrailError) -> str:
        return ours.__str__(self)

    told = {"__doc__": ours.__doc__, "__module__": ours.__module__, "__reduce__": reduce, "__str__": text}
    bases: tuple[Any, ...] = (theirs, ours)
    return type(ours.__name__, bases, told)


def _restored(
    where: tuple[str, ...], ours: type[errors.HandrailError], args: tuple[object, ...]
) -> errors.HandrailError:
    # The class has no name that pickle could find, and another process may lack the library.
    try:
        kinds: Callable[..., Kinds] = import_module(where[0]).kinds
        kind = kinds(*where[1:])[ours]
    except ImportError:
        kind = ours
    return errors.restored(kind, args)
