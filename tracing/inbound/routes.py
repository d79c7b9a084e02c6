"""The route template of a request, mounts included: "/v1/orders/{id}", never a path with its values.

Starlette and FastAPI leave the matched route in the scope, Litestar its template. Quart and Django leave nothing:
see `_route_hooks`. Where a middleware answered, or passed a copy of the scope on, `_route_match` looks for the route.
"""

from collections.abc import MutableMapping
from typing import Any

from .. import redact
from . import _route_hooks
from ._route_match import match
from ._route_tree import MOUNT_REST, Found, leaf_of, routes_of, walk

__all__ = ["Routes"]

Scope = MutableMapping[str, Any]

_MAX_KEPT = 4096


class Routes:
    """Looks up templates for one application; what it found it keeps, per route."""

    def __init__(self, app: object) -> None:
        self._app = app
        self._known: dict[int, tuple[object, list[Found]]] = {}
        self._django = _route_hooks.django_app(app)
        _route_hooks.connect_quart()

    def template(self, scope: Scope) -> str | None:
        """The template of the route that answered, else of the one that the path fits; None where nobody knows it."""
        if "path_template" in scope:  # Litestar; "" where nothing matched
            return scope["path_template"] or None
        leaf = leaf_of(scope)
        if leaf is None:
            leaf = scope.get("endpoint")  # Starlette before 1.0 leaves no route
            if leaf is None:
                return self._other(scope)
        known = self._known.get(id(leaf))
        places = known[1] if known is not None else self._find(scope, leaf)
        if not places:
            return None
        root = scope.get("app_root_path", scope.get("root_path", "")) or ""
        place = places[0] if len(places) == 1 else _choose(places, scope["path"].removeprefix(root))
        if place.template.endswith(MOUNT_REST) and routes_of(getattr(place.leaf, "app", None)):
            return self._search(scope) or root.rstrip("/") + place.template  # the scope was copied below the mount
        return (root.rstrip("/") + place.template) or "/"

    def shown_path(self, scope: Scope) -> str:
        """The path of the request for a log line: what the route, or a parameter's name, calls a secret is hidden."""
        path: str = scope["path"]
        route = self.template(scope)
        if route is not None:
            return redact.path(route, path)
        return redact.current().parameters(path, scope.get("path_params"))

    def _find(self, scope: Scope, leaf: object) -> list[Found]:
        """All places where this route can be reached: a sub-application may be mounted more than once."""
        routes = routes_of(scope.get("router")) or routes_of(self._app)
        places = [place for place in walk(routes) if place.leaf is leaf or place.endpoint is leaf]
        if len(self._known) >= _MAX_KEPT:  # an application that makes routes as it goes
            self._known.clear()
        self._known[id(leaf)] = (leaf, places)
        return places

    def _other(self, scope: Scope) -> str | None:
        told = scope.get(_route_hooks.ROUTE)
        if told is not None:
            return str(told)
        _route_hooks.connect_quart()  # imported since: the next request has its route
        if self._django:
            return _route_hooks.django_template(scope)
        return self._search(scope)

    def _search(self, scope: Scope) -> str | None:
        routes = routes_of(scope.get("router")) or routes_of(self._app)
        if not routes:
            return None
        root = scope.get("app_root_path", scope.get("root_path", "")) or ""
        found = match(routes, scope["path"].removeprefix(root), scope.get("method"))
        return None if found is None else (root.rstrip("/") + found) or "/"


def _choose(places: list[Found], path: str) -> Found:
    for loosely in (False, True):
        for place in places:
            if place.fits(path, loosely=loosely):
                return place
    return places[0]
