"""The fields in loguru's `extra`: a patcher that runs behind the service's own one.

Within a span they are there. Outside of any there is nothing in the way of what the service sets; but a format such as
"{extra[trace_id]}", which would raise KeyError, finds them empty.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ._fields import FIELDS, Fields

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
        record["extra"] = Extra(record["extra"], self._fields, about.value if about else None)


class Extra(dict[str, Any]):
    """`extra` with the fields. What the service itself sets, if only as a default, wins over what is ours."""

    __slots__ = ("_fields", "_ours")

    def __init__(self, given: Mapping[str, Any], fields: Fields, error: BaseException | None) -> None:
        super().__init__(given)
        self._fields = fields
        self._ours: set[str] = set()
        fields.fill(self, error)
        if "trace_id" in self and "trace_id" not in given and fields.service:
            super().setdefault("service", fields.service)
        self._ours.update(self.keys() - given.keys())

    def __missing__(self, name: str) -> str:
        if name in FIELDS:
            return self._fields.blank(name)
        raise KeyError(name)

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As of any dict, for which our fields are not there."""
        if name in self._ours:
            self._ours.discard(name)
            self[name] = default
        return super().setdefault(name, default)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)  # to another thread or process, with enqueue=True
