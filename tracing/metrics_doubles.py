"""Contrib's ASGI middleware inside our SERVER span: it goes on with its hooks and spans, and measures no second time.

Its middleware keeps its instruments on each object; on one that a request of ours comes through, those of the names
that we record are replaced. The old names (`http.server.duration`) stay: nobody else records them.
"""

import sys
from typing import Any

from opentelemetry.metrics import NoOpUpDownCounter

__all__ = ["silence_contrib"]

_MODULE = "opentelemetry.instrumentation.asgi"
_SEEN = "handrail.tracing"
_MARK = "_handrail_silenced"


def silence_contrib() -> None:
    """Take hold of contrib's middleware, if it was imported; a second time changes nothing."""
    kind: Any = getattr(sys.modules.get(_MODULE), "OpenTelemetryMiddleware", None)
    if kind is None or _MARK in vars(kind):
        return
    original = kind.__call__

    async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if not vars(self).get(_MARK) and _SEEN in scope:
            vars(self)[_MARK] = True
            if getattr(self, "duration_histogram_new", None) is not None:
                self.duration_histogram_new = None
                self.active_requests_counter = NoOpUpDownCounter("http.server.active_requests")
        await original(self, scope, receive, send)

    setattr(kind, _MARK, True)
    kind.__call__ = call
