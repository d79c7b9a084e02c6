"""A process that is switched on for one test, with its spans in memory."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace

from handrail import _protect, _servers, _wire
from handrail.tracing.testing import Spans, as_global
from tests.wiring.followed import Service


def ended() -> None:
    """Switched off, and no thread left that the next test could take for its own."""
    _wire.switch_off()
    for thread in threading.enumerate():
        if thread.name in ("handrail-reload", "handrail-shared"):
            thread.join(60)


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The global provider keeps spans in memory; after the test nothing is switched on any more."""
    kept = Spans()
    with as_global(kept.provider):
        assert trace.get_tracer_provider() is kept.provider
        yield kept
    ended()


@pytest.fixture
def automatic(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """As `import handrail.auto` does it, undone after the test; servers, where it cannot be undone, are left alone."""
    monkeypatch.setattr(_servers, "watch", lambda _: None)
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
    ended()
