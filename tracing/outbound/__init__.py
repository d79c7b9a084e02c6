"""CLIENT spans for the HTTP client libraries that a service uses; one file per library."""

from collections.abc import Callable
from types import ModuleType

from ..measure import ClientMeasure
from . import _httpx

__all__ = ["SUPPORTED", "install"]

SUPPORTED = ("httpx", "httpx2", "aiohttp", "requests", "urllib3")
"""Names of the modules that `install` takes."""


def install(
    module: ModuleType,
    measure: Callable[[], ClientMeasure | None] | None = None,
    call: Callable[[], object] = lambda: None,
) -> Callable[[], None]:
    """Trace every attempt that leaves through `module`, and return what undoes it.

    Clients made earlier are covered as well. A second install changes nothing and returns the
    same undo. Install before anything that calls the transport once per attempt, so that each
    attempt is a span of its own. `measure` is asked at the end of each attempt whom to tell its
    duration; without it, contrib's own metrics stay where a service switched them on. `call` is
    asked by requests and urllib3 on whose behalf a request is sent, and which attempt it is.
    Raises ValueError for a module that is not in `SUPPORTED`.
    """
    if module.__name__ not in SUPPORTED:
        raise ValueError(f"cannot trace {module.__name__}: known are {', '.join(SUPPORTED)}")
    if module.__name__ == "aiohttp":
        from . import _aiohttp  # what nobody calls is not loaded

        return _aiohttp.install(module, measure)
    if module.__name__ in ("requests", "urllib3"):
        from . import _urllib3

        return _urllib3.install(measure, call)
    return _httpx.install(module, measure)
