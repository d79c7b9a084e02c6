"""The fields in records of stdlib logging.

The place is `Logger.handle`: the record is made, whatever factory the service set, and its `extra` is merged, so
nothing is overwritten and no KeyError provoked; it runs in the caller's thread and context; and no call of
dictConfig, before or after, takes it away. `Formatter.formatMessage` is the net under it, for records that no logger
of this process made.
"""

import logging
from collections.abc import Callable

from ._fields import Fields


def correlate(fields: Fields) -> Callable[[], None]:
    """Fill every record from now on. Returns the undo."""
    handle_before, format_before = logging.Logger.handle, logging.Formatter.formatMessage
    on = True

    def handle(self: logging.Logger, record: logging.LogRecord) -> None:
        if on:
            about = record.exc_info
            fields.fill(record.__dict__, about[1] if about else None)
        handle_before(self, record)

    def formatMessage(self: logging.Formatter, record: logging.LogRecord) -> str:  # noqa: N802 (it replaces one)
        if on and "trace_id" not in record.__dict__:
            fields.blank(record.__dict__)
        return format_before(self, record)

    def undo() -> None:
        nonlocal on
        on = False  # somebody may have wrapped ours since: then it stays, and does nothing
        if logging.Logger.handle is handle:
            logging.Logger.handle = handle_before  # type: ignore[method-assign] # given back
        if logging.Formatter.formatMessage is formatMessage:
            logging.Formatter.formatMessage = format_before  # type: ignore[method-assign] # given back

    logging.Logger.handle = handle  # type: ignore[method-assign] # logging has no hook behind `extra`
    logging.Formatter.formatMessage = formatMessage  # type: ignore[method-assign] # see above
    return undo
