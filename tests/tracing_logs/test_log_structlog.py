"""The fields in structlog's events."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from opentelemetry.trace import Tracer

from handrail.tracing import logs
from tests.tracing_logs.conftest import here


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Structlog as after its import."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def json_logger(stream: io.StringIO, **options: Any) -> None:
    """What services do: structlog.configure with a list that ends in a JSON renderer."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(stream),
        **options,
    )


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("first", ["handrail", "structlog"])
@pytest.mark.parametrize("cached", [True, False])
def test_whoever_comes_first(first: str, cached: bool, tracer: Tracer):
    """Configured before or after us, with cached loggers or without: an event within a span has its ids."""
    stream = io.StringIO()
    log = structlog.get_logger()
    if first == "structlog":
        json_logger(stream, cache_logger_on_first_use=cached)
        log.info("early")
        made = logs.install("shop")
    else:
        made = logs.install("shop")
        json_logger(stream, cache_logger_on_first_use=cached)
        log.info("early")
    try:
        with tracer.start_as_current_span("GET"):
            log.info("paid", order=7)
            trace_id, span_id = here()
    finally:
        made.undo()
    log.info("late")
    early, paid, late = lines(stream)
    assert early == {"event": "early", "level": "info"}
    assert paid == {
        "event": "paid", "level": "info", "order": 7,
        "trace_id": trace_id, "span_id": span_id, "trace_flags": "03", "service": "shop",
    }  # fmt: skip
    assert late == {"event": "late", "level": "info"}


def test_what_the_service_bound_wins(correlation, tracer: Tracer):
    """bind_contextvars and bind of the service are not overwritten."""
    stream = io.StringIO()
    json_logger(stream)
    structlog.contextvars.bind_contextvars(trace_id="of the service")
    with tracer.start_as_current_span("GET"):
        structlog.get_logger().bind(service="other").info("x")
        structlog.contextvars.clear_contextvars()
        structlog.get_logger().bind(service="other").info("y")
        trace_id, _ = here()
    first, second = lines(stream)
    assert first["trace_id"] == "of the service"
    assert "span_id" not in first
    assert (second["trace_id"], second["service"]) == (trace_id, "other")


def test_capture_logs_sees_what_it_saw(correlation, tracer: Tracer):
    """A service's own tests with structlog.testing.capture_logs compare equal as before."""
    log = structlog.get_logger()
    with tracer.start_as_current_span("GET"), structlog.testing.capture_logs() as seen:
        log.info("paid", order=7)
    assert seen == [{"event": "paid", "order": 7, "log_level": "info"}]


def test_through_stdlib_the_ids_arrive_once(correlation, tracer: Tracer, caplog: pytest.LogCaptureFixture):
    """Structlog rendered into stdlib's extra meets our own hook there: same ids, no KeyError."""
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs], logger_factory=structlog.stdlib.LoggerFactory()
    )
    with caplog.at_level(logging.INFO), tracer.start_as_current_span("GET"):
        structlog.get_logger("tests.through").warning("paid")
        trace_id, span_id = here()
    (record,) = caplog.records
    assert (record.trace_id, record.span_id) == (trace_id, span_id)  # type: ignore[attr-defined]


def test_a_chain_in_a_tuple(correlation, tracer: Tracer):
    """Processors that are no list are taken over into one."""
    stream = io.StringIO()
    structlog.configure(
        processors=(structlog.processors.JSONRenderer(),),  # people do
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    with tracer.start_as_current_span("GET"):
        structlog.get_logger().info("x")
        trace_id, _ = here()
    assert lines(stream)[0]["trace_id"] == trace_id


def test_by_hand_it_is_not_doubled(correlation, tracer: Tracer):
    """A chain that names structlog_processor itself gets no second one, and works in wrap_logger too."""
    stream = io.StringIO()
    chain: list[Any] = [logs.structlog_processor, structlog.processors.JSONRenderer()]
    structlog.configure(processors=chain)
    log = structlog.wrap_logger(structlog.PrintLogger(stream), processors=chain)
    with tracer.start_as_current_span("GET"):
        log.info("x")
        trace_id, _ = here()
    assert len(chain) == 2
    assert lines(stream)[0]["trace_id"] == trace_id


def test_a_record_of_others_outside_a_span_has_no_empty_fields(tracer: Tracer):
    """Structlog's ExtraAdder prints all that a stdlib record has: the ids within a span, else nothing of ours."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    adder = structlog.stdlib.ExtraAdder()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(structlog.processors.JSONRenderer(), foreign_pre_chain=[adder])
    )
    log = logging.getLogger("tests.foreign")
    log.propagate = False
    log.addHandler(handler)
    made = logs.install("shop")
    try:
        log.warning("idle")
        with tracer.start_as_current_span("GET"):
            log.warning("paid")
            trace_id, span_id = here()
    finally:
        made.undo()
        log.removeHandler(handler)
    assert lines(stream) == [
        {"event": "idle"},
        {"event": "paid", "trace_id": trace_id, "span_id": span_id, "trace_flags": "03"},
    ]
