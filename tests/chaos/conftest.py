"""A process that is switched on for one test, with its spans in memory."""

from collections.abc import Iterator

import pytest

from handrail import _chaos, _wire
from handrail.tracing.testing import Spans, as_global


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The global provider keeps spans in memory; after the test nothing is switched on, and no fault is."""
    kept = Spans()
    with as_global(kept.provider):
        yield kept
    _wire.switch_off()
    assert _chaos.BOOK.empty
    assert _chaos._holders == 0
