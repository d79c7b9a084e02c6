"""Places orders at a fixed rate, whether or not the answers come: `python -m examples.order_service.load`.

An open loop: a slow service does not slow the orders down, as customers do not wait for each
other. Every order is sent once. The client is a plain one: what it sees is what a customer sees.
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

__all__ = ["Answer", "Load", "customers", "order"]

CARD, DECLINED = "4242424242424242", "4000000000000002"
NO_STOCK = "unobtainium"
PATIENCE = 20.0
"""Seconds after which a customer gives up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a customer got for an order. `status` is None without an answer."""

    order_id: str
    status: int | None
    clear: bool
    seconds: float
    placeable: bool = True
    """Whether nothing but a fault is in its way: the card is good, the article in stock."""

    @property
    def placed(self) -> bool:
        """Whether the customer was told that the order is placed."""
        return self.status == 201


def order(number: int, run: str) -> dict[str, str | int]:
    """Order number `number` of a run: every 25th card is declined, every 40th article out of stock."""
    return {
        "order_id": f"{run}-{number:05}",
        "sku": NO_STOCK if number % 40 == 17 else ("bolt", "nut")[number % 2],
        "quantity": 1 + number % 3,
        "amount": 500 + 25 * (number % 40),
        "card": DECLINED if number % 25 == 11 else CARD,
    }


@asynccontextmanager
async def customers() -> AsyncIterator[httpx.AsyncClient]:
    """A client with a connection for each order: customers do not share one."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=PATIENCE, limits=limits, trust_env=False) as client:
        yield client


class Load:
    """Orders for `url`; answers are collected in `answers` and handed to `seen`."""

    def __init__(self, url: str, client: httpx.AsyncClient, seen: Callable[[Answer], None]) -> None:
        self.url = url
        self.client = client
        self.seen = seen
        self.run = uuid.uuid4().hex[:8]
        self.answers: list[Answer] = []
        self.sent = 0

    async def send(self, rate: float, count: int) -> None:
        """Place `count` orders, `rate` each second; returns when all are answered."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                await asyncio.sleep(began + number / rate - time.monotonic())
                tasks.create_task(self._place(order(self.sent, self.run)))
                self.sent += 1

    async def _place(self, wish: dict[str, str | int]) -> None:
        began = time.monotonic()
        status, clear = None, False
        try:
            response = await self.client.post(f"{self.url}/orders", json=wish)
            status, clear = response.status_code, _is_clear(response)
        except httpx.HTTPError:
            pass  # no answer at all: status stays None
        seconds, placeable = time.monotonic() - began, wish["card"] != DECLINED and wish["sku"] != NO_STOCK
        answer = Answer(str(wish["order_id"]), status, clear, seconds, placeable)
        self.answers.append(answer)
        self.seen(answer)


def _is_clear(response: httpx.Response) -> bool:
    """Whether the body is the service's JSON or problem details: a bare 500 tells nobody anything."""
    kind = response.headers.get("content-type", "").partition(";")[0]
    try:
        return kind in ("application/json", "application/problem+json") and isinstance(response.json(), dict)
    except json.JSONDecodeError:
        return False


async def _main(url: str, rate: float, count: int) -> int:
    said = time.monotonic()
    counts: Counter[str] = Counter()

    def seen(answer: Answer) -> None:
        nonlocal said
        counts[str(answer.status or "no answer") if answer.clear or not answer.status else f"bare {answer.status}"] += 1
        if time.monotonic() - said > 10:
            said = time.monotonic()
            print(dict(sorted(counts.items())), flush=True)

    async with customers() as client:
        load = Load(url, client, seen)
        await load.send(rate, count)
    print(f"{load.sent} orders:", dict(sorted(counts.items())))
    return 0 if all(answer.clear for answer in load.answers) else 1


def main() -> None:
    """Exit code 0: every order got a clear answer; 1: not."""
    options = argparse.ArgumentParser(prog="python -m examples.order_service.load", description="Place orders.")
    options.add_argument("--url", default="http://127.0.0.1:8000", help="the order service (%(default)s)")
    options.add_argument("--rate", type=float, default=5.0, help="orders each second (%(default)s)")
    options.add_argument("--count", type=int, default=100, help="how many orders (%(default)s)")
    asked = options.parse_args()
    if asked.rate <= 0 or asked.count < 1:
        options.error("--rate must be above 0 and --count at least 1")
    sys.exit(asyncio.run(_main(asked.url, asked.rate, asked.count)))


if __name__ == "__main__":
    main()
