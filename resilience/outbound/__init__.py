"""Puts the policies under HTTP client libraries; one file for each library's way of doing things."""

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..registry import Registry

__all__ = ["install"]


_KNOWN = ("httpx", "httpx2", "aiohttp", "requests", "urllib3")


def install(
    module: ModuleType, registry: "Registry", left_alone: Callable[[], bool] = lambda: False
) -> Callable[[], None]:
    """Guard every real call that goes through `module`: httpx, httpx2, aiohttp, requests or urllib3.

    Clients made earlier or later, on a loop or on a thread, and the module's functions are
    all covered; mock, ASGI, WSGI and custom transports are untouched. Installing again
    changes nothing and returns the same undo. Undo may be called more than once.
    `left_alone` is asked by requests and urllib3 whether the code at hand exports telemetry,
    which has retries of its own and is nobody's dependency.

    Raises ValueError for any other module.
    """
    if module.__name__ == "aiohttp":
        from . import _aiohttp

        return _aiohttp.install(module, registry)
    if module.__name__ == "requests":
        from . import _requests

        return _requests.install(module, registry, left_alone)
    if module.__name__ == "urllib3":
        from . import _urllib3

        return _urllib3.install(module, registry, left_alone)
    if module.__name__ not in _KNOWN:
        raise ValueError(f"cannot guard {module.__name__!r}; known are {', '.join(_KNOWN)}")
    from . import _httpx  # what nobody calls is not loaded

    return _httpx.install(module, registry)
