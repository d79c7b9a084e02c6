"""The route of a path by the routes' own patterns, for a request whose scope names none.

So it is where a middleware answered before the routing, or passed a copy of the scope on (`dict(scope)`): the route is
then left in the copy. It costs what Starlette's own search costs, in such a request only.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ._route_tree import MOUNT_REST, routes_of

__all__ = ["match"]

_DEPTH: Final = 16
_MOST: Final = 2048
"""Routes that are tried."""


def match(routes: list[object], path: str, method: str | None) -> str | None:
    """The template of the first route that fits path and method, else of the first that fits the path."""
    first: str | None = None
    for count, (template, methods) in enumerate(_fitting(routes, path, "", 0)):
        if method is None or not methods or method in methods:
            return template
        first = first or template
        if count > _MOST:
            break
    return first


def _fitting(routes: list[object], path: str, prefix: str, depth: int) -> Iterator[tuple[str, Iterable[str] | None]]:
    for route in _flat(routes[:_MOST]):
        pattern, own = getattr(route, "path_regex", None), getattr(route, "path_format", None)
        holds = hasattr(route, "app") and hasattr(route, "routes")
        if not isinstance(pattern, re.Pattern) or not isinstance(own, str):
            if holds and depth < _DEPTH:  # a host
                yield from _fitting(routes_of(getattr(route, "app", None)), path, prefix, depth + 1)
            continue
        found = pattern.match(path)
        if found is None:
            continue
        below = routes_of(getattr(route, "app", None)) if holds else []
        if not below:
            yield prefix + own, getattr(route, "methods", None)
        elif depth < _DEPTH and "path" in pattern.groupindex:
            yield from _fitting(below, "/" + found["path"], prefix + own.removesuffix(MOUNT_REST), depth + 1)


def _flat(routes: list[object]) -> Iterator[object]:
    for route in routes:
        included = getattr(route, "effective_route_contexts", None)
        if included is None:
            yield route
        else:
            for effective in included():
                yield getattr(effective, "starlette_route", None) or effective
