"""What `handrail traces` says about the store: why it shows nothing, or why it shows nothing new."""

from pathlib import Path

from ..tracing.local.store import SUFFIX

__all__ = ["elsewhere", "nothing"]


def elsewhere() -> str:
    """Where spans go by this folder and environment, where that is not the local store; else empty."""
    from ..settings import resolve
    from ._probe import without_secret

    settings = resolve().settings
    tracing = settings.tracing
    if not settings.enabled:
        return "nowhere (handrail is switched off)"
    if tracing.disabled:
        return "nowhere (OTEL_SDK_DISABLED)"
    if "local" in tracing.exporters:
        return ""
    return without_secret(tracing.endpoint or "") or ", ".join(tracing.exporters) or "nowhere"


def nothing(store: Path, *, explicit: bool, wanted: str, service: str | None, errors: bool) -> str:
    """Why nothing is shown: no folder, an empty one, or nothing in it that was asked for."""
    goal = "" if explicit else elsewhere()
    if any(path.stat().st_size for path in store.glob("*" + SUFFIX)):
        return f"{_unmatched(wanted, service, errors=errors)} in {store}{f'; new spans go to {goal}' if goal else ''}"
    message = f"no traces in {store}" if store.is_dir() else f"no traces: {store} does not exist"
    if explicit:
        return message
    if goal:
        return f"{message}; the environment sends spans to {goal} instead"
    return f"{message}; the first appear some seconds after a request to a service with handrail in it"


def _unmatched(wanted: str, service: str | None, *, errors: bool) -> str:
    asked = [
        f"whose id begins with {wanted}" if wanted else "",
        f"that service {service!r} took part in" if service is not None else "",
        "with an error" if errors else "",
    ]
    return f"no trace {' and '.join(part for part in asked if part) or 'that can be read'}"
