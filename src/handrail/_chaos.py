"""Faults on purpose in this process: one book of them, and the places where it is asked; there are none without it.

Either the settings switch them on (`chaos = true`), or a test does for the time of a block (`handrail.chaos.inject`).
"""

import functools
import importlib
import sys
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import _shapes
from ._shapes import ASGIApp
from .resilience.chaos.book import Book
from .resilience.chaos.fault import Fault
from .resilience.chaos.rule import Rule
from .resilience.chaos.text import parsed

if TYPE_CHECKING:
    from ._wire import Process

__all__ = ["BOOK", "Place", "add", "hold", "mark", "remove", "switch_on"]

CLIENTS = ("httpx", "httpx2", "aiohttp", "urllib3")

BOOK = Book()

_lock = threading.RLock()
_holders = 0
_undo: list[Callable[[], None]] = []
_marked: "weakref.WeakSet[Any]" = weakref.WeakSet()
_places: "weakref.WeakSet[Place]" = weakref.WeakSet()


class Place:
    """Where faults go into the layers of one application: around what `above.app` holds, while there are any."""

    def __init__(self, above: Any, within: ASGIApp, make: "Callable[[ASGIApp], ASGIApp]") -> None:
        vars(above)["_handrail_chaos"] = self  # it lives as long as the layers do
        while getattr(above, "app", within) is not within:
            above = above.app
        self._above = above
        self._within = within
        self._make = make
        with _lock:
            _places.add(self)
            if _holders:
                self.put()

    def put(self) -> None:
        """Stand there."""
        if self._above.app is self._within:
            self._above.app = self._make(self._within)

    def take(self) -> None:
        """Stand there no more."""
        self._above.app = self._within


def hold() -> Callable[[], None]:
    """Ask the book at every request and every call until the undo that is returned; it may be called once."""
    global _holders
    with _lock:
        _holders += 1
        if _holders == 1:
            for name in CLIENTS:
                _shapes.when_imported(name, _take_hold)
            for place in list(_places):
                place.put()
    return _let_go


def _let_go() -> None:
    global _holders
    with _lock:
        _holders -= 1
        if _holders:
            return
        while _undo:
            _undo.pop()()
        for place in list(_places):
            place.take()


def _take_hold(module: ModuleType) -> None:
    from .resilience.outbound import _chaos

    with _lock:
        if _holders:
            _undo.append(_chaos.install(module, BOOK))


def add(faults: tuple[Fault, ...], seed: object) -> tuple[Rule, ...]:
    """Switch faults on."""
    with _lock:
        return BOOK.add(faults, seed)


def remove(rules: tuple[Rule, ...]) -> None:
    """Switch them off."""
    with _lock:
        BOOK.remove(rules)


def switch_on(process: "Process") -> Callable[[], None]:
    """As the settings say, and say so; returns the undo."""
    settings = process.settings.faults
    listens(process)
    BOOK.secret = settings.chaos_secret
    rules = add(tuple(parsed(line) for line in settings.chaos_faults), settings.chaos_seed)
    let_go = hold()
    _say(process)
    if not process.settings.tracing.disabled:
        from opentelemetry import trace

        mark(trace.get_tracer_provider())  # the service's own, where it has set one already

    def undo() -> None:
        remove(rules)
        BOOK.secret = ""
        let_go()

    return undo


def listens(process: "Process") -> None:
    """Tell the traces and metrics of a process what happens, under its name."""
    BOOK.emit = process.listeners
    BOOK.service = process.settings.tracing.service_name


def _say(process: "Process") -> None:
    settings = process.settings.faults
    faults = settings.chaos_faults or ("none yet",)
    by = process.settings.origins.get("chaos", "default")
    lines = [
        f"handrail: CHAOS IS ON in {BOOK.service} (by {by}): faults on purpose, seed {settings.chaos_seed}",
        *(f"handrail: CHAOS   {line}" for line in faults),
    ]
    if settings.chaos_secret:
        lines.append("handrail: CHAOS   and those that a request brings in a signed header handrail-chaos")
    if sys.stderr is not None and not sys.stderr.closed:
        print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201 (nobody can have asked not to hear this)


def mark(provider: Any) -> None:
    """Have every SERVER and CLIENT span of a provider say that faults may be injected here."""
    add_span_processor = getattr(provider, "add_span_processor", None)
    if add_span_processor is not None and provider not in _marked:
        _marked.add(provider)
        add_span_processor(_marks()())


@functools.cache
def _marks() -> Any:
    """Made late: it is a class of the SDK's."""
    sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
    from opentelemetry.trace import SpanKind

    from .tracing import semconv

    kinds = (SpanKind.SERVER, SpanKind.CLIENT)

    def on_start(_self: object, span: Any, parent_context: object = None) -> None:  # noqa: ARG001 (its interface)
        if _holders and span.kind in kinds:
            span.set_attribute(semconv.CHAOS, True)

    return type("ChaosMarks", (sdk.SpanProcessor,), {"on_start": on_start})
