"""`handrail chaos`: faults on purpose. `sign` makes the header by which one request brings its own."""

import sys

import click

from ..resilience.errors import SettingsError

__all__ = ["chaos"]


@click.group(short_help="Sign a header by which one request brings faults on purpose.")
def chaos() -> None:
    """Faults on purpose; see docs/chaos.md."""


@chaos.command(short_help="Print the header for some faults.")
@click.argument("faults", nargs=-1, required=True, metavar="FAULT...")
@click.option("--seconds", default=60.0, show_default=True, help="For how long it is good, up to 3600.")
def sign(faults: tuple[str, ...], seconds: float) -> None:
    """Print the header that brings faults with a request, signed by the chaos_secret of this folder and environment.

    \b
    curl -H "$(handrail chaos sign 'in error=503 /charge service=payment')" http://localhost:8001/orders

    A fault is written as in the settings. Services follow the header where `chaos` is on and they have the same
    chaos_secret, and take it on to the services that they call.
    """  # noqa: D301 (click wants the control character)
    from ..chaos import HEADER
    from ..chaos import sign as signed

    try:
        click.echo(f"{HEADER}: {signed(*faults, seconds=seconds)}")
    except SettingsError as error:
        click.echo(f"handrail: {error}", err=True)
        sys.exit(2)
