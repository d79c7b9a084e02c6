"""All faults that are switched on in this process, and what they come to for one request or call."""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from contextvars import ContextVar, Token
from dataclasses import dataclass

from .._forked import watch
from ..clock import Clock, SystemClock
from ..events import FaultInjected, Listener
from .fault import Fault
from .header import FROM, NAME, Refused, verified
from .rule import Call, Request, Rule

__all__ = ["Book", "Plan"]

_log = logging.getLogger("handrail")
_MOST_HEADERS = 256

_carried: ContextVar[str] = ContextVar("handrail_chaos", default="")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen: first `delay` seconds, then `fault`, where there is one."""

    delay: float
    fault: Fault | None

    @property
    def kind(self) -> str:
        """That of the fault, else empty."""
        return "" if self.fault is None else self.fault.kind


class Book:
    """The rules in force. Of those that hit, all delays add up, and the first of the others happens."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.emit: Listener = _nobody
        self.secret = ""
        self.service = ""
        self._rules: tuple[tuple[Rule, float], ...] = ()
        self._brought: OrderedDict[str, tuple[tuple[Rule, ...], float]] = OrderedDict()
        self._said: set[str] = set()
        watch(self)

    def in_child(self) -> None:
        """After a fork."""
        for rule, _ in self._rules:
            rule.in_child()

    def add(self, faults: Iterable[Fault], seed: object) -> tuple[Rule, ...]:
        """Switch faults on; their time begins now."""
        began = self.clock.now()
        made = tuple(Rule(fault, f"{seed} {number}", self.service) for number, fault in enumerate(faults))
        self._rules += tuple((rule, began) for rule in made)
        return made

    def remove(self, rules: Iterable[Rule]) -> None:
        """Switch them off."""
        gone = set(rules)
        self._rules = tuple(one for one in self._rules if one[0] not in gone)

    @property
    def empty(self) -> bool:
        """Whether nothing can happen to anybody: no rule, and no header that would bring one."""
        return not self._rules and not self.secret

    def carry(self, value: str) -> Token[str]:
        """Take the header of a request on to the calls that it makes, in this context; returns what ends that."""
        return _carried.set(value)

    def end(self, token: Token[str]) -> None:
        """End what `carry` began."""
        _carried.reset(token)

    def headers(self) -> list[tuple[str, str]]:
        """What a call tells its peer."""
        told = [(FROM, self.service)] if self.service.isascii() and self.service.isprintable() else []
        carried = _carried.get()
        return [*told, (NAME, carried)] if carried else told

    def of_call(self, call: Call) -> Plan | None:
        """What happens to an attempt that is about to leave."""
        rules = [(rule, began) for rule, began in self._rules if rule.fits_call(call)]
        rules += [(rule, began) for rule, began in self._of(_carried.get()) if rule.fits_call(call)]
        if not rules:
            return None
        return self._plan(rules, f"{call.scheme}://{call.host}:{call.port}", call.method, "out")

    def of_request(self, request: Request, header: str) -> Plan | None:
        """What happens to a request that came, with this header of ours, or none."""
        rules = [(rule, began) for rule, began in self._rules if rule.fits_request(request)]
        rules += [(rule, began) for rule, began in self._of(header) if rule.fits_request(request)]
        return self._plan(rules, "", request.method, "in") if rules else None

    def _plan(self, rules: list[tuple[Rule, float]], target: str, method: str, direction: str) -> Plan | None:
        delay, found = 0.0, None
        now, wall = self.clock.now(), self.clock.wall()
        for rule, began in rules:
            late = rule.fault.kind == "latency"
            if (found is not None and not late) or not rule.drawn(now - began, wall):
                continue
            if late:
                delay += rule.fault.seconds
            else:
                found = rule.fault
            self.emit(FaultInjected(target, method, rule.fault.kind, direction, rule.text))
        return Plan(delay, found) if found is not None or delay else None

    def accepts(self, header: str) -> bool:
        """Whether a request's header is followed."""
        return bool(self._of(header))

    def _of(self, header: str) -> list[tuple[Rule, float]]:
        if not header:
            return []
        known = self._brought.get(header)
        wall = self.clock.wall()
        if known is None or wall >= known[1]:
            try:
                faults, until = verified(header, self.secret, wall)
            except Refused as why:
                self._refuse(why)
                return []
            # By the header: how often a fault has hit is counted for all requests that bring the same one.
            rules = tuple(Rule(fault, header, self.service) for fault in faults)
            known = self._brought.setdefault(header, (rules, until))
            while len(self._brought) > _MOST_HEADERS:
                self._brought.popitem(last=False)
        return [(rule, self.clock.now()) for rule in known[0]]

    def _refuse(self, refused: Refused) -> None:
        if refused.why not in self._said:
            self._said.add(refused.why)
            _log.warning("a header %s is not followed: %s (said once)", NAME, refused)


def _nobody(_event: object) -> None:
    """Nobody listens."""
