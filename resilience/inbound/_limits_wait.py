"""The rest of an await whose first step was made by hand: to know whether there is anything to wait for."""

from collections.abc import Generator
from typing import Any, Generic, TypeVar

__all__ = ["Begun"]

T = TypeVar("T")
_TAKEN = object()


class Begun(Generic[T]):
    """An awaitable: `steps` are those of another one, `first` is what its first step handed to the event loop.

    That is handed on unchanged, on asyncio and on trio.
    """

    __slots__ = ("_first", "_steps")

    def __init__(self, steps: Any, first: object) -> None:
        self._steps = steps
        self._first = first

    def __await__(self) -> Generator[Any, Any, T]:
        return self  # type: ignore[return-value] # all of a generator that an await uses

    def __next__(self) -> object:
        return self.send(None)

    def send(self, value: object) -> object:
        """What the first step handed out, then the further steps."""
        first, self._first = self._first, _TAKEN
        if first is not _TAKEN:
            return first
        return next(self._steps) if value is None else self._steps.send(value)

    def throw(self, *error: Any) -> object:
        """Into the awaitable, where it takes that."""
        self._first = _TAKEN
        if hasattr(self._steps, "throw"):
            return self._steps.throw(*error)
        raise error[0]

    def close(self) -> None:
        """Give it up."""
        if hasattr(self._steps, "close"):
            self._steps.close()
