"""Log records as JSON, one line each."""

import json
import logging
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from .._naming import qualified_name
from ..redact import REDACTED
from ._fields import FIELDS, Fields, by_hand

Clean = Callable[[str], str]
Hides = Callable[[str], bool]

_DEEPEST: Final = 8

_STANDARD: Final = ("logging", "logging.handlers")
_SERVERS: Final = ("uvicorn", "gunicorn", "hypercorn", "granian")

_OWN: Final = frozenset({*FIELDS, "timestamp", "severity", "message", "logger", "exception"})
_OF_LOGGING: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    r"""One line of JSON per record; never raises.

    Always there: `timestamp` (RFC 3339, UTC, microseconds), `severity` (the level's name), `message`, `logger`. Where
    they are known: `trace_id`, `span_id`, `trace_flags`, `service`. With an exception: `exception` with `type`,
    `message` and `stacktrace`. What `extra=` holds is kept at top level; a name that is taken there gets an underscore
    behind it. What JSON cannot hold is written as its `repr`.
    """

    def __init__(self, *, clean: Clean | None = None, hides: Hides | None = None) -> None:
        """`clean` takes secrets out of a text before it is written; `hides` says which fields of `extra=` are some."""
        super().__init__()
        self._hides = hides
        self._clean: Clean = clean or str
        self._fields = by_hand

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields = record.__dict__
        line: dict[str, object] = {
            "timestamp": _rfc3339(record.created),
            "severity": record.levelname,
            "message": self._clean(_message(record)),
            "logger": record.name,
        }
        for name in FIELDS:
            if value := fields.get(name) or self._fields.blank(name):
                line[name] = value
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = self._exception(record.exc_info[1])
        elif record.exc_text:  # a record that came through a queue has its exception as a text
            line["exception"] = {"stacktrace": self._clean(record.exc_text)}
        if record.stack_info:
            line["stack"] = self._clean(record.stack_info)
        for name, value in fields.items():
            if name not in _OF_LOGGING and name not in FIELDS:
                line[f"{name}_" if name in _OWN else name] = self._shown(name, value, _DEEPEST)
        return _dump(line, self._repr)

    def _shown(self, name: object, value: object, deep: int) -> object:
        """A value of `extra=` without its secrets, down to a depth; what lies below is written as its `repr`."""
        hides = self._hides
        if hides and isinstance(name, str | bytes) and hides(name if isinstance(name, str) else name.decode("latin-1")):
            return REDACTED
        if isinstance(value, str):
            return self._clean(value)
        if hides is None or type(value) not in (dict, list, tuple):
            return value
        if not deep:
            return self._repr(value)
        if isinstance(value, dict):
            return {key: self._shown(key, each, deep - 1) for key, each in value.items()}
        items: list[object] = list(value)  # type: ignore[call-overload] # a list or a tuple, see above
        if len(items) == 2 and isinstance(items[0], str | bytes):  # a header
            return [self._shown("", items[0], deep - 1), self._shown(items[0], items[1], deep - 1)]
        return [self._shown("", each, deep - 1) for each in items]

    def _repr(self, value: object) -> str:
        return self._clean(_repr(value))

    def _exception(self, error: BaseException) -> dict[str, object]:
        try:
            stack = "".join(traceback.format_exception(error))
        except Exception:  # an error whose __str__ or __cause__ is broken
            stack = ""
        return {
            "type": qualified_name(type(error)),
            "message": self._clean(_text(error)),
            "stacktrace": self._clean(stack),
        }


def everywhere(fields: Fields, clean: Clean | None = None, hides: Hides | None = None) -> Callable[[], None]:
    """Write JSON where the standard library's handlers write to a stream or a file. Returns the undo.

    Only in place of no formatter, of logging's own or of a server's: a formatter class that the service wrote is its
    wish, and so are handlers of third parties. Looked at when a record is written, so that it does not matter who
    configures logging, when and how.
    """
    ours = _Named(fields, clean, hides)
    suits: dict[tuple[type, type], bool] = {}
    format_before = logging.Handler.format
    on = True

    def format(self: logging.Handler, record: logging.LogRecord) -> str:  # noqa: A001 (it replaces one)
        kinds = type(self), type(self.formatter)
        if kinds not in suits:
            suits[kinds] = _suits(*kinds)
        return ours.format(record) if on and suits[kinds] else format_before(self, record)

    def undo() -> None:
        nonlocal on
        on = False
        if logging.Handler.format is format:
            logging.Handler.format = format_before  # type: ignore[method-assign] # given back

    logging.Handler.format = format  # type: ignore[method-assign] # see above
    return undo


class _Named(JsonFormatter):
    """Knows the service, also where records are not correlated."""

    def __init__(self, fields: Fields, clean: Clean | None, hides: Hides | None) -> None:
        super().__init__(clean=clean, hides=hides)
        self._fields = fields


def _suits(handler: type, formatter: type) -> bool:
    if not issubclass(handler, logging.StreamHandler) or handler.__module__ not in _STANDARD:
        return False
    module = formatter.__module__
    return formatter is type(None) or module in _STANDARD or module.partition(".")[0] in _SERVERS


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # arguments that do not fit: the line is worth more than an error about it
        return f"{_text(record.msg)} {_text(record.args)}"


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__qualname__} that cannot be printed>"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__qualname__} that cannot be printed>"


def _dump(line: dict[str, object], told: Callable[[object], str]) -> str:
    try:
        return json.dumps(line, default=told, allow_nan=False)  # ASCII: no stream can refuse it
    except Exception:  # keys that are no texts, NaN
        return json.dumps({name: value if _plain(value) else told(value) for name, value in line.items()})


def _plain(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except Exception:
        return False
    return True
