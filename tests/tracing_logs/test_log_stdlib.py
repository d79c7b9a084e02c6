"""The fields in records of stdlib logging."""

import io
import json
import logging
import logging.config
import logging.handlers
import pickle
import queue
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Tracer

from handrail.tracing import logs
from handrail.tracing.testing import Spans
from tests.tracing_logs.conftest import here

FORMAT = "%(trace_id)s %(span_id)s %(trace_flags)s %(service)s|%(message)s"


class Kept(logging.Handler):
    """Keeps records, as a handler of a third party."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of its own, without handlers."""
    made = logging.getLogger("tests.shop")
    made.setLevel(logging.INFO)
    made.propagate = False
    yield made
    made.handlers.clear()
    made.propagate = True


@pytest.fixture
def out(logger: logging.Logger) -> io.StringIO:
    """What the logger writes with FORMAT; the format was there before handrail."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(FORMAT))
    logger.addHandler(handler)
    return stream


@pytest.fixture
def kept(logger: logging.Logger) -> Kept:
    """The records of the logger."""
    handler = Kept()
    logger.addHandler(handler)
    return handler


@pytest.fixture(autouse=True)
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that fails fails the test, instead of printing."""

    def handle_error(self: logging.Handler, record: logging.LogRecord) -> None:
        raise sys.exception() or AssertionError

    monkeypatch.setattr(logging.Handler, "handleError", handle_error)


def test_a_format_finds_the_ids_within_a_span(out, logger, correlation, tracer: Tracer):
    """A format that was configured before handrail prints the ids of the current span."""
    with tracer.start_as_current_span("GET"):
        logger.info("paid")
        trace_id, span_id = here()
    assert out.getvalue() == f"{trace_id} {span_id} 03 shop|paid\n"


def test_a_record_outside_any_span_has_empty_ids(out, logger, correlation):
    """A3 (contrib#1898): %(trace_id)s never raises, also where there is no span."""
    logger.info("started")
    assert out.getvalue() == "   shop|started\n"


def test_extra_of_the_service_is_kept(out, logger, correlation, tracer: Tracer):
    """extra={"trace_id": ...} neither raises (as with a record factory) nor is it overwritten, nor mixed with ours."""
    with tracer.start_as_current_span("GET"):
        logger.info("mine", extra={"trace_id": "of the service", "service": "other"})
    assert out.getvalue() == "of the service   other|mine\n"


def test_ids_of_an_unsampled_span_are_valid(out, logger, correlation):
    """A span that is not recorded has ids all the same, with an even number in trace_flags."""
    with Spans(ALWAYS_OFF).tracing().tracer.start_as_current_span("GET"):
        logger.info("quiet")
        trace_id, span_id = here()
    assert len(trace_id.strip("0")) > 0
    assert out.getvalue() == f"{trace_id} {span_id} 02 shop|quiet\n"


def test_a_record_factory_that_is_set_later_is_kept(logger, kept: Kept, correlation, tracer: Tracer):
    """logging.setLogRecordFactory of the service, before or after, stays in force; what it fills stays."""
    before = logging.getLogRecordFactory()

    def factory(*args: Any, **options: Any) -> logging.LogRecord:
        record = before(*args, **options)
        record.tenant = "acme"
        record.span_id = "factory"
        return record

    logging.setLogRecordFactory(factory)
    try:
        with tracer.start_as_current_span("GET"):
            logger.info("x")
            trace_id, _ = here()
    finally:
        logging.setLogRecordFactory(before)
    (record,) = kept.records
    assert (record.tenant, record.trace_id, record.span_id) == ("acme", trace_id, "factory")  # type: ignore[attr-defined]


def test_a_logger_class_with_its_own_make_record(correlation, tracer: Tracer):
    """A service's logger class that makes its records itself is covered."""

    class Own(logging.Logger):
        def makeRecord(self, name, level, fn, lno, msg, args, exc_info, func=None, extra=None, sinfo=None):  # noqa: N802
            return logging.LogRecord(name, level, fn, lno, msg, args, exc_info, func, sinfo)

    logger, kept = Own("own"), Kept()
    logger.addHandler(kept)
    with tracer.start_as_current_span("GET"):
        logger.warning("x")
        trace_id, _ = here()
    assert kept.records[0].trace_id == trace_id  # type: ignore[attr-defined]


