"""The checker of the documentation finds what is wrong in a page."""

from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks, missing_line, steps
from tests.docs.test_docs import run_python, run_step, unknown, write_files

PAGE = """\
# A page
```python app.py
answer = 42
```
Then:
```python
import app, asyncio
await asyncio.sleep(0)
assert app.answer == 41
```
<!-- run -->
```console
$ python -c "import app; \\
print(app.answer)"
4...
$ true
```
1. In a list:
   ```console
   $ make demo
   ```
"""


@pytest.fixture
def page(tmp_path: Path) -> list[Block]:
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    return blocks(file)


def test_blocks_are_read(page: list[Block]) -> None:
    """Language, file name, mark and indentation of each block are seen."""
    assert [(b.language, b.title, b.mark) for b in page] == [
        ("python", "app.py", ""),
        ("python", "", ""),
        ("console", "", "run"),
        ("console", "", ""),
    ]
    assert page[3].text == "$ make demo\n"


def test_a_failing_block_is_named(page: list[Block], tmp_path: Path) -> None:
    """A block that raises fails the page, and the traceback names page, line and source."""
    done = run_python(page, write_files(page, tmp_path))
    assert done.returncode == 1
    assert "page.md:6" in done.stderr
    assert "assert app.answer == 41" in done.stderr


def test_commands_are_run_and_compared(page: list[Block], tmp_path: Path) -> None:
    """A command that shows something else, or fails, is found; `...` stands for anything."""
    write_files(page, tmp_path)
    first, second = steps(page[2])
    assert run_step(first, tmp_path, tmp_path) == ""
    assert (second.command, second.shown) == ("true", ())
    assert "does not show '43'" in run_step(first.__class__(first.command, ("43",)), tmp_path, tmp_path)
    assert "ended with 1" in run_step(first.__class__("false", ()), tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("shown", "missing"),
    [(("a", "c"), None), (("c", "a"), "a"), (("...", "b ... d"), None), (("b",), "b"), (("a", "..."), None)],
)
def test_shown_lines_are_searched_in_order(shown: tuple[str, ...], missing: str | None) -> None:
    """Whole lines, in the order of the page; lines between them may be left out."""
    assert missing_line(shown, "a\nb x d\nc\n") == missing


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("make demo T=--help", None),
        ("make coffee", "make coffee"),
        ("OTEL_X=1 handrail doctor", None),
        ("handrail cure", "handrail cure"),
        ("python -m examples.nothing", "python -m examples.nothing"),
        ("frobnicate", "frobnicate"),
    ],
)
def test_commands_that_do_not_exist_are_found(command: str, what: str | None) -> None:
    """A target, subcommand, module or program that is not there is named."""
    assert unknown(command) == what
