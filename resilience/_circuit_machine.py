"""pybreaker, as far as it serves: the three states, their storage and the listener that hears of a change.

Its `call()` holds a lock while the call runs, and its `calling()` lets every concurrent call through in half-open;
so admission, counting and time are decided in `circuit`, and neither is ever used.
"""

import pybreaker

__all__ = ["Machine"]


class Machine(pybreaker.CircuitBreakerListener):
    """The state of one circuit. Whoever shares it among threads holds a lock."""

    def __init__(self, target: str) -> None:
        self.before = self.after = "closed"
        """The last change."""
        self._breaker = pybreaker.CircuitBreaker(name=target, listeners=[self])
        self.open = self._breaker.open
        self.half_open = self._breaker.half_open
        self.close = self._breaker.close

    @property
    def state(self) -> str:
        """closed, open or half_open."""
        return _spelled(self._breaker.current_state)

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,  # noqa: ARG002 (pybreaker's signature)
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        """Keep the change; it is told once the locks are free."""
        self.before = _spelled(old_state.name) if old_state is not None else self.after
        self.after = _spelled(new_state.name)


def _spelled(state: str) -> str:
    return state.replace("-", "_")
