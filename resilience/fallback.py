"""Something else in place of a call that failed for good: what the code says, per call."""

import inspect
from contextlib import suppress
from typing import TypeVar

from .call import Call
from .classify import CUT_SHORT, FOREIGN, OK, Count
from .errors import HandrailError, SettingsError
from .events import FallbackUsed
from .overrides import FallbackCall, Override, at_hand
from .policy import Next, NextSync, Tools

__all__ = ["Fallback", "is_failure"]

R = TypeVar("R")


def is_failure(call: Call[R], error: Exception | None = None) -> bool:
    """Whether a call has failed for good: a HandrailError, a transient error, or a status that the breaker counts.

    Not a cancellation, not a mistake in the request, not an exception that the client library does not know.
    """
    verdict = call.verdict
    if error is None:
        # Also one that a peer relayed: to its breaker a success, to the caller none.
        return verdict.count is Count.FAILURE or verdict.transient
    if isinstance(error, HandrailError):
        return not isinstance(error, SettingsError)
    return verdict.transient or verdict.count is Count.FAILURE or verdict is CUT_SHORT


class Fallback:
    """Outermost: asks the `fallback` of the code at hand when everything inside has failed.

    It is called with the error or the failed result, and has the time that it takes: no deadline of ours binds it,
    except through the calls that it makes itself; those run under the same policy, without the fallback. What it
    raises goes up, with the first error as its `__context__`. Where it returns the failed result, that is the answer.
    """

    def __init__(self, *, tools: Tools | None = None) -> None:
        self._emit = (tools or Tools()).emit

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""

        async def run(call: "Call[R]") -> R:
            try:
                result = await call_next(call)
            except Exception as error:
                asked = _asked(call, error)
                if asked is None:
                    raise
                return await self._instead(call, asked, error, None)
            asked = _asked(call)
            return result if asked is None else await self._instead(call, asked, None, result)

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread."""

        def run(call: "Call[R]") -> R:
            try:
                result = call_next(call)
            except Exception as error:
                asked = _asked(call, error)
                if asked is None:
                    raise
                return self._instead_sync(call, asked, error, None)
            asked = _asked(call)
            return result if asked is None else self._instead_sync(call, asked, None, result)

        return run

    async def _instead(self, call: Call[R], asked: Override, error: Exception | None, result: R | None) -> R:
        cause = _cause(call, error)
        token = at_hand.set(Override(asked.values, None, asked.outer, asked.maker))
        given: object = result
        try:
            given = _function(asked)(result if error is None else error)
            if inspect.isawaitable(given):
                given = await given
        except BaseException as raised:
            given = None
            if raised is not error:
                call.verdict = FOREIGN
            raise
        finally:
            at_hand.reset(token)
            if result is not None and given is not result:
                with suppress(Exception):  # of no matter to anybody
                    await call.wire.discard(result)
        return self._told(call, cause, given, result)

    def _instead_sync(self, call: Call[R], asked: Override, error: Exception | None, result: R | None) -> R:
        cause = _cause(call, error)
        token = at_hand.set(Override(asked.values, None, asked.outer, asked.maker))
        given: object = result
        try:
            given = _function(asked)(result if error is None else error)
            if inspect.isawaitable(given):
                if inspect.iscoroutine(given):
                    given.close()
                raise TypeError("the fallback of a call on a thread returned an awaitable: write it without async")
        except BaseException as raised:
            given = None
            if raised is not error:
                call.verdict = FOREIGN
            raise
        finally:
            at_hand.reset(token)
            if result is not None and given is not result:
                with suppress(Exception):
                    call.wire.discard_sync(result)
        return self._told(call, cause, given, result)

    def _told(self, call: Call[R], cause: str, given: object, result: R | None) -> R:
        if given is not result:
            call.verdict = OK
            self._emit(FallbackUsed(call.target, call.operation, "fallback", cause))
        instead: R = given  # type: ignore[assignment] # what the code gives its own client library is its own word
        return instead

    def __repr__(self) -> str:
        return "Fallback()"


def _asked(call: Call[R], error: Exception | None = None) -> Override | None:
    """The override with a fallback, where there is one and the call has failed."""
    if not is_failure(call, error):
        return None
    override = at_hand.get()
    return override if override is not None and override.fallback is not None else None


def _function(override: Override) -> FallbackCall:
    assert override.fallback is not None
    return override.fallback


def _cause(call: Call[R], error: Exception | None) -> str:
    """What failed, in one word: the policy of an error of ours, else the cause of the last verdict."""
    return getattr(error, "policy", call.verdict.cause)
