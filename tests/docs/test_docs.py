"""Every code block of README.md and docs/ is executed, or checked as far as it can be without a network.

How a block is written decides what is done with it:

- ```` ```python ````: runs, after the blocks before it on the page, in one process; `await` may stand at top level.
- ```` ```python app.py ````: is also written to that file, for later blocks and commands of the page.
- ```` ```toml handrail.toml ````, json, yaml: is parsed; with a name it is written; handrail.toml must be accepted.
- ```` ```console ```` after the line `<!-- run -->`: each `$ command` runs in the page's folder and must succeed; the
  lines under it must be in its output, in this order, `...` standing for anything. `<!-- run at root -->`: the same in
  the root of the repository.
- ```` ```console ```` without that line: too long or too much for a test. Its commands must exist: a target of the
  Makefile, a subcommand of handrail, a module of ours, or a program of others that is listed below.
- No language, text, mermaid: a picture or an output. Any other language is refused: nothing would check it.
"""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from handrail.cli import main as command_line
from handrail.settings import load
from tests.docs.blocks import DATA, PICTURES, ROOT, Block, Step, blocks, missing_line, steps, words

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks(page)]
OTHERS = frozenset(
    {"cd", "curl", "docker", "export", "git", "gunicorn", "hypercorn", "granian", "open", "pip", "uv", "uvicorn"}
)
PROGRAMS = Path(sys.executable).parent


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def environment(folder: Path) -> dict[str, str]:
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "HANDRAIL_TRACES_DIR": str(folder / "traces"),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }


def write_files(page: list[Block], folder: Path) -> Path:
    for block in page:
        if block.title and block.language in {"python", *DATA}:
            target = folder / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, "utf-8")
    return folder


def run_python(page: list[Block], folder: Path) -> subprocess.CompletedProcess[str]:
    parts = [(block.where, block.text) for block in page if block.language == "python"]
    script = folder / "page.json"
    script.write_text(json.dumps(parts), "utf-8")
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("run_page.py")), str(script)]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=200)


def run_step(step: Step, cwd: Path, folder: Path) -> str:
    """Run one command; returns what is wrong with it, or nothing."""
    command = ["bash", "-euo", "pipefail", "-c", step.command]
    done = subprocess.run(command, cwd=cwd, env=environment(folder), capture_output=True, text=True, timeout=200)
    output = done.stdout + done.stderr
    if done.returncode:
        return f"`{step.command}` ended with {done.returncode}:\n{output}"
    missing = missing_line(step.shown, output)
    return f"`{step.command}` does not show {missing!r}:\n{output}" if missing else ""


def unknown(command: str) -> str | None:
    """Return what in a command that is not run does not exist."""
    match words(command):
        case ["make", *targets]:
            known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
            return next((f"make {t}" for t in targets if "=" not in t and t not in known), None)
        case ["handrail", name, *_] if not name.startswith("-"):
            return None if name in command_line.list_commands(click.Context(command_line)) else f"handrail {name}"
        case ["python" | "python3", "-m", module, *_] if module.split(".")[0] in {"examples", "bench", "handrail"}:
            return None if find_spec(module) else f"python -m {module}"
        case [program, *_]:
            named = program in OTHERS or program in {"handrail", "python", "python3"} or (ROOT / program).exists()
            return None if named else program
        case _:
            return "an empty command"


def of_page(page: Path) -> list[Block]:
    return [block for block in BLOCKS if block.page == page]


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.language == "python" for b in of_page(p))], ids=page_name)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    """The Python on a page works, block after block, without a warning."""
    done = run_python(of_page(page), write_files(of_page(page), tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "console" and b.mark], ids=lambda b: b.where)
def test_marked_commands_run(block: Block, tmp_path: Path) -> None:
    """A command marked as run succeeds and shows the lines that the page shows."""
    write_files(of_page(block.page), tmp_path)
    found = [run_step(step, ROOT if block.mark == "run at root" else tmp_path, tmp_path) for step in steps(block)]
    assert found
    assert "".join(found) == ""


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "console" and not b.mark], ids=lambda b: b.where)
def test_other_commands_exist(block: Block) -> None:
    """A command that is shown and not run names only what there is."""
    commands = [step.command for step in steps(block)]
    assert commands, "a console block without `$ command`: call it text"
    assert [found for command in commands if (found := unknown(command))] == []


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in DATA], ids=lambda b: b.where)
def test_data_blocks_are_valid(block: Block, tmp_path: Path) -> None:
    """JSON, TOML and YAML parse; what is called handrail.toml is accepted as settings."""
    assert DATA[block.language](block.text) is not None
    if block.title in ("handrail.toml", "pyproject.toml"):
        (tmp_path / block.title).write_text(block.text, "utf-8")
        load({}, environ={}, cwd=tmp_path)


def test_every_block_has_a_rule() -> None:
    """No block is of a language that nothing checks."""
    known = {"python", "console", *DATA, *PICTURES}
    assert [f"{block.where}: {block.language}" for block in BLOCKS if block.language not in known] == []
