"""`handrail doctor`: every setting with its origin, the pipeline, where spans go, what is wrong.

Exit code 0: nothing of severity error; 1: at least one; 2: wrong usage of the command.

`--json` prints one object. Names are only ever added; a change of meaning raises `schema`:

    schema           1
    ok               bool: no finding of severity error
    handrail         version
    python           version
    executable       path of the interpreter
    cwd              the folder that was looked at
    app              text or null: the application that was imported
    settings         [{name, value, origin}] in a fixed order; durations in seconds; origin:
                     "default...", "pyproject.toml...", "handrail.toml", "environment VARIABLE",
                     "argument" (of protect, where an application was imported)
    inbound          [text] the layers around an application, outermost first; empty likewise
    pipeline         [text] the policies of each origin, outermost first; empty where handrail is off
                     or one of their settings is wrong
    origins          [{origin: pattern, fits: [pattern], settings: [{name, value, origin}], pipeline: [text]}]: for each
                     pattern with settings of its own, what differs and what that comes to
    origin           null, or the same for the one of --origin, with every setting that is no default
    shared_state     null, or {url: text without user, password and query, quorum: number, reachable: bool}
    idempotency      null, or {where: path or URL without secrets, reachable: bool}: answers to keyed requests
    tracing          {service_name, exporters: [text], protocol, endpoint: text or null, store, disabled: bool,
                     variables: {OTEL_NAME: value}} without secrets
    libraries        [{name, version: text or null, required: text or ""}]
    instrumentation  [{name, version, state, where, does}] others that make spans; state: "active" in processes
                     started here, "used" by the service's code, or "installed"; what handrail does then
    findings         [{id, severity: "error" | "warning" | "info", what, where, mend}] the worst first;
                     ids: see `handrail.cli._findings`
"""

import json
import os
import sys
from pathlib import Path

import click

from ..resilience.origins import parts
from ._pipe import closed_pipe_is_no_error
from ._report import gather

__all__ = ["doctor"]


@click.command(short_help="Show settings, pipeline, tracing, and what is wrong.")
@click.argument("app", required=False, metavar="[MODULE:APP]")
@click.option("--origin", metavar="URL", help="Show what the settings come to for one origin.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with a stable schema.")
def doctor(app: str | None, *, origin: str | None, as_json: bool) -> None:
    """Look at this folder and environment as a service started here would see them.

    Prints every setting with the place it came from, what stands around each request and each outbound call,
    where spans go and whether they arrive, the libraries, and what is wrong and how to mend it.

    With MODULE:APP, as a server is given it, the application is imported, which runs its code: the
    settings are then those in force in it, arguments of protect() included. MODULE:MAKE() calls a factory.

    --origin http://payment:8003 shows the settings and the pipeline of that one, and where each value comes from.

    Exit code 1 where something of severity error was found.
    """
    try:
        cwd = Path.cwd()
    except OSError as error:
        raise click.UsageError(f"the working directory is gone: {error.strerror}") from error
    try:
        asked = None if origin is None else parts(origin)
    except ValueError as error:
        raise click.UsageError(f"--origin {origin!r} {error}") from error
    report = gather(os.environ, cwd, app, asked)
    with closed_pipe_is_no_error():
        if as_json:
            click.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
        else:
            from ._doctor_view import show

            show(report)
    sys.exit(1 if report.failed else 0)
