"""A callable together with the context in which it was handed over.

Only OpenTelemetry's context travels, and what `install` is told besides. All context variables would be wrong: those
of others (a database session, the request of a framework) rely on a thread to be a clean place.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import Any, ParamSpec, TypeVar, cast

from opentelemetry.context import Context, attach, detach, get_current

from ._lent import outliving
from ._work import capture, context_of, refuse_generators

__all__ = ["Arrived", "Carried", "Travel", "Values", "call_with", "carry"]

P = ParamSpec("P")
R = TypeVar("R")

Function = Callable[..., Any]
Arrived = Callable[[Function, dict[str, str]], Function]
"""What makes a callable again out of a function and a carrier, in the process that unpickles them."""

Values = Sequence[tuple[ContextVar[Any], object]]


class Carried:
    """Calls `fn` in `context`. Every other attribute is the function's own; so is what pickle can do with it."""

    __slots__ = ("_arrived", "_context", "_fn", "_values")

    def __init__(self, fn: Function, context: Context, values: Values = (), arrived: "Arrived | None" = None) -> None:
        self._fn = fn
        self._context = context
        self._values = values
        self._arrived = arrived or _arrived

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        token = attach(self._context)
        try:
            if self._values:
                return call_with(self._values, self._fn, args, kwargs)
            return self._fn(*args, **kwargs)
        finally:
            detach(token)

    def __getattr__(self, name: str) -> Any:
        if name in Carried.__slots__:
            raise AttributeError(name)  # half made
        return getattr(self._fn, name)

    def __reduce__(self) -> tuple[Arrived, tuple[Function, dict[str, str]]]:
        carrier = capture(self._context)
        for _, value in self._values:  # those that can be written down say so themselves
            carrier.update(getattr(value, "carrier", dict)())
        return self._arrived, (self._fn, carrier)


def _arrived(fn: Function, carrier: dict[str, str]) -> Function:
    return Carried(fn, context_of(carrier))


def call_with(values: Values, fn: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call `fn` with these variables set, and set them back."""
    tokens: list[Token[Any]] = [variable.set(value) for variable, value in values]
    try:
        return fn(*args, **kwargs)
    finally:
        for token in tokens:
            token.var.reset(token)


class Travel:
    """What goes into an executor or a thread: OpenTelemetry's context, and these variables where they are not None."""

    __slots__ = ("_arrived", "_variables", "_whole")

    def __init__(
        self, variables: Sequence[ContextVar[Any]], arrived: Arrived | None, brief: Sequence[ContextVar[Any]] = ()
    ) -> None:
        self._variables = variables
        self._whole = (*variables, *brief)
        self._arrived = arrived

    def __call__(self, fn: Function) -> Function:
        """`fn` with what is current now; `fn` itself where nothing is."""
        context = get_current()
        values = _values(self._whole)
        if (not context and not values) or type(fn) is Carried or not callable(fn):
            return fn
        return Carried(fn, context, values, self._arrived)

    def into_thread(self) -> Values:
        """The variables that a new thread is given, and their values."""
        return _values(self._variables)


def _values(variables: Sequence[ContextVar[Any]]) -> Values:
    found: Values = ()
    for variable in variables:
        value = variable.get(None)
        if value is not None:
            found = (*found, (variable, value))
    return found


def carry(fn: Callable[P, R], values: Values = ()) -> Callable[P, R]:
    """`fn` for a queue inside this process: wherever and whenever it is called, it runs in the context of now.

        queue.put(handrail.carry(job))      the worker calls what it gets

    Spans that it begins are children of the span that is current now, also where that has ended by then; the
    worker's own context is back afterwards. `values` of other variables go with it. Sync and async functions;
    arguments, result and exceptions pass unchanged. (Java calls this `Context.wrap`, Node `context.bind`.) For
    another process see `capture`.

    Raises TypeError for generator functions: they run step by step, each in the context of whoever asks for it.
    """
    refuse_generators(fn, "carry")
    context = outliving(get_current())
    call: Function = fn

    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004 (its kind matters)

        async def run_async(*args: Any, **kwargs: Any) -> Any:
            token = attach(context)
            tokens = [variable.set(value) for variable, value in values]
            try:
                result = await call(*args, **kwargs)
            except GeneratorExit:
                raise  # thrown away with its event loop, in a context that is not ours to restore
            except BaseException:
                _restore(token, tokens)
                raise
            _restore(token, tokens)
            return result

        return cast("Callable[P, R]", functools.update_wrapper(run_async, fn))

    def run(*args: Any, **kwargs: Any) -> Any:
        token = attach(context)
        try:
            return call_with(values, call, args, kwargs)
        finally:
            detach(token)

    return cast("Callable[P, R]", functools.update_wrapper(run, fn))


def _restore(token: Token[Context], tokens: list[Token[Any]]) -> None:
    for one in tokens:
        one.var.reset(one)
    detach(token)
