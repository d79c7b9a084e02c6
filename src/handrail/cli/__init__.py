"""The command `handrail`. A subcommand's module is imported when it is called, not before."""

from importlib import import_module

import click

__all__ = ["main"]

_COMMANDS = {
    "chaos": "Sign a header by which one request brings faults on purpose.",
    "doctor": "Show every setting with its origin, the pipeline, where spans go, and what is wrong.",
    "run": "Run a server command with handrail switched on, without an edit in the service.",
    "traces": "Show the newest traces of the local store as a waterfall.",
}


class LazyGroup(click.Group):
    """Finds `NAME` as the command of that name in `handrail.cli.NAME`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """The names, in alphabetical order."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        """The command, or None where there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's signature)
        """The table in `--help`, without importing a single command."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "--version", package_name="handrail")
def main() -> None:
    """One import around any ASGI app: trace context, circuit breakers, safe retries, deadlines."""
