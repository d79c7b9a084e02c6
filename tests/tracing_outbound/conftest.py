"""Both kinds of httpx, spans in memory, and what is measured."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from opentelemetry.trace import Span

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


class Measure:
    """Keeps what it is told of each attempt, but for its time and span."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def end(
        self,
        method: str,
        scheme: str,
        host: str,
        port: int | None,
        status: int,
        error_type: str | None,
        version: str,
        seconds: float,
        span: Span,
    ) -> None:
        self.told.append((method, scheme, host, port, status, error_type, version))


@pytest.fixture
def measure() -> Measure:
    return Measure()
