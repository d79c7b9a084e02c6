"""Headers on spans, where the standard variables ask for them, in the form of the conventions and without secrets.

The variables are contrib's: lists of regular expressions that match whole names, case-insensitively. The attribute
keeps the dash of the name (`http.request.header.content-type`) and is a list, one item for each header line.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from ._url import REDACTED

__all__ = ["HeaderCapture", "captures", "header_attributes"]

_PREFIX: Final = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"
_SANITIZE: Final = _PREFIX + "SANITIZE_FIELDS"

_URLS: Final = frozenset({"location", "content-location", "referer", "x-original-url", "x-forwarded-uri"})

Attributes = dict[str, list[str]]


class HeaderCapture:
    """Takes the wanted headers of one direction, such as "SERVER_REQUEST"."""

    def __init__(self, direction: str, wanted: str, sanitize: str) -> None:
        self._prefix = f"http.{direction.rpartition('_')[2].lower()}.header."
        self._wanted = _regex(wanted)
        self._sanitize = _regex(sanitize) if sanitize else None

    def __call__(self, headers: Iterable[tuple[bytes, bytes]]) -> Attributes:
        """The attributes for headers as ASGI gives them."""
        return self.of((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)

    def of(self, headers: Iterable[tuple[str, str]]) -> Attributes:
        """The attributes for headers as text."""
        from .. import redact

        found: Attributes = {}
        for name, value in headers:
            if self._wanted.fullmatch(name):
                hidden = redact.header(name) or (self._sanitize is not None and self._sanitize.search(name))
                text = REDACTED if hidden else redact.text(redact.url(value) if name.lower() in _URLS else value)
                found.setdefault(self._prefix + name.lower(), []).append(text)
        return found


def captures(environ: Mapping[str, str], direction: str) -> HeaderCapture | None:
    """What `OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_{direction}` asks for; None where it asks for nothing.

    A regular expression that is none counts as a plain name.
    """
    wanted = environ.get(_PREFIX + direction, "")
    return HeaderCapture(direction, wanted, environ.get(_SANITIZE, "")) if wanted.strip(", ") else None


@lru_cache(maxsize=16)
def _capture(direction: str, wanted: tuple[str, ...], sanitize: tuple[str, ...]) -> HeaderCapture:
    return HeaderCapture(direction, ",".join(wanted), ",".join(sanitize))


def header_attributes(
    headers: Mapping[str, list[str]] | None,
    wanted: list[str] | None,
    sanitize: list[str] | None,
    name_of: Callable[[str], str],
) -> Attributes:
    """Contrib's `get_custom_header_attributes`, with the conventions' names, and redacted without being asked."""
    if not headers or not wanted:
        return {}
    direction = "CLIENT_REQUEST" if ".request." in name_of("x") else "CLIENT_RESPONSE"
    capture = _capture(direction, tuple(wanted), tuple(sanitize or ()))
    return capture.of((name, value) for name, values in headers.items() for value in values)


def _regex(words: str) -> re.Pattern[str]:
    return re.compile("|".join(_checked(word.strip()) for word in words.split(",") if word.strip()), re.IGNORECASE)


def _checked(word: str) -> str:
    try:
        re.compile(word)
    except re.error:
        return re.escape(word)
    return f"(?:{word})"
