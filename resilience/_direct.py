"""The steps that nearly every attempt takes, in one coroutine.

`CircuitBreaker > Bulkhead > AttemptTimeout > call` comes to a few plain statements where the circuit is closed, a place
is free and the time is bound; as four coroutines, one in the other, it costs twice as much. Whatever is otherwise is
left to the layers before anything was done, so each rule is decided in its own file. What is here must keep in step
with `CircuitBreaker.wrap`, `Bulkhead.wrap`, `AttemptTimeout.wrap` and `Pipeline`'s innermost step:
tests/resilience/test_direct.py plays the same faults to both.
"""

from collections.abc import Callable
from contextvars import Token
from math import inf
from typing import Any, Protocol, TypeVar

from ._permits import Permits, Waiter
from .bulkhead import Bulkhead
from .call import Call, under_way
from .circuit import CircuitBreaker, counted
from .classify import OK, PROXY_STATUS, Count, relayed
from .clock import Timer
from .policy import Next, Policy
from .timeouts import AttemptTimeout

__all__ = ["direct"]

R = TypeVar("R")


class Layers(Protocol):
    """The step that the policies come to by themselves; made late, as most origins never need it."""

    def step(self) -> Next[Any]:
        """The same one each time."""
        ...


def direct(policies: tuple[Policy, ...], layers: Layers) -> Next[Any]:
    """One step for these policies, if they are the usual three; else the layers."""
    if tuple(map(type, policies)) == (CircuitBreaker, Bulkhead, AttemptTimeout):
        breaker, bulkhead, attempt = policies
        assert isinstance(breaker, CircuitBreaker)
        assert isinstance(bulkhead, Bulkhead)
        assert isinstance(attempt, AttemptTimeout)
        if not breaker._rules.slow_call and bulkhead._adaptive is None:
            return _direct(breaker, bulkhead, attempt, layers)
    return layers.step()


def _direct(breaker: CircuitBreaker, bulkhead: Bulkhead, attempt: AttemptTimeout, layers: Layers) -> Next[Any]:
    permits = bulkhead.permits

    async def run(  # bound as `Policy` says
        call: "Call[R]",
        breaker: "CircuitBreaker" = breaker,
        bulkhead: "Bulkhead" = bulkhead,
        attempt: "AttemptTimeout" = attempt,
        layers: "Layers" = layers,
        permits: "Permits" = permits,
        waiting: "list[Waiter]" = permits.waiting,
        now: "Callable[[], float]" = attempt._now,
        seconds: "float" = attempt._seconds,
        success: "Count" = Count.SUCCESS,
    ) -> "R":
        window = breaker._window
        began, limit = now(), call.attempt_timeout
        ends = began + (seconds if limit is None else limit)
        if call.ends < ends:
            ends = call.ends
        usual = not waiting and call.stale is None and began < ends < inf
        if window is None or not usual or not permits.take(bulkhead.limit):
            permits.serve()  # a place that was taken for a moment may have kept a waiter from it
            result: R = await layers.step()(call)
            return result
        call.attempt_ends = ends
        ours = True
        try:
            try:
                call.timer = timer = attempt.timer_of(ends - began)
                timer.spare = call.ends - ends
                timer.__enter__()  # a `with` would cost more than the rest of the timer
                token = under_way.set(call)
                try:
                    result = await call.wire.send(call)
                except BaseException as error:
                    ours = not isinstance(error, TimeoutError)
                    _failed(call, error, token, timer)
                    raise
                timer.__exit__(None, None, None)
                under_way.reset(token)
                verdict = call.verdict = call.wire.judge(result)
                if verdict is not OK:
                    call.verdict = verdict = relayed(verdict, call.wire.header(result, PROXY_STATUS))
            except TimeoutError:
                if not ours:
                    raise
                raise attempt._expired(call, began) from None
            finally:
                permits.release()
        except BaseException as error:
            breaker._settle(window, call, counted(call, error))
            raise
        if verdict.count is success and window is breaker._window and breaker._now() < window.ends:
            window.fresh += 1  # no lock: nearly every call ends here
        else:
            breaker._settle(window, call, verdict.count, result=result)
        return result

    return run


def _failed(call: Call[Any], error: BaseException, token: Token[Call[Any] | None], timer: Timer) -> None:
    """Judge what was raised, and end the timer; raises its TimeoutError where it is the one that ended the call."""
    try:
        call.verdict = call.wire.judge_error(error)
        if not isinstance(error, GeneratorExit):  # collected, in whatever context the collector runs
            under_way.reset(token)
    finally:
        timer.__exit__(type(error), error, error.__traceback__)
