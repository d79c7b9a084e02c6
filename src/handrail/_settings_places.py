"""Folders that settings are relative to."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["state_folder", "working_folder"]


def state_folder(environ: Mapping[str, str]) -> Path:
    """Where what handrail keeps of a user's services stands (XDG base directories: the state home)."""
    state = Path(environ.get("XDG_STATE_HOME", ""))
    # The XDG specification: a relative path is invalid and must be ignored.
    if state.is_absolute():
        return state / "handrail"
    try:
        home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    except RuntimeError:
        # A container's numeric user without an entry in passwd.
        return Path(tempfile.gettempdir(), f"handrail-{os.getuid()}")
    return home / ".local" / "state" / "handrail"


def working_folder() -> Path | None:
    """The folder of the settings file."""
    try:
        return Path.cwd()
    except OSError:
        return None  # deleted under us
