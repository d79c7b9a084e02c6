"""What the settings come to for single origins: the pipeline, and where each value comes from."""

from dataclasses import dataclass, fields

from .._settings_origins import source_name
from ..resilience.defaults import standard
from ..resilience.origins import PER_ORIGIN, Key, OriginRule, sample, settings_of, text_of
from ..resilience.policy import Tools
from ..resilience.settings import ResilienceSettings
from ..settings import Settings

__all__ = ["OriginView", "Value", "asked", "patterns"]


@dataclass(frozen=True, slots=True)
class Value:
    """A setting of an origin: `origin` is where it stands."""

    name: str
    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class OriginView:
    """`origin` is a pattern, or the origin that was asked for; `fits` the patterns that fit that, the strongest last.

    `settings` are the values that are not those of every origin, and for a single origin all that are no default.
    `pipeline` is empty where handrail is off or a setting is wrong.
    """

    origin: str
    fits: tuple[str, ...]
    settings: tuple[Value, ...]
    pipeline: tuple[str, ...]


def patterns(settings: Settings) -> tuple[OriginView, ...]:
    """For each pattern that has settings of its own, in the order of the settings."""
    return tuple(
        _view(settings, rule.pattern, sample(rule.pattern), settings.resilience) for rule in settings.per_origin
    )


def asked(settings: Settings, key: Key) -> OriginView:
    """For one origin."""
    return _view(settings, text_of(key), key, ResilienceSettings())


def _view(settings: Settings, origin: str, key: Key, usual: ResilienceSettings) -> OriginView:
    """`usual`: the values that are not worth a line."""
    rules = sorted((rule for rule in settings.per_origin if rule.fits(key)), key=lambda rule: rule.rank)
    theirs = settings_of(settings.resilience, rules, key)
    winners = {name: rule for rule in rules for name, _ in rule.values}
    told = [spec.name for spec in fields(theirs) if spec.name in PER_ORIGIN]
    told = [name for name in told if name in winners or getattr(theirs, name) != getattr(usual, name)]
    values = tuple(Value(name, getattr(theirs, name), _source(settings, name, winners, theirs)) for name in told)
    usable = settings.enabled and not theirs.problems()
    pipeline = tuple(map(repr, standard(origin, theirs, Tools()).policies)) if usable else ()
    return OriginView(origin, tuple(rule.pattern for rule in rules), values, pipeline)


def _source(settings: Settings, name: str, winners: dict[str, OriginRule], theirs: ResilienceSettings) -> str:
    rule = winners.get(name)
    if rule is not None:
        return f'{settings.origins[source_name(rule.pattern, name)]}, origins."{rule.pattern}"'
    if getattr(theirs, name) != getattr(settings.resilience, name):
        return "fitted to what this origin has"
    return settings.origins[name]
