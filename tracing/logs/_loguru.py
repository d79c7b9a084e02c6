"""The fields in loguru's `extra`: a patcher that runs behind the service's own one.

They are always there, empty outside a span, because "{extra[trace_id]}" in a format raises KeyError without.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from ._fields import Fields

Patcher = Callable[[Any], None]


def correlate(loguru: ModuleType, fields: Fields) -> Callable[[], None]:
    """Returns the undo, which leaves the service's own patcher."""
    logger = loguru.logger
    core = logger._core
    cls = type(logger)
    configure_before = cls.configure

    def behind(own: Patcher | None) -> "_Chained":
        return _Chained(own, fields)

    def configure(self: Any, **options: Any) -> Any:
        if options.get("patcher") is not None:
            options["patcher"] = behind(options["patcher"])
        return configure_before(self, **options)

    def undo() -> None:
        if cls.configure is configure:
            cls.configure = configure_before
        patcher = core.patcher
        if isinstance(patcher, _Chained):
            core.patcher = patcher.own

    core.patcher = behind(core.patcher)
    cls.configure = configure
    return undo


class _Chained:
    def __init__(self, own: Patcher | None, fields: Fields) -> None:
        self.own = own
        self._fields = fields

    def __call__(self, record: Any) -> None:
        if self.own is not None:
            self.own(record)
        about = record["exception"]
        self._fields.fill(record["extra"], about.value if about else None)
