"""The settings of faults on purpose: the switch, the faults, the secret of their header, the seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

__all__ = ["SWITCHES", "ChaosSettings", "faults_from", "in_production", "switch_from"]

SWITCHES = 'true, false, or "production" where the environment is that'
PRODUCTION = "production"
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_LIVE = frozenset({"production", "prod", "live"})
_NAMES = ("deployment.environment.name", "deployment.environment")
"""Of the semantic conventions: the name, and the one that it had before 1.27."""
_SHORTEST_SECRET = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosSettings:
    """Faults on purpose; see docs/chaos.md. They are read once, at the start."""

    chaos: bool | str = False
    """The switch, without which none of the rest does anything. "production" where the environment is called that."""
    chaos_faults: tuple[str, ...] = ()
    """The faults: `out error=503 POST http://payment:8003 every=3`, or tables."""
    chaos_secret: str = ""
    """Of at least 16 characters: requests may bring faults in a header that is signed with it; empty: they may not."""
    chaos_seed: int = 0
    """Of the draws of `share`: the same seed and the same order of requests give the same faults."""

    def problems(self, environ: Mapping[str, str]) -> list[tuple[str, object, str]]:
        """(name, value, allowed) of what is wrong; a secret is not shown."""
        found: list[tuple[str, object, str]] = []
        live = in_production(environ)
        if self.chaos is True and live:
            found.append(
                ("chaos", True, f'must be "production" to inject faults where OTEL_RESOURCE_ATTRIBUTES says {live}')
            )
        if self.chaos_secret and len(self.chaos_secret) < _SHORTEST_SECRET:
            found.append(("chaos_secret", "(not shown)", f"must have at least {_SHORTEST_SECRET} characters"))
        return found


def in_production(environ: Mapping[str, str]) -> str:
    """What says that this is production, as it is written there; empty where nothing does."""
    for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        name, _, value = pair.partition("=")
        if name.strip() in _NAMES and unquote(value).strip().lower() in _LIVE:
            return pair.strip()
    return ""


def switch_from(value: object, *, text: bool) -> bool | str:
    """The value of `chaos`; `text`: in the environment, where there are only texts. ValueError says what is allowed."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word == PRODUCTION:
        return PRODUCTION
    if text and word in _TRUE | _FALSE:
        return word in _TRUE
    raise ValueError(f"must be {SWITCHES}")


def faults_from(value: object, *, text: bool) -> tuple[str, ...]:
    """The value of `chaos_faults`, each as its line. ValueError says which one is wrong, and how."""
    from .resilience.chaos.text import from_table, parsed

    if text:
        value = [word.strip() for word in str(value).split(",") if word.strip()]
    if isinstance(value, str | Mapping) or not isinstance(value, list | tuple):
        raise ValueError('must be a list of faults, such as ["out error=503 POST http://payment:8003 every=3"]')
    lines: list[str] = []
    for one in value:
        try:
            if isinstance(one, Mapping):
                lines.append(str(from_table({str(name): given for name, given in one.items()})))
            else:
                lines.append(str(parsed(one if isinstance(one, str) else str(one))))
        except ValueError as error:
            shown = {str(name): _plain(given) for name, given in one.items()} if isinstance(one, Mapping) else one
            raise ValueError(f"{shown!r}: {error}") from None
    return tuple(lines)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
