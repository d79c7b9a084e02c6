"""Both kinds of httpx, and spans in memory."""

from collections.abc import Iterator
from types import ModuleType

import httpx
import httpx2
import pytest

from handrail.tracing.testing import Spans, as_global


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    """The client library of the test."""
    found: ModuleType = request.param
    return found


@pytest.fixture
def spans() -> Iterator[Spans]:
    """All spans of the test; the provider is the global one."""
    found = Spans()
    with as_global(found.provider):
        yield found
