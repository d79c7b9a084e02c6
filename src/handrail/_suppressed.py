"""OpenTelemetry's mark on work that nobody shall trace: an exporter's, or that of a thread of ours."""

from collections.abc import Callable

__all__ = ["exporting", "silence"]


def exporting() -> Callable[[], bool]:
    """Tells whether the code at hand sends telemetry: an exporter, which says so in its context."""
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value

    return lambda: bool(get_value(_SUPPRESS_INSTRUMENTATION_KEY))


def silence() -> None:
    """From now on no span for what this thread asks of a server: for a thread that does nothing else."""
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

    attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
