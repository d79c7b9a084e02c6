"""The fields in loguru's records."""

import io
import json
from collections.abc import Iterator

import pytest
from loguru import logger
from opentelemetry.trace import Tracer

from handrail.tracing import logs
from tests.tracing_logs.conftest import here


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """What loguru writes, with a format that asks for the ids."""
    stream = io.StringIO()
    logger.remove()
    added = logger.add(stream, format="{extra[trace_id]} {extra[span_id]} {extra[service]}|{message}", catch=False)
    yield stream
    logger.remove(added)
    logger._core.patcher = None  # type: ignore[attr-defined] # loguru cannot forget a patcher


def test_the_ids_are_in_extra(out: io.StringIO, correlation, tracer: Tracer):
    """A format reads the ids of the current span from `extra`; outside a span they are empty, never a KeyError."""
    with tracer.start_as_current_span("GET"):
        logger.info("paid")
        trace_id, span_id = here()
    logger.info("idle")
    assert out.getvalue() == f"{trace_id} {span_id} shop|paid\n  shop|idle\n"


@pytest.mark.parametrize("first", ["handrail", "service"])
def test_the_services_patcher_runs_too(first: str, out: io.StringIO, tracer: Tracer):
    """logger.configure(patcher=...) before or after us: both run, and what theirs sets stays."""

    def patcher(record) -> None:
        record["extra"]["service"] = "patched"

    made = logs.install("shop") if first == "handrail" else None
    logger.configure(patcher=patcher)
    made = made or logs.install("shop")
    with tracer.start_as_current_span("GET"):
        logger.info("x")
        trace_id, span_id = here()
    made.undo()
    assert out.getvalue() == f"{trace_id} {span_id} patched|x\n"
    assert logger._core.patcher is patcher  # type: ignore[attr-defined]


def test_what_the_service_bound_wins(out: io.StringIO, correlation, tracer: Tracer):
    """bind(trace_id=...) of the service is not overwritten."""
    with tracer.start_as_current_span("GET"):
        logger.bind(trace_id="mine").info("x")
    assert out.getvalue() == "mine  shop|x\n"


def test_a_default_of_the_service_wins(out: io.StringIO, correlation, tracer: Tracer):
    """patch(...) that fills what is missing, and what loguru prints of `extra`: within a span and outside of any."""
    logger.add(out, format="{extra}")
    patched = logger.patch(lambda record: record["extra"].setdefault("service", "mine"))
    patched.info("idle")
    patched.patch(lambda record: record["extra"].setdefault("trace_id", "mine")).info("idle")
    with tracer.start_as_current_span("GET"):
        patched.info("paid")
        trace_id, span_id = here()
    told = {"trace_id": trace_id, "span_id": span_id, "trace_flags": "03", "service": "mine"}
    lines = out.getvalue().splitlines()
    assert [lines[0], lines[2], lines[4]] == ["  mine|idle", "mine  mine|idle", f"{trace_id} {span_id} mine|paid"]
    assert lines[1::2] == ["{'service': 'mine'}", "{'service': 'mine', 'trace_id': 'mine'}", str(told)]


def test_a_field_that_is_not_there_is_still_an_error(correlation):
    """Only our fields are empty where nobody set them."""
    logger.remove()
    logger.add(io.StringIO(), format="{extra[tenant]}", catch=False)
    with pytest.raises(KeyError, match="tenant"):
        logger.info("x")
    logger.remove()


def test_serialize_has_them(correlation, tracer: Tracer):
    """Loguru's own JSON (serialize=True) holds the ids, also when it is written by another thread."""
    stream = io.StringIO()
    logger.remove()
    added = logger.add(stream, serialize=True, enqueue=True)
    with tracer.start_as_current_span("GET"):
        logger.info("x")
        trace_id, _ = here()
    logger.remove(added)  # waits for the other thread
    assert json.loads(stream.getvalue())["record"]["extra"]["trace_id"] == trace_id


def test_undo_gives_loguru_back(out: io.StringIO):
    """After the undo there is no patcher, and configure is loguru's."""
    before = type(logger).configure
    made = logs.install("shop")
    assert type(logger).configure is not before
    made.undo()
    assert type(logger).configure is before
    assert logger._core.patcher is None  # type: ignore[attr-defined]
