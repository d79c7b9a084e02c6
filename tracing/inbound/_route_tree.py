"""All route templates of a Starlette or FastAPI application, by the object that matched.

A matched route knows only its own part of the path; mounts leave their values, not their templates, in the scope's
`root_path`. So the tree is walked once from its root, with attributes only: no framework is imported, and what
has no `path_format` (FastAPI keeps router objects among its routes since 0.140) is asked for what it includes.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

MOUNT_REST = "/{path}"
_DEPTH = 16
_PARAMETER = re.compile(r"\\\{[^{}]*\\\}")


class Found:
    """One place in the tree: the object that matches there, its endpoint, and the whole template."""

    __slots__ = ("_patterns", "endpoint", "leaf", "template")

    def __init__(self, leaf: object, endpoint: object, template: str) -> None:
        self.leaf = leaf  # kept, so that its id stays its own
        self.endpoint = endpoint
        self.template = template
        escaped = re.escape(template)
        self._patterns = [re.compile(_PARAMETER.sub(part, escaped)) for part in ("[^/]+", ".*")]

    def fits(self, path: str, *, loosely: bool) -> bool:
        """Whether the path could have come by this template; loosely: with slashes within a parameter."""
        return self._patterns[loosely].fullmatch(path) is not None


def leaf_of(scope: Mapping[str, Any]) -> object | None:
    """What matched: FastAPI's route as included there, else the route."""
    route: object | None = scope.get("route")
    fastapi = scope.get("fastapi")
    if isinstance(fastapi, dict):
        effective = fastapi.get("effective_route_context")
        if effective is not None:
            known = (getattr(effective, "original_route", None), getattr(effective, "starlette_route", None))
            if route is None or any(route is one for one in known):
                return effective  # type: ignore[no-any-return]  # FastAPI's scope is untyped
    return route


def walk(routes: Iterable[object], prefix: str = "", depth: int = 0) -> Iterator[Found]:
    """Every place below `routes`, in the order in which the framework tries them."""
    for route in routes:
        included: Callable[[], Iterable[object]] | None = getattr(route, "effective_route_contexts", None)
        if included is not None:
            for effective in included():
                yield from _place(getattr(effective, "starlette_route", None) or effective, effective, prefix, depth)
        else:
            yield from _place(route, route, prefix, depth)


def _place(route: object, leaf: object, prefix: str, depth: int) -> Iterator[Found]:
    own = getattr(route, "path_format", None)
    if not hasattr(route, "app") or not hasattr(route, "routes"):
        if isinstance(own, str):
            yield Found(leaf, getattr(route, "endpoint", None), prefix + own)
        return
    below = prefix
    if isinstance(own, str):  # a mount; a host has none
        yield Found(leaf, getattr(route, "app", None), prefix + own)
        below += own.removesuffix(MOUNT_REST)
    if depth < _DEPTH:
        yield from walk(routes_of(getattr(route, "app", None)), below, depth + 1)


def routes_of(app: object) -> list[object]:
    """The routes of an application, through the middleware around it."""
    for _ in range(_DEPTH):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list):
            return routes
        app = getattr(app, "app", None)
        if app is None:
            break
    return []
