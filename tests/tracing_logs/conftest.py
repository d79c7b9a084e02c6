"""Correlated logs for one test, and spans to log in."""

from collections.abc import Iterator

import pytest
from opentelemetry.trace import Tracer, format_span_id, format_trace_id, get_current_span

from handrail.tracing import logs
from handrail.tracing.testing import Spans


@pytest.fixture
def correlation() -> Iterator[logs.Correlation]:
    """Records of the service `shop` are filled; afterwards no more."""
    made = logs.install("shop")
    yield made
    made.undo()


@pytest.fixture
def tracer() -> Tracer:
    """A tracer whose spans go nowhere."""
    return Spans().tracing().tracer


def here() -> tuple[str, str]:
    """The ids of the current span as they stand in a log line."""
    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id), format_span_id(context.span_id)
