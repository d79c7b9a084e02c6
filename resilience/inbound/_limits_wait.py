"""Begins to wait, and says whether there is anything to wait for: a timer is made only then."""

from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Begun"]

T = TypeVar("T")
_TAKEN = object()


class Begun(Generic[T]):
    """An awaitable after its first step. `done`: it did not stop, `value` is there; else await this for the rest.

    Most bodies are here before the app asks for them. What the first step handed to the event loop is handed on
    unchanged, on asyncio and on trio.
    """

    __slots__ = ("_first", "_steps", "done", "value")

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self._steps: Any = awaitable.__await__()
        self.value: Any = None
        self._first: object = _TAKEN
        try:
            self._first = next(self._steps)
        except StopIteration as end:
            self.done, self.value = True, end.value
        else:
            self.done = False

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
