"""Policies around a call, outermost first."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from .call import Call, discard_stale, discard_stale_sync, under_way
from .classify import OK, PROXY_STATUS, relayed
from .policy import Next, NextSync, Policy

__all__ = ["Pipeline"]

R = TypeVar("R")


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


class Pipeline:
    """An immutable nesting of policies; the first named is the outermost.

    `Pipeline(TotalTimeout(...), Retry(...), CircuitBreaker(...), AttemptTimeout(...))` runs as
    TotalTimeout(Retry(CircuitBreaker(AttemptTimeout(call)))), and `repr` says so.
    """

    __slots__ = ("_run", "_run_sync", "policies")

    def __init__(self, *policies: Policy) -> None:
        self.policies = policies
        # Each form is made by the first call that needs it: hardly an origin is called in both.
        self._run: Callable[[Call[Any]], Coroutine[Any, Any, Any]] | None = None
        self._run_sync: NextSync[Any] | None = None

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
        run: Next[Any] = _wire
        for policy in reversed(self.policies):
            run = policy.wrap(run)
        self._run = cast("Callable[[Call[Any]], Coroutine[Any, Any, Any]]", run)  # each is a coroutine function
        return self._run

    def _nested_sync(self) -> NextSync[Any]:
        run: NextSync[Any] = _wire_sync
        for policy in reversed(self.policies):
            run = policy.wrap_sync(run)
        self._run_sync = run
        return run

    def __repr__(self) -> str:
        return " > ".join([*(repr(policy) for policy in self.policies), "call"])
