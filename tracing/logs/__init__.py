"""trace_id, span_id, trace_flags and service in the log records of a service: stdlib logging, structlog, loguru.

The first three names and their form are those of OpenTelemetry, "Trace Context in non-OTLP Log Formats": lower-case
hex of 32, 16 and 2 digits. The ids of a span that was not sampled are there as well, with an even number in
trace_flags. Outside any span a record is left as it is; a format that names them finds them empty. What a service sets
itself stays, a default of its formatter included: only what is missing is filled.

`install` is the switch. `structlog_processor` and `JsonFormatter` may also be used by hand.
"""

from collections.abc import Callable, Mapping, MutableMapping
from types import ModuleType

import wrapt

from .. import redact
from ._fields import FIELDS, Fields
from ._fields import by_hand as _by_hand
from ._json import JsonFormatter
from ._json import everywhere as _json_everywhere
from ._stdlib import correlate as _stdlib

__all__ = ["FIELDS", "Correlation", "JsonFormatter", "install", "structlog_processor"]


class Correlation:
    """What `install` switched on. `undo` takes it back."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._undo: list[Callable[[], None]] = []
        self._on = True

    def provided(self, provider: object) -> None:
        """Records carry the name that the spans of this provider carry: a service may bring its own."""
        attributes = getattr(getattr(provider, "resource", None), "attributes", None)
        name = attributes.get("service.name") if isinstance(attributes, Mapping) else None
        if isinstance(name, str) and not name.startswith("unknown_service"):
            self._fields.service = _by_hand.service = name

    def undo(self) -> None:
        """Give logging, structlog and loguru back as they were; a second time does nothing."""
        if self._on and _by_hand.service == self._fields.service:
            _by_hand.service = ""
        self._on = False
        while self._undo:
            self._undo.pop()()

    def _when_imported(self, module: str, then: Callable[[ModuleType, Fields], Callable[[], None]]) -> None:
        def arrived(found: ModuleType) -> None:
            if self._on:
                self._undo.append(then(found, self._fields))

        wrapt.register_post_import_hook(arrived, module)


def install(service: str, *, correlate: bool = True, json: bool = False) -> Correlation:
    """Switch it on for this process, now and for structlog and loguru when they are imported.

    `correlate` gives every record the ids of its span, and every format all four fields. `json` writes JSON wherever
    the standard library's handlers write to a stream or a file, except with a formatter class of the service's own.
    """
    made = Correlation(Fields(service))
    _by_hand.service = service
    if correlate:
        from ._loguru import correlate as loguru
        from ._structlog import correlate as structlog

        made._undo.append(_stdlib(made._fields))
        made._when_imported("structlog._config", structlog)
        made._when_imported("loguru", loguru)
    if json:
        made._undo.append(_json_everywhere(made._fields, redact.text, redact.field))
    return made


def structlog_processor(
    _logger: object, _method: str, event_dict: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """A structlog processor: within a span, adds the fields that the event does not have yet.

    It belongs behind `merge_contextvars` and before the renderer. `install` puts it there where structlog's processors
    are a list; a `wrap_logger(..., processors=...)` of the service's own needs it by hand.
    """
    return _by_hand.add(event_dict)
