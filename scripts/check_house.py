"""House rules that no other tool keeps: sizes, docstrings of tests, what the top-level files must hold.

Prints one line per finding, `path:line: what is wrong`; exit code 1 if there is any.
"""

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KIT = ("src/handrail", "resilience", "tracing")
LONGEST_FILE = 300
LONGEST_FUNCTION = 60
LONGEST_AGENTS = 100


def sources(*folders: str) -> Iterator[Path]:
    """Yield the Python files, not through the links of an editable install."""
    for folder in folders:
        for parent, _, names in os.walk(ROOT / folder):
            yield from (Path(parent) / name for name in sorted(names) if name.endswith(".py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def sizes() -> Iterator[str]:
    for path in sources(*KIT):
        lines = len(path.read_text("utf-8").splitlines())
        if lines > LONGEST_FILE:
            yield f"{path.relative_to(ROOT)}:1: {lines} lines, at most {LONGEST_FILE}: give a part its own file"
        for node in functions(path):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield f"{where}: {node.name} has {length} lines, at most {LONGEST_FUNCTION}"


def tests_say_their_rule() -> Iterator[str]:
    for path in sources("tests"):
        if not path.name.startswith("test_"):
            continue
        for node in functions(path):
            if node.name.startswith("test_") and not ast.get_docstring(node):
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield f"{where}: {node.name} has no docstring: state the rule that it proves"


def test_files_have_their_own_names() -> Iterator[str]:
    seen: dict[str, Path] = {}
    for path in sources("tests"):
        if path.name.startswith("test_") and (other := seen.setdefault(path.name, path)) is not path:
            yield f"{path.relative_to(ROOT)}:1: same name as {other.relative_to(ROOT)}"


def papers() -> Iterator[str]:
    lines = len((ROOT / "AGENTS.md").read_text("utf-8").splitlines())
    if lines > LONGEST_AGENTS:
        yield f"AGENTS.md:{LONGEST_AGENTS}: {lines} lines, at most {LONGEST_AGENTS}"
    if "### Defaults" not in (ROOT / "CHANGELOG.md").read_text("utf-8"):
        yield "CHANGELOG.md:1: no '### Defaults' part: a changed default is told there"
    if "Apache License" not in (ROOT / "LICENSE").read_text("utf-8"):
        yield "LICENSE:1: not the Apache License"
    for folder in KIT:
        if not (ROOT / folder / "py.typed").exists():
            yield f"{folder}/py.typed:1: missing: without it type checkers ignore our annotations"


def main() -> int:
    findings = [*sizes(), *tests_say_their_rule(), *test_files_have_their_own_names(), *papers()]
    print("\n".join(findings), end="\n" if findings else "")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
