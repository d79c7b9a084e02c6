"""Pytest fixtures for services that use handrail. Nothing is imported, and nothing changes, until one is asked for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ._pytest_spans import CollectedSpans

__all__ = ["handrail_spans"]


@pytest.fixture
def handrail_spans(request: pytest.FixtureRequest) -> "Iterator[CollectedSpans]":
    """The spans of this test, of whoever makes them: nothing is exported meanwhile, no store is written.

    Works with a service that sets a TracerProvider of its own, at import or in the test, and with one that sets none.
    A test that fails shows them as a waterfall.
    """
    from ._pytest_spans import collected

    with collected() as spans:
        yield spans
    if spans.finished:
        request.node.add_report_section("teardown", "handrail spans", spans.waterfall())
