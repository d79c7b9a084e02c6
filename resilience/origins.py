"""Settings of single origins: which pattern fits which origin, and what its settings come to."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from typing import Any

from ._ranges import BOUNDS
from .settings import ResilienceSettings

__all__ = [
    "DEFAULT_PORTS",
    "PER_ORIGIN",
    "OriginRule",
    "ascii_name",
    "fitting",
    "laid",
    "laid_by",
    "normal",
    "parts",
    "sample",
    "settings_of",
    "text_of",
]

DEFAULT_PORTS = {"http": 80, "https": 443}

PER_ORIGIN = frozenset(spec.name for spec in fields(ResilienceSettings)) - {"max_origins"}
"""What may be set for a single origin."""

_PATTERN = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?(?P<host>\[[0-9a-f:.]+\]|[^\s/:@?#\[\]]+)(?::(?P<port>[0-9]{1,5}|\*))?/?"
)
_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # RFC 3490, 3.1
_LABELS = r"[^.]+(?:\.[^.]+)*"

Key = tuple[str, str, int]
"""Scheme, host and port of an origin."""


@dataclass(frozen=True, slots=True)
class OriginRule:
    """What is set for the origins of a pattern, which is in its normal form.

    A pattern is `[scheme://]host[:port]`. In the host `*` stands for one or more labels, within a label for part of
    it; alone for any host. Without a scheme it fits every one; without a port the scheme's own; port `*` is any.
    """

    pattern: str
    values: tuple[tuple[str, object], ...]

    def fits(self, origin: Key) -> bool:
        """Whether the pattern means this origin. Behind a Unix socket the name in the URL counts."""
        scheme, host, port = origin
        wanted, hosts, number = _compiled(self.pattern)
        if wanted not in ("", scheme) or not hosts.fullmatch(ascii_name(host.partition("@")[0])):
            return False
        return number == "*" or port == (int(number) if number else DEFAULT_PORTS.get(scheme))

    @property
    def rank(self) -> tuple[bool, int]:
        """Sorts the more specific to the end: one without `*` last, else by the characters that it names."""
        return "*" not in self.pattern, len(self.pattern.replace("*", ""))


def normal(pattern: str) -> str:
    """A pattern as we write it: lower case, no default port, no slash. ValueError says what is allowed."""
    found = _PATTERN.fullmatch(pattern.strip().lower())
    if found is None or not 1 <= int((found["port"] or "1").replace("*", "1")) <= 65535:
        raise ValueError(
            "must be [scheme://]host[:port], such as http://payment:8003, https://*.example.com, payment:*"
        )
    scheme, host, port = found["scheme"] or "", found["host"], found["port"] or ""
    if port.isdigit():
        port = "" if DEFAULT_PORTS.get(scheme) == int(port) else str(int(port))
    return f"{f'{scheme}://' if scheme else ''}{host}{f':{port}' if port else ''}"


def parts(url: str) -> Key:
    """Scheme, host and port of a URL, or of an origin. ValueError where it is none."""
    scheme, _, rest = url.strip().lower().rpartition("://")
    scheme = scheme or "http"
    found = _PATTERN.fullmatch(f"{scheme}://{rest.partition('/')[0]}")
    port = DEFAULT_PORTS.get(scheme, 0) if found is None or not found["port"] else int(found["port"].replace("*", "0"))
    if found is None or "*" in found["host"] or not 1 <= port <= 65535:
        raise ValueError("must be an origin, such as http://payment:8003")
    return scheme, found["host"].strip("[]"), port


def sample(pattern: str) -> Key:
    """An origin that the pattern fits."""
    scheme, _, rest = pattern.rpartition("://")
    host, colon, port = rest.rpartition(":") if not rest.endswith("]") else (rest, "", "")
    scheme, host = scheme or "http", (host if colon else rest).strip("[]").replace("*", "x")
    return scheme, host, int(port) if port.isdigit() else DEFAULT_PORTS.get(scheme, 80)


def text_of(origin: Key) -> str:
    """An origin as people write it: without its scheme's default port, IPv6 in brackets."""
    scheme, host, port = origin
    if ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}" if DEFAULT_PORTS.get(scheme) == port else f"{scheme}://{host}:{port}"


def settings_of(general: ResilienceSettings, rules: Iterable[OriginRule], origin: Key) -> ResilienceSettings:
    """The settings of one origin. Of several patterns that fit, the most specific wins, field by field.

    More specific is: no `*`, else more characters that are not `*`, else later.
    """
    return laid_by(general, fitting(rules, origin))


def fitting(rules: Iterable[OriginRule], origin: Key) -> tuple[OriginRule, ...]:
    """Those that mean an origin, the most specific last."""
    return tuple(sorted((rule for rule in rules if rule.fits(origin)), key=lambda rule: rule.rank))


def laid_by(general: ResilienceSettings, rules: Iterable[OriginRule]) -> ResilienceSettings:
    """The values of `rules` over the general settings; the last of them has the last word."""
    values: dict[str, object] = {}
    for rule in rules:
        values.update(rule.values)
    return laid(general, values) if values else general


def laid(general: ResilienceSettings, values: Mapping[str, object]) -> ResilienceSettings:
    """`values` over the general settings; what they do not name gives way to them, as a default does."""
    chosen: dict[str, Any] = dict(values)
    settings = replace(general, **chosen)
    for name, bound, better, factor in BOUNDS:
        limit = better(getattr(settings, name), factor * getattr(settings, bound))
        if name not in values and limit != getattr(settings, name):
            change: dict[str, Any] = {name: limit}
            settings = replace(settings, **change)
    return settings


@cache
def _compiled(pattern: str) -> tuple[str, re.Pattern[str], str]:
    found = _PATTERN.fullmatch(pattern)
    if found is None:
        raise ValueError(f"{pattern!r} is not in its normal form")
    host = ascii_name(found["host"].strip("[]"))
    if host == "*":
        return found["scheme"] or "", re.compile(".*"), found["port"] or ""
    labels = [_LABELS if label == "*" else _label(label) for label in host.split(".")]
    return found["scheme"] or "", re.compile(r"\.".join(labels)), found["port"] or ""


@lru_cache(maxsize=1024)
def ascii_name(host: str) -> str:
    """A name as it stands in the DNS: people and client libraries write it either way.

    By UTS 46 and IDNA 2008 as the client libraries do, which ask a name with an eszett for what it is; what that
    refuses by the elder IDNA, and what no rule can read is left as it is.
    """
    return host if host.isascii() else ".".join(map(_ascii_label, _DOTS.split(host)))


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label.lower()
    with suppress(ImportError, UnicodeError):
        import idna  # it comes with anyio and with most client libraries; most services have no such name

        return idna.encode(label, uts46=True).decode()
    with suppress(UnicodeError):
        return label.encode("idna").decode()
    return label


def _label(text: str) -> str:
    return "[^.]+".join(re.escape(part) for part in text.split("*"))
