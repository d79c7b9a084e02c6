"""The place of faults on purpose in the layers of one application."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._shapes import ASGIApp

if TYPE_CHECKING:
    from ._shapes import Scope
    from ._wire import Process

__all__ = ["place"]


def place(
    above: object,
    within: ASGIApp,
    process: "Process",
    trace_id: "Callable[[], str | None]",
    path_of: "Callable[[Scope], str]",
) -> None:
    """Have faults go around `within`, next below `above` or what is below that, while there are any.

    Without a fault nothing stands there: the layer above holds the one below. Where neither the settings nor a test can
    want any, this does nothing.
    """
    if not process.settings.faults.chaos and "pytest" not in sys.modules:
        return
    from ._chaos import BOOK, Place

    def make(app: ASGIApp) -> ASGIApp:
        from .resilience.inbound._reply import Replies
        from .resilience.inbound.chaos import Faults

        link = process.settings.inbound.trace_link
        return Faults(app, BOOK, Replies(trace_id=trace_id, path_of=path_of, link=link), _wire)

    Place(above, within, make)


def _wire() -> object:
    """The server's own `send`: it belongs to the span of the request, which is the first to get it.

    That of a websocket is with what the context has next to its span.
    """
    from opentelemetry.context import get_current
    from opentelemetry.trace import get_current_span

    from .tracing.inbound._background import EXCHANGE

    span: Any = get_current_span()
    connection: Any = get_current().get(EXCHANGE)
    if connection is not None and connection.span is span:
        return getattr(connection, "_send", None)
    return span.__dict__.get("_send") if hasattr(span, "__dict__") else None
