"""`handrail run`: any server command, protected, in all of its processes.

A folder of ours goes first on PYTHONPATH. It holds a `sitecustomize` that every Python process
below imports at its start, so reloaders and workers are protected too (the way of
`opentelemetry-instrument`). Then this process becomes the command: same pid, same signals, same
exit code.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import click

__all__ = ["environment", "run"]

HOOK = Path(__file__).resolve().parent.parent / "_sitecustomize"
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_UNREADABLE = frozenset("IE")
"""Python flags under which PYTHONPATH is not read (`-S` skips sitecustomize itself)."""


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the command: ours first on PYTHONPATH, once, all others kept."""
    rest = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(HOOK)]
    return {**environ, "PYTHONPATH": os.pathsep.join([str(HOOK), *rest])}


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    options_metavar="",
    short_help="Run a server command with handrail switched on.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARGS]...")
def run(command: tuple[str, ...]) -> None:
    """Run COMMAND with handrail switched on in every Python process that it starts.

    \b
    handrail run uvicorn app:app --workers 2
    handrail run gunicorn -k uvicorn_worker.UvicornWorker app:app
    handrail run python serve.py

    Settings are checked first: what is wrong with them is printed, and nothing starts (exit code 2).
    Otherwise the exit code is the command's own; 127 where there is no such command.
    """  # noqa: D301 (click wants the control character)
    from ..resilience.errors import SettingsError
    from ..settings import load

    executable = _find(command[0])
    _refuse_deaf(executable, command[1:])
    try:
        load()
    except SettingsError as error:
        click.echo(f"handrail: {error}\nhandrail: nothing was started; `handrail doctor` shows every setting", err=True)
        sys.exit(2)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(executable, [command[0], *command[1:]], environment(os.environ))  # noqa: S606 (the purpose)
    except OSError as error:
        click.echo(f"handrail: {executable} cannot be run: {error.strerror}", err=True)
        sys.exit(_NOT_EXECUTABLE)


def _find(name: str) -> str:
    """The command on PATH, or else beside the Python that runs us (a venv that is not activated)."""
    beside = Path(sys.executable).parent
    found = shutil.which(name) or (shutil.which(name, path=str(beside)) if os.sep not in name else None)
    if found is not None:
        return found
    path = Path(name)
    if path.is_file():
        hint = f"; write: handrail run python {name}" if path.suffix == ".py" else "; it is not executable"
        click.echo(f"handrail: {name} is not a command{hint}", err=True)
        sys.exit(_NOT_EXECUTABLE)
    click.echo(f"handrail: no command {name!r} on PATH or in {beside}", err=True)
    sys.exit(_NOT_FOUND)


def _refuse_deaf(executable: str, arguments: tuple[str, ...]) -> None:
    """Stop where Python was told to ignore PYTHONPATH: the service would run unprotected, unsaid."""
    flags = _interpreter_flags(executable, arguments)
    if flags & (_UNREADABLE | {"S"}):
        shown = "".join(sorted(flags & (_UNREADABLE | {"S"})))
        click.echo(
            f"handrail: python -{shown} ignores what `handrail run` sets up; "
            "leave the flag out, or put `import handrail.auto` first in the service",
            err=True,
        )
        sys.exit(2)


def _interpreter_flags(executable: str, arguments: tuple[str, ...]) -> frozenset[str]:
    """Short flags of the Python interpreter that will run: from the arguments or the script's first line."""
    words = list(arguments)
    if not Path(executable).name.startswith(("python", "pypy")):
        words = _shebang(executable)
    flags = ""
    for word in words:
        if not word.startswith("-") or word.startswith("--") or word in {"-c", "-m", "-"}:
            break
        flags += word[1:]
    # What follows -W or -X is that flag's own text.
    return frozenset(flags.split("W")[0].split("X")[0])


def _shebang(executable: str) -> list[str]:
    try:
        with Path(executable).open("rb") as script:
            first = script.readline(512)
    except OSError:
        return []
    words = first[2:].decode("utf-8", "replace").split() if first.startswith(b"#!") else []
    return words[1:] if words and "python" in Path(words[0]).name else []
