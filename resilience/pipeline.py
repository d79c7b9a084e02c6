"""Policies around a call, outermost first."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar, cast

from ._direct import direct
from .call import Call, discard_stale, discard_stale_sync, under_way
from .classify import OK, PROXY_STATUS, relayed
from .policy import Next, NextSync, Policy

__all__ = ["Pipeline"]

R = TypeVar("R")

_DIRECT = 3
"""Policies, from the innermost on, that may be one step."""


async def _wire(call: Call[R]) -> R:
    try:
        if call.stale is not None:
            await discard_stale(call)
        token = under_way.set(call)
        try:
            result = await call.wire.send(call)
        except GeneratorExit:  # collected, in whatever context the collector runs
            raise
        except BaseException:
            under_way.reset(token)
            raise
        under_way.reset(token)
    except BaseException as error:
        call.verdict = call.wire.judge_error(error)
        raise
    verdict = call.verdict = call.wire.judge(result)
    if verdict is not OK:
        call.verdict = relayed(verdict, call.wire.header(result, PROXY_STATUS))
    return result


def _wire_sync(call: Call[R]) -> R:
    try:
        if call.stale is not None:
            discard_stale_sync(call)
        token = under_way.set(call)
        try:
            result = call.wire.send_sync(call)
        finally:
            under_way.reset(token)
    except BaseException as error:
        call.verdict = call.wire.judge_error(error)
        raise
    verdict = call.verdict = call.wire.judge(result)
    if verdict is not OK:
        call.verdict = relayed(verdict, call.wire.header(result, PROXY_STATUS))
    return result


def _around(policies: Iterable[Policy], run: Next[Any]) -> Next[Any]:
    for policy in policies:
        run = policy.wrap(run)
    return run


class _Layers:
    """The innermost policies of a pipeline, each in a step of its own, from the first call on that needs them so.

    It knows nothing of the pipeline, whose steps know of it: a forgotten origin is to be gone at once.
    """

    __slots__ = ("_core", "_outer", "_step")

    def __init__(self, outer: tuple[Policy, ...], core: "Pipeline | None") -> None:
        self._outer = outer
        self._core = core
        self._step: Next[Any] | None = None

    def step(self) -> Next[Any]:
        """All of them as one step."""
        if self._step is None:
            core = self._core
            run: Next[Any] = _wire if core is None else core._run or core._nested()
            self._step = _around(reversed(self._outer), run)
        return self._step


class Pipeline:
    """An immutable nesting of policies; the first named is the outermost.

    `Pipeline(TotalTimeout(...), Retry(...), CircuitBreaker(...), AttemptTimeout(...))` runs as
    TotalTimeout(Retry(CircuitBreaker(AttemptTimeout(call)))), and `repr` says so.
    """

    __slots__ = ("_core", "_run", "_run_sync", "policies")

    def __init__(self, *policies: Policy) -> None:
        self.policies = policies
        self._core: Pipeline | None = None
        # Each form is made by the first call that needs it: hardly an origin is called in both.
        self._run: Callable[[Call[Any]], Coroutine[Any, Any, Any]] | None = None
        self._run_sync: NextSync[Any] | None = None

    def within(self, *policies: Policy) -> "Pipeline":
        """The same with these policies around it; both share the steps of this one."""
        around = object.__new__(Pipeline)
        around.policies = policies + self.policies
        around._core = self
        around._run = around._run_sync = None
        return around

    def run(self, call: Call[R]) -> Coroutine[Any, Any, R]:
        """Drive the call on the running loop. Raises what the wire raised, or a HandrailError."""
        # As it is: a coroutine of its own would cost as much as a policy.
        result: Coroutine[Any, Any, R] = (self._run or self._nested())(call)
        return result

    def run_sync(self, call: Call[R]) -> R:
        """The same on the current thread."""
        result: R = (self._run_sync or self._nested_sync())(call)
        return result

    def _nested(self) -> Callable[[Call[Any]], Coroutine[Any, Any, Any]]:
        core = self._core
        if core is not None and len(core.policies) >= _DIRECT:
            run = _around(self._outer(), core._run or core._nested())
        else:
            inner = self.policies[-_DIRECT:]
            layers = _Layers(inner if core is None else inner[: len(inner) - len(core.policies)], core)
            run = direct(inner, layers)
            run = _around(reversed(self.policies[:-_DIRECT]), run)
        self._run = cast("Callable[[Call[Any]], Coroutine[Any, Any, Any]]", run)  # each is a coroutine function
        return self._run

    def _nested_sync(self) -> NextSync[Any]:
        core = self._core
        run: NextSync[Any] = _wire_sync if core is None else core._run_sync or core._nested_sync()
        for policy in self._outer():
            run = policy.wrap_sync(run)
        self._run_sync = run
        return run

    def _outer(self) -> Iterable[Policy]:
        """The policies that are not the core's, from the inside out."""
        inner = 0 if self._core is None else len(self._core.policies)
        return reversed(self.policies[: len(self.policies) - inner])

    def __repr__(self) -> str:
        return " > ".join([*(repr(policy) for policy in self.policies), "call"])
