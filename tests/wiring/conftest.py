"""A process that is switched on for one test, with its spans in memory."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace

from handrail import _protect, _wire
from handrail.tracing.testing import Spans, as_global
from tests.wiring.followed import Service


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The global provider keeps spans in memory; after the test nothing is switched on any more."""
    kept = Spans()
    with as_global(kept.provider):
        assert trace.get_tracer_provider() is kept.provider
        yield kept
    _wire.switch_off()


@pytest.fixture
def automatic(spans: Spans) -> Iterator[Spans]:
    """As `import handrail.auto` does it, undone after the test."""
    _protect.automatic()
    yield spans
    _protect._automatic = False


@pytest.fixture
def service(
    spans: Spans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Service]:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "handrail")
    yield Service(tmp_path, caplog)
    _wire.switch_off()
