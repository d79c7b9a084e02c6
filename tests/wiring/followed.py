"""A process whose settings file is followed, and what it says about that."""

from pathlib import Path
from typing import Any

import pytest

import handrail
from handrail import _wire
from handrail._reload import Follower
from handrail.resilience import Entry

__all__ = ["Service", "plain_app"]


async def plain_app(scope: Any, receive: Any, send: Any) -> None: ...


class Service:
    """A process that is switched on in a folder with a settings file."""

    def __init__(self, folder: Path, log: pytest.LogCaptureFixture) -> None:
        self.folder = folder
        self._log = log

    def start(self, text: str, name: str = "handrail.toml", **arguments: Any) -> "Service":
        (self.folder / name).write_text(text)
        handrail.protect(plain_app, **arguments)
        return self

    @property
    def process(self) -> _wire.Process:
        found = _wire.current()
        assert found is not None
        return found

    @property
    def follower(self) -> Follower:
        assert self.process.follower is not None
        return self.process.follower

    def entry(self, host: str = "peer", port: int = 80) -> Entry:
        return self.process.registry.pipeline("http", host, port)

    def change(self, text: str, name: str = "handrail.toml") -> list[str]:
        """Write, let it be looked at until it is read; returns the lines of the log."""
        (self.folder / name).write_text(text)
        return self.look()

    def look(self) -> list[str]:
        self._log.clear()
        while self.follower.look():
            pass
        return [f"{record.levelname} {record.getMessage()}" for record in self._log.records]
