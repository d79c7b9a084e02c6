"""The one protocol of all policies: wrap the next step, on a loop and on a thread."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from .call import Call
from .clock import Clock, Jitter, SystemClock, system_random
from .events import Listener, Listeners
from .outbound.headers import HeaderNames

__all__ = ["Next", "NextSync", "Policy", "Tools"]

R = TypeVar("R")
Next = Callable[[Call[R]], Awaitable[R]]
NextSync = Callable[[Call[R]], R]


@dataclass(frozen=True, slots=True)
class Tools:
    """All that a policy may use besides its settings."""

    clock: Clock = field(default_factory=SystemClock)
    jitter: Jitter = system_random
    emit: Listener = field(default_factory=Listeners)
    headers: HeaderNames = field(default_factory=HeaderNames)
    """The names under which attempts tell the peer of themselves."""


class Policy(Protocol):
    """Decides about a call before, after and around the steps inside it.

    State lives in the policy, never in the wrapped function; both forms share it. `repr` is
    what `print(pipeline)` shows. Ours bind what their steps use as defaults of parameters: cells of a closure are
    objects, and dozens of them for each origin cost a service that calls thousands more than all policies.
    """

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop. `asyncio.CancelledError` passes through uncounted."""
        ...

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread; no lock is held while `call_next` runs."""
        ...
