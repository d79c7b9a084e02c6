"""Four processes that claim the same keys while the server is killed, started and frozen; and what must come of it."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.redis_server import until

__all__ = ["Server", "claimed_once"]

ROOT = Path(__file__).resolve().parents[2]
KEYS = 2000


class Server(Protocol):
    """A server of the tests."""

    url: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...


@dataclass
class _Outcome:
    """What a process has found: the keys that were NEW to it, and the answers."""

    mine: list[int]
    answers: dict[str, str]


class _Process:
    def __init__(self, url: str, name: str, folder: Path) -> None:
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
        command = [sys.executable, "-m", "tests.replay.claimer", url, name, str(KEYS)]
        self._errors = (folder / f"{name}.log").open("w+")
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.strip())

    def said(self, word: str) -> int:
        """How often. Raises where the process has ended by an error."""
        assert not self._process.poll(), self.errors()
        return self.lines.count(word)

    def errors(self) -> str:
        """What it met with."""
        self._errors.seek(0)
        return self._errors.read()[-3000:]

    def finish(self) -> _Outcome:
        """Let it come to its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(100) == 0, self.errors()
        self._reader.join(10)
        return _Outcome(**json.loads(self.lines[-1]))

    def kill(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.wait()
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()


def claimed_once(server: Server, folder: Path) -> str:
    """Raises AssertionError unless each key was NEW to one process, whose answer all found; returns their errors."""
    processes = [_Process(server.url, f"p{number}", folder) for number in range(4)]
    try:
        _more(processes, "ready")
        _more(processes, "away", server.stop)
        _more(processes, "back", server.start)
        _more(processes, "away", server.freeze)
        _more(processes, "back", server.thaw)
        results = [process.finish() for process in processes]
        errors = "".join(process.errors() for process in processes)
    finally:
        for process in processes:
            process.kill()
    mine = Counter(key for result in results for key in result.mine)
    assert mine == Counter(range(KEYS + 1)), {key: count for key, count in mine.items() if count != 1}
    for result in results:
        assert len(result.answers) >= KEYS, len(result.answers)
        for key, answer in result.answers.items():
            owner = next(number for number, other in enumerate(results) if int(key) in other.mine)
            assert answer == f"p{owner}'s answer to {key}", (key, answer, owner)
    return errors


def _more(processes: Sequence[_Process], word: str, act: Callable[[], None] = lambda: None) -> None:
    """Do it, and wait until all have said that word once more."""
    before = [process.said(word) for process in processes]
    act()
    until(
        lambda: all(process.said(word) > count for process, count in zip(processes, before, strict=True)),
        f"{word} of all processes",
    )
