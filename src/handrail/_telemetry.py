"""Tracing and metrics of a process: made at their first use, and flushed at its end."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .resilience.registry import Registry
from .settings import Settings

if TYPE_CHECKING:
    from .tracing.logs import Correlation

__all__ = ["Telemetry"]

_log = logging.getLogger("handrail")


class Telemetry:
    """What a process tells of itself. `registry` gives the origins whose state metrics show."""

    def __init__(self, settings: Settings, registry: Callable[[], Registry | None]) -> None:
        self.settings = settings
        self.logs: Correlation | None = None
        self._registry = registry
        self._tracing: Any = None
        self._tracing_lock = threading.Lock()
        self._metrics: Any = None
        self._metrics_lock = threading.Lock()

    @property
    def measuring(self) -> bool:
        """Whether anybody wants metrics."""
        return self.settings.tracing.telling.metrics and not self.settings.tracing.disabled

    def tracing(self) -> Any:
        """The process's tracing, made at the first call."""
        if self._tracing is None:
            with self._tracing_lock:
                if self._tracing is None:
                    from .tracing import provider

                    self._tracing = provider.start(self.settings.tracing)
                    if self.settings.faults.chaos:
                        from . import _chaos

                        _chaos.mark(self._tracing.provider)
                    if self.logs is not None:
                        self.logs.provided(self._tracing.provider)
                    if self._tracing.ours and self.settings.tracing.exporters == ("local",):
                        self._say_where()
        return self._tracing

    def metrics(self) -> Any:
        """The process's metrics, made at the first call."""
        if self._metrics is None:
            with self._metrics_lock:
                if self._metrics is None:
                    from . import _inbound_load
                    from ._bridge_metrics import observe
                    from .tracing import metrics

                    found = metrics.start(
                        self.settings.tracing, lambda: getattr(self.tracing().provider, "resource", None)
                    )
                    self._metrics = found
                    if found.server is not None:
                        observe(found.meter, self._registry)
                        _inbound_load.observe(found.meter)
        return self._metrics

    def _say_where(self) -> None:
        """Once at the start; also without logging set up, where somebody sits in front of it."""
        text = f"no collector is set: spans go to {self.settings.tracing.store}, `handrail traces` shows them"
        if _log.isEnabledFor(logging.INFO):
            _log.info(text)
        elif sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty():
            print(f"handrail: {text}", file=sys.stderr)  # noqa: T201 (no logging is set up to say it)

    async def flush(self) -> None:
        """Export what is queued, within `flush_timeout`, off the event loop."""
        if self._tracing is None:
            return
        import anyio.to_thread

        await anyio.to_thread.run_sync(self.flush_now, abandon_on_cancel=True)

    def flush_now(self) -> None:
        """The same for a process without an event loop, at its end."""
        if self._tracing is None:
            return
        ends = time.monotonic() + self.settings.tracing.flush_timeout
        metrics_left = self._metrics.ask() if self._metrics is not None else None
        self._tracing.flush(self.settings.tracing.flush_timeout)
        if metrics_left is not None:  # within the same bound
            metrics_left(max(0.0, ends - time.monotonic()))
