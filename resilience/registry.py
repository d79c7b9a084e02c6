"""One pipeline for each origin of this process, and never more than a set number of them."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import fields
from itertools import islice

from ._forked import watch
from ._origin_state import OriginState
from ._routes import matching
from .circuit import CircuitBreaker
from .defaults import Plan
from .fallback import Fallback
from .origins import Key, OriginRule, ascii_name, fitting, laid_by, text_of
from .overrides import Override, at_hand
from .pipeline import Pipeline
from .policy import Tools
from .settings import ResilienceSettings

__all__ = ["Entry", "Registry"]

_VARIANTS = 32
"""Pipelines of one origin under different policies of the code, kept at a time."""
_ROOM = 8  # one sweep frees an eighth, so that a crawl does not sweep for every new origin


class Entry:
    """What is kept for one origin."""

    __slots__ = (
        "_others",
        "_plan",
        "breaker",
        "pipeline",
        "routes",
        "settings",
        "state",
        "target",
        "times_chosen",
        "used",
    )

    def __init__(self, plan: Plan, state: OriginState, breaker: CircuitBreaker | None = None) -> None:
        self.target = state.target
        """The origin as text, without its scheme's default port: `http://host:8003`."""
        self.settings = plan.settings
        """Those of this origin."""
        self.state = state
        self.breaker = breaker or state.breaker
        """The circuit breaker of this origin, or of one route of it."""
        self.routes = plan.settings.breaker_routes if breaker is None else ()
        """Paths with breakers of their own: where there are any, ask `route`."""
        self.pipeline: Pipeline = plan.pipeline(state, self.breaker)
        self.used = False
        """Asked for again since it was made, or since the last sweep."""
        self.times_chosen = False
        """Whether the code said by `handrail.policy` how long its calls may take: no other wish of its counts then."""
        self._plan = plan
        self._others: dict[object, Entry] | None = None  # by route (its pattern), or by what tells overrides apart

    def route(self, path: str) -> "Entry":
        """The same origin with the breaker of the route that a path belongs to, where it has one."""
        pattern = matching(self.routes, path)
        if pattern is None:
            return self
        found = None if self._others is None else self._others.get(pattern)
        if found is None:
            found = Entry(self._plan, self.state, self.state.route(pattern))
            found.times_chosen = self.times_chosen
            if isinstance(self.pipeline.policies[0], Fallback):
                found.pipeline = found.pipeline.within(self.pipeline.policies[0])
            self._keep(pattern, found)
        return found

    def _keep(self, key: object, other: "Entry") -> None:
        # Without a lock: two threads that cross make two of them, which are the same in all that counts.
        others = self._others
        if others is None or len(others) >= _VARIANTS + len(self.routes):
            others = self._others = {}
        others[key] = other

    def breakers(self) -> list[CircuitBreaker]:
        """That of the origin, and those of its routes that were called."""
        return [self.state.breaker, *self.state.routes.copy().values()]

    def under(self, override: Override) -> "Entry":
        """The same origin under an override: a pipeline of its own around the same state."""
        found = None if self._others is None else self._others.get(override.key)
        if found is None:
            found = Entry(self._plan.under(override), self.state)
            found.times_chosen = override.times_chosen
            if override.fallback is not None:
                found.pipeline = found.pipeline.within(Fallback(tools=self._plan.tools))
            self._keep(override.key, found)
        return found

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with it: the cheap first look of a sweep."""
        state, permits = self.state, self.state.permits
        if self.used or permits.held or permits.waiting or not state.breaker.calm:
            return False
        return not state.routes or all(one.calm for one in self.breakers())

    def _worth(self) -> tuple[bool, float, bool, bool]:
        """Sorts what may be forgotten first to the front: calls under way last, an open breaker, failures, use."""
        breakers, permits = self.breakers(), self.state.permits
        busy = bool(permits.held or permits.waiting)  # forgotten, it would let as many again in beside them
        opened = max(2 if one.isolated else one.retry_after() > 0 for one in breakers)
        return busy, opened, any(one.failure_rate() > 0 for one in breakers), self.used


class Registry:
    """The pipelines of all origins, made when first asked for. Safe for threads."""

    def __init__(
        self,
        settings: ResilienceSettings | None = None,
        tools: Tools | None = None,
        rules: Iterable[OriginRule] = (),
    ) -> None:
        self.settings = settings or ResilienceSettings()
        self.tools = tools or Tools()
        self.rules = tuple(rules)
        """What is set for single origins."""
        self.on_new: list[Callable[[], None]] = []
        """Called when an origin is met for the first time."""
        self._entries: dict[Key, Entry] = {}
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._lock = threading.Lock()
        watch(self)

    def in_child(self) -> None:
        """After a fork: the places of calls that are under way in the parent are free here, and every lock is."""
        self._lock = threading.Lock()
        for key, entry in list(self._entries.items()):
            state = entry.state.in_child()
            if state is not entry.state:
                self._entries[key] = Entry(entry._plan, state)

    def pipeline(self, scheme: str, host: str, port: int) -> Entry:
        """The entry of an origin, as the policy of the code at hand has it; scheme and host in lower case, IPv6
        without brackets.
        """
        entry = self._entries.get((scheme, host, port))
        if entry is None:
            entry = self._make((scheme, host, port))
        else:
            entry.used = True
        override = at_hand.get()
        return entry if override is None else entry.under(override)

    def renew(self, settings: ResilienceSettings, rules: Iterable[OriginRule] = ()) -> None:
        """Let other settings hold for the next calls; those under way keep theirs.

        What is remembered of an origin is kept, but for what has changed settings of its own.
        """
        with self._lock:
            self.settings, self.rules, self._plans = settings, tuple(rules), {}
            for key, entry in list(self._entries.items()):
                now = self._plan(key)
                if now.settings != entry.settings:
                    fresh = Entry(now, _renewed(entry, now))
                    fresh.used = entry.used
                    self._entries[key] = fresh

    def entries(self) -> list[Entry]:
        """All that is kept, by target."""
        with self._lock:
            return sorted(self._entries.values(), key=lambda entry: entry.target)

    def _make(self, key: Key) -> Entry:
        if not key[1].isascii():  # some client libraries say a name in letters, others as the DNS has it: one origin
            name, at, socket = key[1].partition("@")
            key = (key[0], f"{ascii_name(name)}{at}{socket}", key[2])
            entry = self._entries.get(key)
            if entry is not None:
                entry.used = True
                return entry
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                if len(self._entries) >= self.settings.max_origins:
                    self._sweep()
                plan = self._plan(key)
                entry = self._entries[key] = Entry(plan, plan.state(text_of(key)))
        for told in self.on_new:
            told()
        return entry

    def _plan(self, key: Key) -> Plan:
        """The plan of an origin: one for all that the same rules fit. Called under the lock."""
        fit = fitting(self.rules, key) if self.rules else ()
        patterns = tuple([rule.pattern for rule in fit]) if fit else ()
        plan = self._plans.get(patterns)
        if plan is None:
            plan = self._plans[patterns] = Plan(laid_by(self.settings, fit), self.tools)
        return plan

    def _sweep(self) -> None:
        room = max(1, len(self._entries) // _ROOM)
        # A crawl comes by once: nearly always the oldest are idle, and the dear comparison of all is spared.
        gone = list(islice((key for key, entry in self._entries.items() if entry.idle), room))
        if len(gone) < room:
            # Where all have calls under way, those keep the pipeline that they run in; only its memory ends with it.
            worth = sorted(((entry._worth(), key) for key, entry in self._entries.items()), key=lambda pair: pair[0])
            gone = [key for _, key in worth[:room]]
        for key in gone:
            del self._entries[key]
        for entry in self._entries.values():
            entry.used = False


def _renewed(entry: Entry, plan: Plan) -> OriginState:
    """What is remembered of an origin, for other settings: new is only what these concern."""
    state, settings = plan.state(entry.target), plan.settings
    new = [spec.name for spec in fields(settings) if getattr(settings, spec.name) != getattr(entry.settings, spec.name)]
    for slot in OriginState.__slots__:
        if slot != "budget" or not any(name.startswith("retry_budget") for name in new):
            setattr(state, slot, getattr(entry.state, slot))
    # Other numbers are no reason to let calls through again, least of all where a hand holds it open.
    state.routes = {
        route: held for route, held in entry.state.routes.copy().items() if route in settings.breaker_routes
    }
    for breaker in (state.breaker, *state.routes.values()):
        breaker.retune(plan.rules)
    return state
