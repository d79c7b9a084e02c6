"""The process's log records, as its settings want them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._wire import Process
    from .tracing.logs import Correlation

__all__ = ["correlated"]


def correlated(process: "Process") -> "Correlation | None":
    """Switch on what the settings ask for, until the process is switched off; None where that is nothing."""
    tracing = process.settings.tracing
    correlate, json = tracing.telling.log_correlation, tracing.telling.log_format == "json"
    if not (correlate or json):
        return None
    from .tracing import logs

    found = logs.install(tracing.service_name, correlate=correlate, json=json)
    process.undo.append(found.undo)
    return found
