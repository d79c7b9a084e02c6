"""A process that claims many keys in a store, for the tests of many at once; goes on while the server comes and goes.

    python -m tests.replay.claimer <url> <name> <keys>

Says `ready`, `away` and `back` as it can reach the server, and, once its input ends and all is done, a line of
JSON: the keys that were NEW to it, and the answer that it found for each.
"""

import json
import random
import sys
import threading
import time
from collections.abc import Callable

from handrail.resilience.replay.postgres_store import PostgresStore
from handrail.resilience.replay.redis_store import RedisStore
from handrail.resilience.replay.work import Backend, Begin, Held, Keep, State, Work

from .backend_rules import LONG, key_of

AT_ONCE = 7


class Claimer:
    """Asks again, as a courier does, until a batch was answered."""

    def __init__(self, connect: Callable[[], Backend], name: str) -> None:
        self._connect = connect
        self._name = name
        self._backend: Backend | None = None
        self._good = True
        self.mine: list[int] = []
        self.answers: dict[int, str] = {}

    def claim(self, numbers: list[int]) -> None:
        """Begin them; answer what is new."""
        found = self._run([Begin(key_of(number), f"{self._name}-{number}", LONG, LONG) for number in numbers])
        new = []
        for number, held in zip(numbers, found, strict=True):
            assert isinstance(held, Held), held
            assert not held.again, held
            if held.state is State.NEW:
                new.append(number)
            elif held.state is State.KEPT:
                assert held.answer is not None
                self.answers[number] = held.answer.decode()
            else:
                assert held.state is State.BUSY, held
        self.mine += new
        kept = self._run([self._answer(number) for number in new])
        assert all(kept), kept

    def _answer(self, number: int) -> Keep:
        return Keep(key_of(number), f"{self._name}-{number}", f"{self._name}'s answer to {number}".encode(), LONG)

    def _run(self, work: list[Work]) -> list[Held | bool]:
        while True:
            try:
                if self._backend is None:
                    self._backend = self._connect()
                if not self._good:
                    self._backend.open()
                results = self._backend.run(work)
            except Exception as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                if self._good:
                    print("away", flush=True)
                self._good = False
                time.sleep(0.05)  # noqa: TID251  (a process of its own, that waits for a server)
            else:
                if not self._good:
                    print("back", flush=True)
                self._good = True
                return results


def main() -> None:
    """See above."""
    url, name, keys = sys.argv[1], sys.argv[2], int(sys.argv[3])
    kind = RedisStore if url.startswith("redis") else PostgresStore
    claimer = Claimer(lambda: kind(url, "claimed"), name)
    told = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        told.set()

    threading.Thread(target=listen, daemon=True).start()
    numbers = list(range(keys)) * 2
    random.shuffle(numbers)
    claimer.claim([keys])
    print("ready", flush=True)
    while numbers or not told.is_set() or len(claimer.answers) < keys:
        if not numbers:  # what others were at work on, or until the test has done its worst
            numbers = [number for number in range(keys) if number not in claimer.answers] or [0]
        claimer.claim(sorted({numbers.pop() for _ in range(min(AT_ONCE, len(numbers)))}, key=lambda _: random.random()))
    print(json.dumps({"mine": claimer.mine, "answers": claimer.answers}), flush=True)


if __name__ == "__main__":
    main()
