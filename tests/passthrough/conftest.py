"""The service under each server, with handrail and, to compare, without; started once for each file of tests."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.passthrough.stream_servers import EVERYTHING, Server, Start, server

SIZE = 3_000_003


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that `/file` sends."""
    path = tmp_path_factory.mktemp("sent") / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture(scope="module")
def start(sent: Path) -> Iterator[Start]:
    """Starts a server when it is asked for the first time."""
    running: dict[tuple[str, bool], Server] = {}
    with ExitStack() as cleanup:

        def get(name: str, *, guarded: bool = True) -> Server:
            if (name, guarded) not in running:
                environ = {"PASSTHROUGH_FILE": str(sent)}
                made = server(name, sent.parent, EVERYTHING if guarded else None, environ)
                running[name, guarded] = cleanup.enter_context(made)
            return running[name, guarded]

        yield get
