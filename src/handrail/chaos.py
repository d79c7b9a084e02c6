"""Faults on purpose, for tests and for trials: latency, errors, connections refused, hanging, reset; answers lost.

    from handrail.chaos import Fault, inject

    def test_payment_is_away(client):
        with inject(Fault("refuse", "out", where="http://payment:8003")):
            assert client.post("/orders", json=ORDER).status_code == 503

Everything else about them is in docs/chaos.md: the settings, the header, and why they are never on by accident.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .resilience.chaos.fault import Fault
from .resilience.chaos.header import LONGEST, NAME, SHORTEST_SECRET, signed
from .resilience.chaos.rule import Rule
from .resilience.chaos.text import parsed
from .resilience.clock import Clock, SystemClock
from .resilience.errors import SettingsError
from .resilience.inbound._chaos_drop import Dropped

__all__ = ["HEADER", "Dropped", "Fault", "Injected", "inject", "sign"]

HEADER = NAME
"""The name of the header that `sign` makes the value of."""


class Injected:
    """What a block of `inject` has come to."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = rules

    @property
    def count(self) -> int:
        """How many faults have happened."""
        return sum(rule.hits for rule in self._rules)

    @property
    def counts(self) -> dict[str, int]:
        """How often each of them has, by its line."""
        return {rule.text: rule.hits for rule in self._rules}


@contextmanager
def inject(*faults: Fault | str, seed: int = 0, clock: Clock | None = None) -> Iterator[Injected]:
    """Switch faults on for a block, in this whole process: its apps that are protected, its calls on all threads.

    A text is a fault as settings write it. The time of `after` and `until` begins with the block, by `clock` where one
    is given, which latency and hanging then wait by as well. Blocks may be nested, and need a test or the switch:

    Raises SettingsError where neither pytest runs a test nor `chaos` is set, and for a text that is no fault.
    """
    from . import _chaos, _wire

    process = _wire.current()
    if not (_tested() or (process is not None and process.settings.enabled and process.settings.faults.chaos)):
        raise SettingsError("chaos: faults are injected in tests that pytest runs, or where `chaos = true` is set")
    try:
        wanted = tuple(fault if isinstance(fault, Fault) else parsed(fault) for fault in faults)
    except ValueError as error:
        raise SettingsError(f"chaos: {error}") from error
    book = _chaos.BOOK
    before = book.clock, book.emit, book.service
    if process is not None:
        _chaos.listens(process)
    book.clock = clock or book.clock
    rules = _chaos.add(wanted, seed)
    let_go = _chaos.hold()
    try:
        yield Injected(rules)
    finally:
        let_go()
        _chaos.remove(rules)
        book.clock, book.emit, book.service = before


def sign(*faults: Fault | str, secret: str | None = None, seconds: float = 60.0) -> str:
    """The value of the header `handrail-chaos` that brings faults with a request, good for `seconds` (up to 3600).

    `secret` is the `chaos_secret` of the services; without it that of this folder and environment.
    Raises SettingsError for what cannot be signed.
    """
    if secret is None:
        from .settings import load

        secret = load().faults.chaos_secret
        if not secret:
            raise SettingsError("chaos_secret: is not set here; it has to be the one that the services have")
    if len(secret) < SHORTEST_SECRET:
        raise SettingsError(f"chaos_secret: must have at least {SHORTEST_SECRET} characters")
    if not 0 < seconds <= LONGEST:
        raise SettingsError(f"chaos: seconds must be from 0 to {LONGEST:g}")
    try:
        wanted = [fault if isinstance(fault, Fault) else parsed(fault) for fault in faults]
    except ValueError as error:
        raise SettingsError(f"chaos: {error}") from error
    return signed(wanted, secret, SystemClock().wall() + seconds)


def _tested() -> bool:
    """Whether pytest runs a test in this very process: its children have the variable, and no pytest."""
    return "pytest" in sys.modules and "PYTEST_CURRENT_TEST" in os.environ
