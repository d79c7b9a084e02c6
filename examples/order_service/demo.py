"""The running demonstration: `make demo`, or `python -m examples.order_service.demo`.

The same story is played twice, with handrail and without; a table says what became of the orders,
and the trace of one order shows how it was placed although payment failed. Exit code 0: with
handrail no order was lost, none charged twice, and at least 99 % of those that could be placed
were placed in each part but the one in which shipping is dead; 1: it was not so; 2: a service did
not start.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from handrail.cli._waterfall import render
from handrail.tracing.local.read import Trace, read

from .collector import find
from .fleet import FleetError
from .recorded import Recorded, showcase, tally
from .report import Display, table
from .scenario import PHASES, Phase, Story, environment, play

__all__ = ["main"]

WITH, WITHOUT = "with handrail", "without"


class Demo:
    """One run of the demonstration, in `folder`."""

    def __init__(self, console: Console, folder: Path, rate: float, phases: tuple[Phase, ...]) -> None:
        self.console = console
        self.folder = folder
        self.rate = rate
        self.phases = phases
        self.collector = find(os.environ)

    async def run(self) -> bool:
        """Play both, print all. Whether the run with handrail kept what is promised."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is not None:
            with suppress(NotImplementedError):  # no such signals on this system's loop
                # SIGINT by hand: a shell's background job starts with it ignored, and asyncio leaves it so.
                loop.add_signal_handler(signal.SIGINT, task.cancel)
                loop.add_signal_handler(signal.SIGTERM, task.cancel)
        self._introduce()
        with Display(self.console, self.rate, self.phases) as display:
            guarded = await self._play(WITH, display)
            plain = await self._play(WITHOUT, display)
        traces = await asyncio.to_thread(read, self.folder / "traces")
        self.console.print(table({WITH: (guarded, tally(traces)), WITHOUT: (plain, Recorded())}))
        for title, story in ((WITH, guarded), (WITHOUT, plain)):
            self._name_losses(title, story)
        self._show(showcase(traces))
        broken = guarded.broken()
        for promise in broken:
            self.console.print(f"[bold red]not kept with handrail:[/] {promise}", highlight=False)
        return not broken

    async def _play(self, title: str, display: Display) -> Story:
        otlp = self.collector.environ if self.collector else None
        environ = environment(self.folder / "traces", protected=title == WITH, otlp=otlp)
        display.begin(title)
        return await play(self.folder / title.replace(" ", "-"), environ, self.rate, self.phases, display.watch)

    def _introduce(self) -> None:
        self.console.print(
            "[bold]order[/] calls [bold]inventory[/], [bold]payment[/] and [bold]shipping[/]: plain httpx calls, "
            "no retry, no timeout, no tracing,\nand one line each: [bold]app = protect(app)[/]. "
            f"{self.rate:g} orders a second, placed by customers who do not wait for each other.\n"
        )

    def _name_losses(self, title: str, story: Story) -> None:
        reasons: dict[str, int] = {}
        for reason in story.books.lost.values():
            reasons[reason] = reasons.get(reason, 0) + 1
        if reasons:
            text = ", ".join(f"{count} x {reason}" for reason, count in reasons.items())
            self.console.print(f"[dim]lost {title}:[/] {text}", highlight=False)

    def _show(self, trace: Trace | None) -> None:
        if trace is None:
            self.console.print("\nno order was placed by retrying its payment: nothing to show")
            return
        self.console.print("\n[bold]One order whose payment was sent again[/]")
        self.console.print(render(trace))
        if self.collector:
            url = self.collector.trace_url(trace.trace_id)
            self.console.print(f"in Jaeger: {url}", highlight=False, soft_wrap=True)


def main() -> None:
    """Parse the command line, run, exit."""
    options = argparse.ArgumentParser(prog="python -m examples.order_service.demo", description="The demonstration.")
    options.add_argument("--rate", type=float, default=20.0, help="orders each second (%(default)s)")
    options.add_argument("--pace", type=float, default=1.0, help="length of the story's parts, 1 is 24 s (%(default)s)")
    asked = options.parse_args()
    if not (0 < asked.rate <= 100 and 0 < asked.pace <= 5):
        options.error("--rate must be above 0 and at most 100, --pace above 0 and at most 5")
    phases = tuple(replace(phase, seconds=phase.seconds * asked.pace) for phase in PHASES)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="handrail-demo-") as folder:
        try:
            sound = asyncio.run(Demo(console, Path(folder), asked.rate, phases).run())
        except FleetError as error:
            console.print(str(error), style="red", markup=False, highlight=False)
            sys.exit(2)
        except (KeyboardInterrupt, asyncio.CancelledError):
            console.print("stopped; all services have ended")
            sys.exit(130)
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
