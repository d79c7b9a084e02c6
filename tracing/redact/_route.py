"""Secrets in paths: the route's template tells which segment is one, as in `/reset/{token}`."""

import re
from collections.abc import Callable
from typing import Final

from ._url import REDACTED

__all__ = ["RouteSecrets"]

# {token}, {token:path}, <token>, <str:token>, (?P<token>[^/]+): Starlette, Litestar, Quart, Django.
_PARAMETER = re.compile(
    r"\{(?P<a>\w+)(?::(?P<aconv>[^{}]*))?\}"
    r"|\(\?P<(?P<c>\w+)>(?P<cconv>[^()]*)\)"
    r"|<(?:(?P<bconv>[\w()., =]+):)?(?P<b>\w+)>"
)
_MOST_ROUTES: Final = 4096

Hides = Callable[[str], bool]


class RouteSecrets:
    """Remembers for each route which of its parameters are secrets; mostly none."""

    def __init__(self, hides: Hides) -> None:
        self._hides = hides
        self._known: dict[str, re.Pattern[str] | None] = {}

    def hide(self, route: str, path: str) -> str:
        """The path without the values of secret parameters; the template itself where the path does not fit it."""
        pattern = self.pattern(route)
        if pattern is None:
            return path
        found = pattern.search(path)
        if found is None:
            return route
        for index in range(found.re.groups, 0, -1):
            path = path[: found.start(index)] + REDACTED + path[found.end(index) :]
        return path

    def pattern(self, route: str) -> re.Pattern[str] | None:
        """Finds in a path what is secret by this route; None where nothing is."""
        try:
            return self._known[route]
        except KeyError:
            found = self._pattern(route)
            if len(self._known) < _MOST_ROUTES:
                self._known[route] = found
            return found

    def _pattern(self, route: str) -> re.Pattern[str] | None:
        parts: list[str] = []
        done = secrets = 0
        for match in _PARAMETER.finditer(route):
            name = match["a"] or match["b"] or match["c"]
            conv = match["aconv"] or match["bconv"] or match["cconv"] or ""
            value = ".+" if conv == "path" or conv.startswith(".") else "[^/]+"
            secret = self._hides(name)
            secrets += secret
            parts += (re.escape(route[done : match.start()]), f"({value})" if secret else f"(?:{value})")
            done = match.end()
        if not secrets:
            return None
        # From the end: a server may have put a prefix of its own before the path.
        return re.compile("".join([*parts, re.escape(route[done:].rstrip("/$"))]) + "/?$", re.DOTALL)
