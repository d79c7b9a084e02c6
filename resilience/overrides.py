"""What the code at hand wants for its calls alone: laid over the settings of whatever origin it calls."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from .origins import laid
from .settings import ResilienceSettings

__all__ = ["FallbackCall", "Override", "at_hand", "enter", "leave"]

FallbackCall = Callable[[Any], object]
"""Gets the error or the failed result; returns a result of the same client library, on a loop also an awaitable.
`Any`, because a function that says which of them it takes is no `Callable[[object], object]`."""


class Override:
    """Values by the names of `ResilienceSettings`, and `fallback`. Immutable; `key` is what pipelines are kept by."""

    __slots__ = ("alone", "fallback", "key", "maker", "outer", "values")

    def __init__(
        self,
        values: Mapping[str, object],
        fallback: FallbackCall | None = None,
        outer: "Override | None" = None,
        maker: object = None,
    ) -> None:
        self.values = dict(values)
        self.fallback = fallback
        self.outer = outer
        self.maker = maker
        """Who laid it over the outer one, and alone may take it away."""
        self.alone: tuple[Override, bool] | None = None
        """What it was made of besides the outer one, as `enter` was given it."""
        # Not the callable itself: many are made anew for each call.
        self.key = (tuple(sorted(self.values.items())), fallback is not None)

    @property
    def times_chosen(self) -> bool:
        """Whether it says how long a call may take: then no other wish of the code about that counts."""
        return not self.values.keys().isdisjoint(("attempt_timeout", "total_timeout"))

    def over(self, settings: ResilienceSettings) -> ResilienceSettings:
        """The settings of an origin under this override. What an attempt gains, the total gains."""
        values = dict(self.values)
        attempt = values.get("attempt_timeout")
        if isinstance(attempt, float | int) and attempt > settings.attempt_timeout:
            values.setdefault("total_timeout", settings.total_timeout + attempt - settings.attempt_timeout)
        return laid(settings, values)


at_hand: ContextVar[Override | None] = ContextVar("handrail_policy", default=None)
"""The override of the code that runs; read once for each call, where its pipeline is looked up."""


def enter(alone: Override, *, has_fallback: bool) -> None:
    """Lay an override over the one in force, name by name. `has_fallback`: its `fallback` is meant, also where None."""
    outer = at_hand.get()
    if outer is None:
        at_hand.set(alone)
        return
    fallback = alone.fallback if has_fallback else outer.fallback
    laid_over = Override({**outer.values, **alone.values}, fallback, outer, alone.maker)
    laid_over.alone = alone, has_fallback
    at_hand.set(laid_over)


def leave(maker: object) -> None:
    """Back to what was in force outside.

    No token: a block may be left in another context than it was entered in, where there is nothing to take away.
    """
    inner = at_hand.get()
    over: list[tuple[Override, bool]] = []
    while inner is not None and inner.maker is not maker:
        over.append(inner.alone or (inner, True))
        inner = inner.outer
    if inner is None:
        return
    at_hand.set(inner.outer)
    # Generators that are consumed side by side leave their blocks in another order: those laid over it stay.
    for alone, has_fallback in reversed(over):
        enter(alone, has_fallback=has_fallback)
