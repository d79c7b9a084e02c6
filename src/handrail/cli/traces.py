"""`handrail traces`: the newest traces of the local store as waterfalls.

Exit code 0: something was shown; 1: nothing fits (a line on stderr says where it looked);
2: wrong usage. With `--json` each trace is one line of OTLP JSON, which Jaeger's upload takes.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from ..tracing.local.read import Trace, read
from ._pipe import closed_pipe_is_no_error
from ._store_notes import elsewhere, nothing

__all__ = ["traces"]

_POLL = 0.25

Show = Callable[[Trace], None]


@click.command(short_help="Show the newest traces of the local store as a waterfall.")
@click.argument("trace_id", required=False, default="")
@click.option("-n", "count", type=click.IntRange(min=1), default=3, show_default=True, help="At most this many traces.")
@click.option("-f", "--follow", is_flag=True, help="Go on and show new traces as they come in, until Ctrl-C.")
@click.option("-s", "--service", metavar="NAME", help="Only traces that this service took part in.")
@click.option("-e", "--errors", is_flag=True, help="Only traces with an error.")
@click.option("--json", "as_json", is_flag=True, help="One line of OTLP JSON per trace; Jaeger's upload takes it.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="The store. Default: the setting traces_dir.")
def traces(
    trace_id: str, count: int, *, follow: bool, service: str | None, errors: bool, as_json: bool, folder: Path | None
) -> None:
    """Show the newest traces of the local store, the newest last.

    TRACE_ID, or the beginning of one, shows that trace. The services of a trace may be separate
    processes: their spans are joined as long as they write into the same store.
    """
    wanted = trace_id.lower().replace("-", "")
    if wanted.strip("0123456789abcdef"):
        raise click.BadParameter(f"{trace_id!r} is not hexadecimal", param_hint="TRACE_ID")
    store = folder or _default_store()

    def keep(trace: Trace) -> bool:
        return (service is None or service in trace.services) and (not errors or any(s.failed for s in trace.spans))

    show = _as_json if as_json else _waterfalls()
    try:
        found = read(store, trace_id=wanted, keep=keep, limit=count)
        if not found and not follow:
            explicit = folder is not None
            click.echo(nothing(store, explicit=explicit, wanted=wanted, service=service, errors=errors), err=True)
            sys.exit(1)
        with closed_pipe_is_no_error():
            for trace in reversed(found):
                show(trace)
            if not wanted and folder is None:
                _say_older(found=bool(found), as_json=as_json)
            if follow:
                _follow(store, lambda trace: trace.trace_id.startswith(wanted) and keep(trace), show)
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise click.ClickException(f"cannot read the store {store}: {error.strerror or error}") from error


def _follow(store: Path, keep: Callable[[Trace], bool], show: Show) -> None:
    from ._follow import Follower

    follower = Follower(store)
    while True:
        for trace in follower.poll():
            if keep(trace):
                show(trace)
        sys.stdout.flush()
        time.sleep(_POLL)


def _say_older(*, found: bool, as_json: bool) -> None:
    """Old traces alone look as if requests made none."""
    goal = elsewhere()
    if goal:
        click.secho(f"new spans go to {goal}{'; these are older' if found else ''}", dim=True, err=as_json)


def _as_json(trace: Trace) -> None:
    click.echo(json.dumps(trace.otlp(), separators=(",", ":")))


def _waterfalls() -> Show:
    from rich.console import Console

    from ._waterfall import render

    class Out(Console):
        def on_broken_pipe(self) -> None:
            """Rich would end the process with exit code 1."""
            raise BrokenPipeError

    console = Out(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120  # a pipe has no width; 80 would crop for nobody

    def show(trace: Trace) -> None:
        console.print(render(trace))
        console.print()

    return show


def _default_store() -> Path:
    from ..settings import resolve

    return resolve().settings.tracing.store
