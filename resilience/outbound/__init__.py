"""Puts the policies under HTTP client libraries; one file for each library's way of doing things."""

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..registry import Registry

__all__ = ["install"]


def install(module: ModuleType, registry: "Registry") -> Callable[[], None]:
    """Guard every real call that goes through `module`, which is `httpx` or `httpx2`.

    Clients made earlier or later, on a loop or on a thread, and the module's functions are
    all covered; mock, ASGI, WSGI and custom transports are untouched. Installing again
    changes nothing and returns the same undo. Undo may be called more than once.

    Raises ValueError for any other module.
    """
    if module.__name__ not in ("httpx", "httpx2"):
        raise ValueError(f"cannot guard {module.__name__!r}; known are httpx and httpx2")
    from . import _httpx  # what nobody calls is not loaded

    return _httpx.install(module, registry)
