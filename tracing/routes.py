"""The route template of a request, mounts included: "/v1/orders/{id}", never a path with its values."""

from collections.abc import MutableMapping
from typing import Any

__all__ = ["Routes"]


class Routes:
    """Looks up templates for one application."""

    def __init__(self, app: object) -> None:
        self._app = app

    def template(self, scope: MutableMapping[str, Any]) -> str | None:
        """The template of the route that answered, or None where none did or nobody knows."""
        path: str | None = getattr(scope.get("route"), "path_format", None)
        return path
