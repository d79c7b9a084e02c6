"""1,000 orders at 50 a second while payment answers 503 to every third call: none lost, none charged twice.

`python -m examples.order_service.thousand [--count N] [--rate R] [--patient]`; exit code 0 only if that holds.
The settings are handrail's defaults: a budget that lets a fifth be sent again, and ten calls each second. With
`--patient` there are two others, as docs/retries.md describes them, and at least 99 % have to be placed as well.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from .scenario import Phase, Story, play

__all__ = ["run"]

PATIENT = {"HANDRAIL_ATTEMPTS": "8", "HANDRAIL_RETRY_BUDGET_FLOOR": "250"}


async def run(folder: Path, count: int, rate: float, *, patient: bool = False) -> Story:
    """Place the orders with services, databases and traces of their own in `folder`."""
    phase = Phase("payment: 503 on every third call", count / rate, payment={"error_every": 3}, promised=patient)
    environ = {"OTEL_TRACES_EXPORTER": "local", "HANDRAIL_TRACES_DIR": str(folder / "traces")}
    environ |= PATIENT if patient else {}
    return await play(folder / "run", environ, rate, (phase,), lambda seen: None)


def main() -> None:
    """Run once and print the result."""
    options = argparse.ArgumentParser(prog="python -m examples.order_service.thousand", description="1,000 orders.")
    options.add_argument("--count", type=int, default=1000, help="how many orders (%(default)s)")
    options.add_argument("--rate", type=float, default=50.0, help="orders each second (%(default)s)")
    options.add_argument("--patient", action="store_true", help="eight attempts and a larger budget: 99 %% placed")
    asked = options.parse_args()
    if asked.rate <= 0 or asked.count < 1:
        options.error("--rate must be above 0 and --count at least 1")
    with tempfile.TemporaryDirectory(prefix="handrail-thousand-") as folder:
        began = time.monotonic()
        story = asyncio.run(run(Path(folder), asked.count, asked.rate, patient=asked.patient))
    books = story.books
    print(
        f"{books.orders} orders in {time.monotonic() - began:.0f} s: {books.placed} of {books.placeable} placed "
        f"({books.share:.1%}), {books.refused} refused with a clear answer "
        f"({books.declined} of them bad card or no stock), "
        f"{len(books.lost)} lost, {len(books.charged_twice)} charged twice; "
        f"p50 {books.p50 * 1e3:.0f} ms, p99 {books.p99 * 1e3:.0f} ms"
    )
    for order_id, why in list(books.lost.items())[:10]:
        print(f"  {order_id}: {why}")
    for promise in story.broken():
        print(f"not kept: {promise}")
    sys.exit(1 if story.broken() else 0)


if __name__ == "__main__":
    main()
