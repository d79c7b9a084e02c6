"""A worker of a service on a SQLite store: for each key that is NEW to it one effect, then the answer.

    python -m tests.replay.sqlite_worker <file> <ledger> <name> <keys> <seed>

The effect is a line in the ledger, `did key name`, and so is an answer that the store has acknowledged, `kept key
name`. Goes through all keys in an order of its own, in batches, and says `done`; with 0 keys it does not end.
"""

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from handrail.resilience.replay.sqlite import SqliteStore
from handrail.resilience.replay.work import Begin, Held, Keep, State, Work

from .backend_rules import key_of

DAY = 86_400.0


def answer_of(number: int) -> bytes:
    """Of different lengths, so that pages fill differently."""
    return b"answer %d " % number * (number % 50 + 1)


def main() -> None:
    """See above."""
    store = SqliteStore(Path(sys.argv[1]))
    ledger = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    name, keys, chance = sys.argv[3], int(sys.argv[4]), random.Random(sys.argv[5])
    store.open()
    print("ready", flush=True)
    for batch in batches(keys, chance) if keys else endless(ledger, chance):
        found = patiently(store, [Begin(key_of(number), f"{name}-{number}", DAY, DAY) for number in batch])
        new = [
            number
            for number, held in zip(batch, found, strict=True)
            if isinstance(held, Held) and held.state is State.NEW
        ]
        for number in new:
            os.write(ledger, f"did {number} {name}\n".encode())
        kept = patiently(store, [Keep(key_of(number), f"{name}-{number}", answer_of(number), DAY) for number in new])
        for number, done in zip(new, kept, strict=True):
            assert done is True, number
            os.write(ledger, f"kept {number} {name}\n".encode())
    print("done", flush=True)


def batches(keys: int, chance: random.Random) -> Iterator[list[int]]:
    """All of them, each once."""
    numbers = list(range(keys))
    chance.shuffle(numbers)
    while numbers:
        yield [numbers.pop() for _ in range(min(len(numbers), chance.randint(1, 20)))]


def endless(ledger: int, chance: random.Random) -> Iterator[list[int]]:
    """Those of a window that moves on as the ledger grows: all workers want the same keys."""
    while True:
        first = os.fstat(ledger).st_size // 20
        yield chance.sample(range(first, first + 1000), chance.randint(1, 20))


def patiently(store: SqliteStore, work: list[Work]) -> list[Held | bool]:
    """As the courier does: on a machine with little to spare, others may hold the file for longer than it waits."""
    ends = time.monotonic() + 60
    while True:
        try:
            return store.run(work)
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > ends:
                raise


if __name__ == "__main__":
    main()
