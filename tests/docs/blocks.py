"""The code blocks of a Markdown page, and what is done with each: the conventions are told in test_docs.py."""

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]

PICTURES = frozenset({"", "text", "mermaid"})
"""Blocks that hold no code: a drawing, or what a terminal showed."""

DATA: dict[str, Callable[[str], object]] = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}

OPENING = re.compile(r"^(?P<indent> *)```(?P<language>[\w+-]*) *(?P<title>.*)$")
MARK = re.compile(r"^ *<!-- (run|run at root) -->$")


@dataclass(frozen=True)
class Block:
    """One fenced block: `title` is the rest of its opening line, `mark` the comment before it."""

    page: Path
    line: int
    language: str
    title: str
    text: str
    mark: str

    @property
    def where(self) -> str:
        name = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name
        return f"{name}:{self.line}"


@dataclass(frozen=True)
class Step:
    """One `$ command` of a console block, and the lines shown under it."""

    command: str
    shown: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order; raises ValueError for one that is never closed."""
    found: list[Block] = []
    lines = page.read_text("utf-8").splitlines()
    mark, number = "", 0
    while number < len(lines):
        line = lines[number]
        if opening := OPENING.match(line):
            indent = opening["indent"]
            end = next((n for n in range(number + 1, len(lines)) if lines[n].strip() == "```"), None)
            if end is None:
                raise ValueError(f"{page}:{number + 1}: this block is never closed")
            text = "\n".join(each.removeprefix(indent) for each in lines[number + 1 : end]) + "\n"
            found.append(Block(page, number + 1, opening["language"], opening["title"].strip(), text, mark))
            mark, number = "", end
        elif marked := MARK.match(line):
            mark = marked[1]
        elif line.strip():
            mark = ""
        number += 1
    return found


def steps(block: Block) -> Iterator[Step]:
    """Yield the commands of a console block; a line that ends in a backslash goes on in the next."""
    command = ""
    shown: list[str] = []
    going_on = False
    for line in block.text.splitlines():
        if going_on:
            command += "\n" + line
        elif line.startswith("$ "):
            if command:
                yield Step(command, tuple(shown))
            command, shown = line[2:], []
        else:
            shown.append(line)
            continue
        going_on = line.endswith("\\")
    if command:
        yield Step(command, tuple(shown))


def missing_line(shown: tuple[str, ...], output: str) -> str | None:
    """Return the first shown line that the output does not hold in this order; `...` stands for anything."""
    rest = output.splitlines()
    for line in shown:
        if not line.strip():
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in line.strip().split("...")))
        at = next((n for n, got in enumerate(rest) if pattern.fullmatch(got.strip())), None)
        if at is None and line.strip() != "...":
            return line
        rest = rest[(at or -1) + 1 :] if line.strip() != "..." else rest
    return None


def words(command: str) -> list[str]:
    """Return the words of a command without leading NAME=value."""
    found = shlex.split(command.replace("\\\n", " "), comments=True)
    while found and re.match(r"^\w+=", found[0]):
        found.pop(0)
    return found
