"""Reads `handrail.toml`, or `[tool.handrail]` of `pyproject.toml`, in the working directory."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ._settings_values import Problem

__all__ = ["SettingsFile", "read"]

OWN = "handrail.toml"
PROJECT = "pyproject.toml"

LONGEST = 1024 * 1024
"""Bytes of a settings file that are read."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """What the working directory says.

    `name` is the file that the values come from, or None. `shadowed` says that both files
    hold settings, so that those in `pyproject.toml` do nothing. `project` is `[project].name`.
    `ignored` says why a `pyproject.toml` could not be read; that is the service's own matter.
    """

    name: str | None = None
    values: Mapping[str, object] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    project: str | None = None
    shadowed: bool = False
    ignored: str | None = None


def read(folder: Path) -> SettingsFile:
    """Read the settings of a folder. Never raises: what is wrong stands in `problems`.

    `handrail.toml` wins over `[tool.handrail]`; they are not merged.
    """
    document, ignored = _load(folder / PROJECT)
    section, faults = _section(document, ignored, folder / PROJECT)
    project = _project_name(document)
    own, broken = _load(folder / OWN)
    if broken is not None:
        faults = (Problem(OWN, str(folder / OWN), broken, "file"),)
        return SettingsFile(OWN, {}, faults, project, section is not None, ignored)
    if own is not None:
        if isinstance(own.get("tool"), dict):
            allowed = f"{OWN} takes its keys at the top, without [tool.handrail]"
            faults = (Problem("tool", "[tool.handrail]", allowed, OWN),)
            own = {key: value for key, value in own.items() if key != "tool"}
        else:
            faults = ()
        return SettingsFile(OWN, own, faults, project, section is not None, ignored)
    if section is not None or faults:
        return SettingsFile(PROJECT, section or {}, faults, project, ignored=ignored)
    return SettingsFile(project=project, ignored=ignored)


def _load(path: Path) -> tuple[dict[str, object] | None, str | None]:
    """The document, or why there is none; both None where the file does not exist."""
    raw, why = _bytes(path)
    if raw is None or why is not None:
        return None, why
    import tomllib  # 3 ms that a service without a settings file need not pay

    try:
        # Windows editors put a byte order mark first; TOML readers refuse it.
        return tomllib.loads(raw.decode("utf-8-sig")), None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return None, f"is not UTF-8 (at line {line})"
    except RecursionError:
        return None, "is nested too deeply"
    except tomllib.TOMLDecodeError as error:
        # Of the end the parser says no line.
        end = f"at line {len(raw.splitlines())}, the end of the file"
        return None, f"is not valid TOML: {error}".replace("at end of document", end)


def _bytes(path: Path) -> tuple[bytes | None, str | None]:
    """What the file holds, or its beginning and why it cannot be used; both None where it does not exist.

    Only a file is opened: a FIFO would wait for its writer, a device may do anything, and neither may a start or the
    thread that follows the file.
    """
    try:
        found = path.stat()
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == Path(os.devnull).stat().st_rdev:
            return b"", None  # put there to hide a file, as systemd and containers do
        if not stat.S_ISREG(found.st_mode):
            return None, f"is {_KINDS.get(stat.S_IFMT(found.st_mode), 'no file')}; a file is wanted"
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(handle, "rb") as file:
            # Of what is opened: another may have come into its place since.
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None, "is no longer a file"
            raw = file.read(LONGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None, f"is a link to {_aim(path)}, which does not exist" if path.is_symlink() else None
    except OSError as error:
        return None, f"cannot be read: {error.strerror or error}"
    return raw, f"is longer than {LONGEST >> 20} MiB" if len(raw) > LONGEST else None


def _aim(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return "something"


def _section(
    document: dict[str, object] | None, ignored: str | None, path: Path
) -> tuple[Mapping[str, object] | None, tuple[Problem, ...]]:
    """`[tool.handrail]`. A file that cannot be parsed counts against us only if it speaks of us."""
    if document is None:
        if ignored is not None and _mentions_us(path):
            return None, (Problem(PROJECT, str(path), ignored, "file"),)
        return None, ()
    tool = document.get("tool")
    section = tool.get("handrail") if isinstance(tool, dict) else None
    if section is None:
        return None, ()
    if not isinstance(section, dict):
        return None, (Problem("tool.handrail", section, "must be a table: [tool.handrail]", PROJECT),)
    return section, ()


def _mentions_us(path: Path) -> bool:
    return b"[tool.handrail" in (_bytes(path)[0] or b"")


def _project_name(document: Mapping[str, object] | None) -> str | None:
    project = document.get("project") if document is not None else None
    name = project.get("name") if isinstance(project, dict) else None
    return name.strip() or None if isinstance(name, str) else None
