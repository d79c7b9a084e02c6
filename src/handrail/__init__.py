"""handrail: what keeps a service alive, in one import.

    from handrail import protect
    app = protect(app)

Around any ASGI 3 application: W3C trace context in and out, one span per request and per
outbound attempt, circuit breakers, safe retries and timeouts on every httpx call, and clear
answers where a dependency is down. `import handrail.auto` does it without touching the app.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

if TYPE_CHECKING:
    from . import chaos
    from ._breakers import breakers
    from ._policy import pipelines, policy
    from ._work import capture, carry, resume
    from .resilience.errors import (
        AttemptTimedOut,
        BulkheadFull,
        CircuitOpen,
        DeadlineExceeded,
        HandrailError,
        Rejected,
        RetryBudgetSpent,
        SettingsError,
        Throttled,
        TimedOut,
        Undeclared,
    )
    from .resilience.inbound.idempotency import idempotency_key
    from .resilience.inbound.shield import shield
    from .settings import Overrides, Settings

    __version__: str

__all__ = [
    "AttemptTimedOut",
    "BulkheadFull",
    "CircuitOpen",
    "DeadlineExceeded",
    "HandrailError",
    "Overrides",
    "Rejected",
    "RetryBudgetSpent",
    "Settings",
    "SettingsError",
    "Throttled",
    "TimedOut",
    "Undeclared",
    "__version__",
    "breakers",
    "capture",
    "carry",
    "chaos",
    "idempotency_key",
    "pipelines",
    "policy",
    "protect",
    "resume",
    "shield",
]

A = TypeVar("A", bound=Callable[..., Any])


def protect(app: A, **settings: "Unpack[Overrides]") -> A:
    """Protect an ASGI 3 application, and every outbound HTTP call of this process.

    Returns the same object for Starlette, FastAPI, Litestar, Quart and Django apps; a callable
    with the same attributes for any other; for an app factory, a factory that protects what it
    makes. Twice is the same as once. Settings given here win over `HANDRAIL_*` variables, those
    over `handrail.toml` or `[tool.handrail]`, those over the defaults.

    Raises SettingsError for a wrong setting (name, value, what is allowed) and TypeError for
    what is no ASGI 3 application.
    """
    from . import _protect

    return cast("A", _protect.protect(app, settings))


def __getattr__(name: str) -> Any:
    """Load the rest when it is asked for: importing handrail stays cheap."""
    if name == "__version__":
        from importlib.metadata import version

        return version("handrail")
    if name in ("Settings", "Overrides"):
        from . import settings

        return getattr(settings, name)
    if name == "chaos":
        from importlib import import_module

        return import_module(f"{__name__}.chaos")
    if name == "breakers":
        from . import _breakers

        return _breakers.breakers
    if name in ("policy", "pipelines"):
        from . import _policy

        return getattr(_policy, name)
    if name in ("capture", "carry", "resume"):
        from . import _work

        return getattr(_work, name)
    if name == "idempotency_key":
        from .resilience.inbound import idempotency

        return idempotency.idempotency_key
    if name == "shield":
        from .resilience.inbound import shield

        return shield.shield
    if name in __all__:
        from .resilience import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
