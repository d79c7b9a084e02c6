"""A client library that is not what it is called costs its own guard, and nothing else."""

from types import ModuleType

import httpx
import pytest

from handrail import _wire
from handrail.settings import load
from handrail.tracing.testing import Spans


@pytest.mark.parametrize("name", ["aiohttp", "requests", "urllib3"])
def test_a_stub_in_the_place_of_a_library(
    spans: Spans, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The service starts, one line says what is not guarded, and the libraries that come after it are."""
    before = vars(httpx.Client)["send"]
    process = _wire.Process(load({}))
    process._client(ModuleType(name))
    assert f"calls through {name} are not guarded" in caplog.text
    process._client(httpx)
    assert vars(httpx.Client)["send"] is not before
    process.switch_off()
    assert vars(httpx.Client)["send"] is before