def test_a_queue_keeps_the_ids_of_the_caller(logger, correlation, tracer: Tracer):
    """QueueHandler and QueueListener: formatted on another thread, with the ids of where it was logged."""
    lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stream = io.StringIO()
    target = logging.StreamHandler(stream)
    target.setFormatter(logging.Formatter(FORMAT))
    logger.addHandler(logging.handlers.QueueHandler(lines))
    listener = logging.handlers.QueueListener(lines, target)
    listener.start()
    with tracer.start_as_current_span("GET"):
        logger.info("queued")
        trace_id, span_id = here()
    listener.stop()
    assert stream.getvalue() == f"{trace_id} {span_id} 03 shop|queued\n"


def test_a_pickled_record_keeps_its_ids(logger, kept: Kept, correlation, tracer: Tracer):
    """A record that travels (SocketHandler, multiprocessing) keeps the ids that it was made with."""
    with tracer.start_as_current_span("GET"):
        logger.info("travels")
        trace_id, span_id = here()
    text = logging.Formatter(FORMAT).format(pickle.loads(pickle.dumps(kept.records[0])))
    assert text == f"{trace_id} {span_id} 03 shop|travels"


def test_a_record_that_no_logger_made_can_be_formatted(correlation):
    """Records from a process without handrail, or made by hand, never raise in a format that asks for the ids."""
    record = logging.makeLogRecord({"msg": "from afar"})
    assert logging.Formatter(FORMAT).format(record) == "   shop|from afar"
    assert logging.Formatter("{trace_id}|{message}", style="{").format(logging.makeLogRecord({"msg": "x"})) == "|x"


