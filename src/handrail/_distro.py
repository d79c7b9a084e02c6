"""Makes `opentelemetry-instrument` do what `import handrail.auto` does.

Without a distribution that command leaves a provider that does nothing. Both classes are named
as entry points in pyproject.toml; either of them suffices.
"""

from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined] # the module is untyped

from ._startup import start

__all__ = ["HandrailConfigurator", "HandrailDistro"]

_OURS = frozenset({"asgi", "fastapi", "starlette", "httpx", "httpx2"})
"""Instrumentations whose spans handrail makes itself."""


class HandrailDistro(BaseDistro):  # type: ignore[misc] # untyped, see the import
    """Activates handrail, and loads the other instrumentations unchanged."""

    def _configure(self, **_: object) -> None:
        start()

    def load_instrumentor(self, entry_point: Any, **kwargs: object) -> None:
        """Load an instrumentation, except those whose spans we make: they would double them."""
        if entry_point.name not in _OURS:
            super().load_instrumentor(entry_point, **kwargs)


class HandrailConfigurator:
    """The configurator of the same name: the provider is made at the first request."""

    def configure(self, **_: object) -> None:
        """Activate handrail; a second time does nothing."""
        start()
