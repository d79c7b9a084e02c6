"""The table of docs/context.md is what happens, on every Python that this machine has."""

import json
import re
from pathlib import Path

import pytest

from tests.tracing_context import interpreters

PAGE = interpreters.ROOT / "docs" / "context.md"
ROW = re.compile(r"^\| (?P<mechanism>.+) \| (?P<plain>kept|lost) \| (?P<handrail>kept|lost) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return interpreters.packages(tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("mode", ["plain", "handrail"])
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_table_is_true(version: str, mode: str, path: Path) -> None:
    """A4: each row of the page is what a run of that mechanism shows, with plain OpenTelemetry and with handrail."""
    interpreter = interpreters.find(version)
    if interpreter is None:
        pytest.skip(f"no Python {version} on this machine")
    done = interpreters.run(interpreter, path, mode)
    assert done.returncode == 0, done.stderr
    told = {row["mechanism"]: row[mode] for row in ROW.finditer(PAGE.read_text("utf-8"))}
    assert json.loads(done.stdout) == told
    assert done.stderr == ""


def test_nothing_that_handrail_could_keep_is_lost() -> None:
    """A4: what the page calls lost with handrail is two queues without a helper, and a spawned process."""
    lost = [row["mechanism"] for row in ROW.finditer(PAGE.read_text("utf-8")) if row["handrail"] == "lost"]
    assert lost == [
        "`multiprocessing.Process`, spawned",
        "`queue.Queue`, worker started earlier",
        "`asyncio.Queue`, worker started earlier",
    ]
