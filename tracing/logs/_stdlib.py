"""The fields in records of stdlib logging.

The place is `Logger.handle`: the record is made, whatever factory the service set, and its `extra` is merged, so
nothing is overwritten and no KeyError provoked; it runs in the caller's thread and context; and no call of
dictConfig, before or after, takes it away. What a format names and a record does not have is lent to the record while
it is formatted: so it is in nobody's way, neither of a filter that asks whether it is there nor of a default.
"""

import logging
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from ._fields import FIELDS, Fields

_ABSENT: Final = object()

Wanted = tuple[tuple[str, ...], tuple[str, ...]]
"""The fields that a formatter needs, and those of which it has a fixed value."""

_NOTHING: Final[Wanted] = ((), ())


def correlate(fields: Fields) -> Callable[[], None]:
    """Fill every record from now on. Returns the undo."""
    handle_before = logging.Logger.handle
    format_before, message_before = logging.Handler.format, logging.Formatter.formatMessage
    loan = _Loan(fields)

    def handle(self: logging.Logger, record: logging.LogRecord) -> None:
        if loan.on:
            about = record.exc_info
            fields.fill(record.__dict__, about[1] if about else None)
        handle_before(self, record)

    def formatMessage(self: logging.Formatter, record: logging.LogRecord) -> str:  # noqa: N802 (it replaces one)
        before = loan.give(self, record.__dict__)
        try:
            return message_before(self, record)
        finally:
            loan.take_back(record.__dict__, before)

    # For formatters that make the line themselves, such as python-json-logger.
    def format(self: logging.Handler, record: logging.LogRecord) -> str:  # noqa: A001 (it replaces one)
        before = loan.give(self.formatter, record.__dict__)
        try:
            return format_before(self, record)
        finally:
            loan.take_back(record.__dict__, before)

    def undo() -> None:
        loan.on = False  # somebody may have wrapped ours since: then it stays, and does nothing
        if logging.Logger.handle is handle:
            logging.Logger.handle = handle_before  # type: ignore[method-assign] # given back
        if logging.Handler.format is format:
            logging.Handler.format = format_before  # type: ignore[method-assign] # given back
        if logging.Formatter.formatMessage is formatMessage:
            logging.Formatter.formatMessage = message_before  # type: ignore[method-assign] # given back

    logging.Logger.handle = handle  # type: ignore[method-assign] # logging has no hook behind `extra`
    logging.Handler.format = format  # type: ignore[method-assign] # see above
    logging.Formatter.formatMessage = formatMessage  # type: ignore[method-assign] # see above
    return undo


class _Loan:
    """Gives a record what its formatter asks for, and takes it back. What a formatter has a fixed value of is taken
    away meanwhile.
    """

    def __init__(self, fields: Fields) -> None:
        self.on = True
        self._fields = fields
        self._known: WeakKeyDictionary[logging.Formatter, Wanted] = WeakKeyDictionary()

    def give(self, formatter: logging.Formatter | None, record: dict[str, Any]) -> dict[str, Any] | None:
        """What the record had before; None where nothing was changed."""
        if formatter is None or not self.on:
            return None
        wanted = self._wanted_by(formatter)
        if wanted is _NOTHING:
            return None
        before: dict[str, Any] = {}
        for name in wanted[0]:
            if name not in record:
                before[name] = _ABSENT
                record[name] = self._fields.blank(name)
        for name in wanted[1]:
            if name in record:
                before[name] = record.pop(name)
        return before

    @staticmethod
    def take_back(record: dict[str, Any], before: dict[str, Any] | None) -> None:
        """The record as it was."""
        for name, value in (before or {}).items():
            if value is _ABSENT:
                record.pop(name, None)
            else:
                record[name] = value

    def _wanted_by(self, formatter: logging.Formatter) -> Wanted:
        try:
            found = self._known.get(formatter)
            if found is None:
                self._known[formatter] = found = _wanted(formatter)
        except TypeError:  # one that cannot be hashed
            return _wanted(formatter)
        return found


def _wanted(formatter: logging.Formatter) -> Wanted:
    named = str(getattr(formatter, "_fmt", None) or "")
    defaults = {
        **(getattr(getattr(formatter, "_style", None), "_defaults", None) or {}),
        **_mapping(formatter, "defaults"),  # python-json-logger's
    }
    fixed = _mapping(formatter, "static_fields")  # python-json-logger's
    needed = tuple(name for name in FIELDS if name in named and name not in defaults and name not in fixed)
    kept = tuple(name for name in FIELDS if name in fixed)
    return (needed, kept) if needed or kept else _NOTHING


def _mapping(formatter: logging.Formatter, name: str) -> dict[str, Any]:
    found = getattr(formatter, name, None)
    return found if isinstance(found, dict) else {}
