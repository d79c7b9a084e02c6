"""Spans in memory, the strict propagator, a server in miniature."""

from collections.abc import Iterator

import pytest
from opentelemetry import propagate

from handrail.tracing.propagation import W3CPropagator
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server


@pytest.fixture(autouse=True)
def strict_propagator() -> Iterator[None]:
    """What `provider.start` installs."""
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(W3CPropagator())
    yield
    propagate.set_global_textmap(before)


@pytest.fixture
def spans() -> Spans:
    """Spans in memory."""
    return Spans()


@pytest.fixture
def server() -> Server:
    """A server in miniature."""
    return Server()
