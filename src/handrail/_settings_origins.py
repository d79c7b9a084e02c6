"""The settings of single origins, out of all sources: tables by pattern, laid over each other field by field."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ._settings_values import Kind, Problem, from_object
from .resilience.origins import PER_ORIGIN, OriginRule, laid, normal, sample, settings_of
from .resilience.settings import ResilienceSettings

__all__ = ["OriginTables", "source_name"]

_CREDENTIALS = re.compile(r"(//)[^/\"]*@")


def source_name(pattern: str, name: str) -> str:
    """The flat name of a setting of a pattern, as TOML writes it."""
    return f'origins."{pattern}".{name}'


@dataclass(frozen=True, slots=True)
class _Written:
    """A value with the name, the text and the place by which it was found."""

    value: object
    shown: str
    written: object
    origin: str


class OriginTables:
    """Takes the sources from the weakest to the strongest, then checks what they come to."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds
        self._tables: dict[str, dict[str, _Written]] = {}
        self._broken: set[str] = set()

    def take(self, shown: str, given: object, origin: str) -> list[Problem]:
        """Add one source; returns what cannot be used of it. `shown` is the name of the whole at that place."""
        if origin.startswith("environment"):
            try:
                given = json.loads(str(given))
            except (ValueError, RecursionError):
                allowed = 'must be JSON, such as {"http://payment:8003": {"attempts": 1}}'
                return [Problem(shown, given, allowed, "environment")]
        if not isinstance(given, Mapping):
            return [Problem(shown, given, f"must be {Kind.ORIGINS.value}", origin.partition(" ")[0])]
        place = origin.removesuffix(f" {shown}")
        problems: list[Problem] = []
        for pattern, table in given.items():
            problems += self._table(shown, pattern, table, place, origin)
        return problems

    def _table(self, shown: str, pattern: object, table: object, place: str, origin: str) -> list[Problem]:
        name = f'{shown}."{pattern}"'
        try:
            known = normal(pattern if isinstance(pattern, str) else "")
        except ValueError as error:
            return [Problem(_CREDENTIALS.sub(r"\1***@", name), table, str(error), place)]
        if not isinstance(table, Mapping):
            return [Problem(name, table, "must be a table of settings, such as {attempts = 1}", place)]
        problems: list[Problem] = []
        for key, value in table.items():
            wrong = self._value(known, f"{name}.{key}", str(key), value, origin)
            if wrong is not None:
                problems.append(Problem(f"{name}.{key}", value, wrong, place))
        return problems

    def _value(self, pattern: str, shown: str, name: str, value: object, origin: str) -> str | None:
        """Keep one value; returns what is allowed, where it is not."""
        if name not in PER_ORIGIN:
            return _unknown(name, self._kinds)
        try:
            taken = from_object(self._kinds[name], value)
        except ValueError as error:
            self._broken.add(pattern)
            return str(error)
        self._tables.setdefault(pattern, {})[name] = _Written(taken, shown, value, origin)
        return None

    def rules(self) -> tuple[OriginRule, ...]:
        """What is set, pattern by pattern."""
        return tuple(
            OriginRule(pattern, tuple((name, one.value) for name, one in table.items()))
            for pattern, table in self._tables.items()
        )

    def sources(self) -> dict[str, str]:
        """Where each value stands, by its flat name."""
        return {
            source_name(pattern, name): one.origin
            for pattern, table in self._tables.items()
            for name, one in table.items()
        }

    def problems(self, general: ResilienceSettings) -> list[Problem]:
        """Values that are out of range, or contradict others of the same origin."""
        rules = self.rules()
        if general.problems():
            return []  # said already, and nothing can be compared with it
        found: list[Problem] = []
        for rule in rules:
            if rule.pattern in self._broken:
                continue
            table = self._tables[rule.pattern]
            alone = laid(general, dict(rule.values)).problems()
            # Also beside the patterns that fit the same origins: each may be right by itself.
            together = [] if alone else settings_of(general, rules, sample(rule.pattern)).problems()
            for name, value, allowed in alone or together:
                one = table.get(name) or next((table[key] for key in table if key in allowed), None)
                if one is not None:
                    text = f"must be {allowed}" if name in table else f"makes {name} {value}, which must be {allowed}"
                    place = one.origin.partition(" HANDRAIL_")[0]
                    found.append(Problem(one.shown, one.written, text, place))
        return found


def _unknown(name: str, kinds: Mapping[str, Kind]) -> str:
    from difflib import get_close_matches  # only where something is wrong

    if name in kinds:
        return "is set for all origins, not for one"
    near = get_close_matches(name.lower().replace("-", "_"), PER_ORIGIN, n=1, cutoff=0.7)
    return f"no such setting of an origin; {f'did you mean {near[0]}?' if near else 'docs/settings.md lists them'}"
