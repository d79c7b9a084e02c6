"""Whether a request would rather have a page for people than a document for programs (RFC 9110, 12.5.1)."""

from collections.abc import Iterable

__all__ = ["prefers_html"]

_HTML = ("text/html", "text/*", "*/*")
_JSON = ("application/problem+json", "application/json", "application/*", "*/*")
"""Media ranges, most specific first. Who takes JSON takes a problem document."""
_LONGEST = 4096
"""Bytes of Accept that are read."""


def prefers_html(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """True where `Accept` rates HTML above JSON, as a browser's does that goes to an address; `*/*`, the same for
    both, and no Accept at all mean JSON.
    """
    accept = b",".join([value for name, value in headers if name == b"accept"])
    if b"text/" not in accept and b"TEXT/" not in accept.upper():
        return False
    rated = _rated(accept[:_LONGEST].decode("latin-1").lower())
    return _of(_HTML, rated) > _of(_JSON, rated)


def _rated(accept: str) -> dict[str, float]:
    rated: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                weight = _weight(value.strip())
        rated[kind] = max(weight, rated.get(kind, 0.0))
    return rated


def _weight(text: str) -> float:
    """0 for what is no weight: what cannot be read asks for nothing."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


def _of(ranges: tuple[str, ...], rated: dict[str, float]) -> float:
    return next((rated[one] for one in ranges if one in rated), 0.0)
