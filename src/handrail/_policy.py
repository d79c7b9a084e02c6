"""`handrail.policy`: what the code at hand wants for its own calls, as a block or as a decorator."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack, cast

from ._settings_values import Problem as Wrong
from ._settings_values import from_object, message
from .resilience._ranges import disallowed, together
from .resilience.errors import SettingsError
from .resilience.overrides import FallbackCall, Override, enter, leave

__all__ = ["PolicyOptions", "pipelines", "policy"]

P = ParamSpec("P")
R = TypeVar("R")

NUMBERS = ("attempts", "attempt_timeout", "total_timeout", "hedge_after", "stale_on_error")


class PolicyOptions(TypedDict, total=False):
    """What `handrail.policy(...)` takes; what is not given stays as it is for the origin that is called."""

    attempts: int
    """Attempts in all, the first included: 1 to 20."""
    attempt_timeout: float
    """Seconds for one attempt; where it is longer than that of the origin, the total grows with it."""
    total_timeout: float
    """Seconds for one call with all its attempts and pauses."""
    hedge_after: float
    """Seconds without an answer after which a safe call is sent a second time; 0: never."""
    stale_on_error: float
    """Seconds for which the last good answer to a GET may stand in for a failed one; 0: never."""
    idempotent: bool
    """True: the peer takes a POST or PATCH with the same Idempotency-Key for the same one, so give it a key and retry
    it; False: give it none."""
    fallback: FallbackCall | None
    """Called with the error or the failed response of a call that failed for good; its response stands in."""


class policy:  # noqa: N801 (read as a word in a `with` line, like contextlib.suppress)
    """Other settings for the outbound calls of a block, or of a function.

        with handrail.policy(attempts=1, total_timeout=2):          in `async def` as well: a plain `with`
            await client.get("http://stock:8002/items")

        @handrail.policy(idempotent=True, fallback=lambda failed: httpx.Response(202))
        async def charge(): ...

    Nested, the inner one is laid over the outer, name by name. Tasks begun in the block have it, and what it hands to
    an executor or `asyncio.to_thread`; a bare thread, which may serve for ever, has not. A call whose policy names a
    time is bound by that, whatever timeout its client has; the client's own timeouts still hold, for the client keeps
    them itself. One object may be used again and by many.

    Raises SettingsError at once for a wrong name or value.
    """

    __slots__ = ("_alone", "_has_fallback")

    def __init__(self, **options: Unpack[PolicyOptions]) -> None:
        values = _checked(cast("Mapping[str, object]", options))
        self._alone = Override(values, options.get("fallback"), maker=self)
        self._has_fallback = "fallback" in options

    def __enter__(self) -> None:
        enter(self._alone, has_fallback=self._has_fallback)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        leave(self)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Put the block around every call of a function, with or without `async`. TypeError for a generator."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                "handrail.policy cannot go around a generator: write `with handrail.policy(...)` inside, and no "
                "`yield` in the block: it would hold for whoever consumes the generator"
            )
        if inspect.iscoroutinefunction(function):
            made = cast("Callable[P, Any]", function)

            @wraps(function)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> object:
                with self:
                    return await made(*args, **kwargs)

            return cast("Callable[P, R]", run_async)

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return run


def pipelines() -> dict[str, str]:
    """What stands around the calls to each origin that this process has called so far, outermost first.

    Empty where handrail is not switched on. For an admin page or a test; `handrail doctor` tells it of the settings.
    """
    from ._wire import current

    process = current()
    return {entry.target: str(entry.pipeline) for entry in process.registry.entries()} if process is not None else {}


def _checked(options: Mapping[str, object]) -> dict[str, object]:
    """The options by the names of the settings."""
    from ._settings_resolve import KINDS

    values: dict[str, object] = {}
    wrong: list[Wrong] = []
    for name, value in options.items():
        try:
            if name in NUMBERS:
                values[name] = from_object(KINDS[name], value)
            elif name == "idempotent":
                if not isinstance(value, bool):
                    raise ValueError("must be true or false")
                values["idempotency_keys"] = "always" if value else "off"
            elif name != "fallback":
                raise ValueError(f"no such option of a policy; known are {', '.join(PolicyOptions.__annotations__)}")
            elif value is not None and not callable(value):
                raise ValueError("must be a function that takes the error or the failed response")
            allowed = disallowed(name, values[name]) if name in NUMBERS else None
            if allowed is not None:
                raise ValueError(f"must be {allowed}")
        except ValueError as error:
            wrong.append(Wrong(name, value, str(error), "policy"))
    if not wrong:
        wrong = [Wrong(name, value, f"must be {allowed}", "policy") for name, value, allowed in together(values)]
    if wrong:
        raise SettingsError(message(wrong))
    return values
