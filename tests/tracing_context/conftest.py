"""Spans in memory, and context carried as handrail does it, undone after the test."""

from collections.abc import Iterator

import pytest
from opentelemetry.trace import Tracer

from handrail import _wire
from handrail.tracing import context
from handrail.tracing.testing import Spans, as_global


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The global provider keeps spans in memory; after the test nothing is switched on any more."""
    kept = Spans()
    with as_global(kept.provider):
        yield kept
    _wire.switch_off()


@pytest.fixture
def tracer(spans: Spans) -> Iterator[Tracer]:
    """A tracer of the service, with threads and executors carrying its spans."""
    undo = context.install()
    yield spans.provider.get_tracer("service")
    undo()