def test_dict_config_later_changes_nothing(correlation, tracer: Tracer, capsys):
    """logging.config.dictConfig after us, as uvicorn and Django do it, takes nothing away."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"ids": {"format": "%(trace_id)s %(message)s"}},
            "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "ids", "stream": "ext://sys.stdout"}},
            "loggers": {"tests.later": {"handlers": ["out"], "level": "INFO", "propagate": False}},
        }
    )
    with tracer.start_as_current_span("GET"):
        logging.getLogger("tests.later").info("hello")
        trace_id, _ = here()
    assert capsys.readouterr().out == f"{trace_id} hello\n"


def test_where_a_line_comes_from_is_still_right(logger, kept: Kept, correlation):
    """pathname, lineno, funcName and stacklevel point at the caller, not at us."""
    logger.info("x")
    logger.info("x", stacklevel=1)
    assert {record.funcName for record in kept.records} == {"test_where_a_line_comes_from_is_still_right"}
    assert {record.pathname for record in kept.records} == {__file__}


def test_the_services_own_filter_has_the_last_word(logger, kept: Kept, correlation, tracer: Tracer):
    """A filter of the service that sets trace_id runs behind us and wins, as it did without us."""

    class Own(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            record.trace_id = "filter"
            return True

    own = Own()
    logger.addFilter(own)
    try:
        with tracer.start_as_current_span("GET"):
            logger.info("x")
    finally:
        logger.removeFilter(own)
    assert kept.records[0].trace_id == "filter"  # type: ignore[attr-defined]


def test_outside_a_span_a_record_is_left_as_it_is(out, logger, kept: Kept, correlation):
    """What prints all fields of a record prints none of ours, also behind a handler whose format asked for them."""
    logger.info("idle")
    assert out.getvalue() == "   shop|idle\n"
    assert not set(logs.FIELDS) & set(vars(kept.records[0]))


def test_a_filter_that_fills_what_is_missing(out, logger, correlation, tracer: Tracer):
    """`if not hasattr(record, "trace_id")` of the service: outside of a span, and for `service`, its value stands."""

    class Own(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            for name in ("trace_id", "service"):
                if not hasattr(record, name):
                    setattr(record, name, "mine")
            return True

    logger.handlers[0].addFilter(Own())
    logger.info("idle")
    with tracer.start_as_current_span("GET"):
        logger.info("paid")
        trace_id, span_id = here()
    assert out.getvalue() == f"mine   mine|idle\n{trace_id} {span_id} 03 mine|paid\n"


def test_the_defaults_of_a_formatter_stand(out, logger, correlation, tracer: Tracer):
    """logging.Formatter(defaults=...) of the service: `service` is its own, the ids are its own outside of a span."""
    mine = {"service": "billing", "trace_id": "-", "span_id": "-"}
    logger.handlers[0].setFormatter(logging.Formatter(FORMAT, defaults=mine))
    logger.info("idle")
    with tracer.start_as_current_span("GET"):
        logger.info("paid")
        trace_id, span_id = here()
    assert out.getvalue() == f"- -  billing|idle\n{trace_id} {span_id} 03 billing|paid\n"


class Jsonish(logging.Formatter):
    """Takes fields as python-json-logger does: defaults, static fields, those of the format, then all extra ones."""

    def __init__(self, fmt: str, static: dict[str, str] | None = None, defaults: dict[str, str] | None = None) -> None:
        super().__init__(fmt)
        self.static_fields, self.defaults = static or {}, defaults or {}

    def format(self, record: logging.LogRecord) -> str:
        there = {name: value for name, value in vars(record).items() if name in logs.FIELDS}
        asked = {name: there.get(name) for name in logs.FIELDS if name in str(self._fmt)}
        return json.dumps({**self.defaults, **asked, **self.static_fields, **there})


def test_what_a_formatter_of_json_has_itself_stands(out, logger, correlation, tracer: Tracer):
    """Static fields always win, defaults outside of a span; nothing is added but the ids, unless the format asks."""
    handler = logger.handlers[0]
    handler.setFormatter(Jsonish("%(message)s", static={"service": "billing", "trace_id": "static"}))
    logger.info("idle")
    with tracer.start_as_current_span("GET"):
        logger.info("paid")
        trace_id, span_id = here()
        handler.setFormatter(Jsonish("%(message)s", defaults={"service": "billing", "trace_id": "-"}))
        logger.info("paid")
    logger.info("idle")
    handler.setFormatter(Jsonish("%(service)s %(trace_id)s"))
    logger.info("idle")
    static = {"service": "billing", "trace_id": "static"}
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        static,
        {**static, "span_id": span_id, "trace_flags": "03"},
        {"service": "billing", "trace_id": trace_id, "span_id": span_id, "trace_flags": "03"},
        {"service": "billing", "trace_id": "-"},
        {"service": "shop", "trace_id": ""},
    ]


def test_a_formatter_that_cannot_be_hashed(logger, out, correlation):
    """A formatter that says when it equals another one gets the fields as well."""

    class Equal(logging.Formatter):
        __hash__ = None  # type: ignore[assignment] # as of any class with an __eq__ alone

    logger.handlers[0].setFormatter(Equal(FORMAT))
    logger.info("x")
    assert out.getvalue() == "   shop|x\n"


def test_undo_gives_logging_back(logger, kept: Kept):
    """After the undo the methods are the standard library's, and records have no fields of ours."""
    before = logging.Logger.handle, logging.Formatter.formatMessage, logging.Handler.format
    made = logs.install("shop")
    assert logging.Logger.handle is not before[0]
    made.undo()
    made.undo()
    logger.info("x")
    assert (logging.Logger.handle, logging.Formatter.formatMessage, logging.Handler.format) == before
    assert not set(logs.FIELDS) & set(vars(kept.records[0]))


def test_undo_below_somebody_elses_wrap_is_silent(logger, kept: Kept, monkeypatch):
    """Where somebody wrapped Logger.handle after us, their wrap stays and ours does nothing any more."""
    made = logs.install("shop")
    inner = logging.Logger.handle

    def wrap(self: logging.Logger, record: logging.LogRecord) -> None:
        inner(self, record)

    monkeypatch.setattr(logging.Logger, "handle", wrap)
    made.undo()
    logger.info("x")
    assert "trace_id" not in vars(kept.records[0])
    monkeypatch.undo()
    monkeypatch.setattr(logging.Logger, "handle", inner)  # what the wrapper would give back
    logger.info("y")
    assert "trace_id" not in vars(kept.records[1])
