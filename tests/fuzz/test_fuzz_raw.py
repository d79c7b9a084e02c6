"""Bytes that no client should send, to real servers: nobody is worse off with handrail, and nothing stays behind."""

import asyncio
import random
import re
import time
from pathlib import Path

import pytest

from tests.fuzz.attacks import ATTACKS, Attack, attack
from tests.fuzz.raw import BOUND, SERVERS, Answered, ask, played, served, state
from tests.shadow.processes import Server

EACH = 8
"""Attacks of each kind in one run of the suite."""
AT_ONCE = 12
REFUSALS = {400, 408, 409, 413, 421, 422, 429, 431, 503, 504}


async def rounds(port: int, seeds: list[tuple[str, int]]) -> list[tuple[Attack, Answered, Answered]]:
    """Each attack on the bare app and on the guarded one."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(name: str, seed: int) -> tuple[Attack, Answered, Answered]:
        async with free:
            made = attack(name, seed)
            bare = await played(port, attack(name, seed, "/bare"))
            return made, bare, await played(port, made)

    return await asyncio.gather(*(one(name, seed) for name, seed in seeds))


def worse(made: Attack, bare: Answered, guarded: Answered) -> str | None:
    """What the guarded app did that it should not."""
    if guarded.hung and not bare.hung:
        return "no answer"
    if 500 in guarded.statuses and 500 not in bare.statuses and b"/raise" not in _sent(made):
        return "an error of ours"
    if not (bare.read and guarded.read) or bare.hung or guarded.statuses == bare.statuses:
        return None
    if made.strict:  # 503: a machine that is busy enough sheds load
        return None if 503 in guarded.statuses else "another answer"
    for with_us, without in zip(guarded.statuses, bare.statuses, strict=False):
        if with_us != without and with_us not in REFUSALS:
            return "another answer"
    # uvicorn closes a half-closed connection: what has not been answered by then is not.
    return None if guarded.statuses or not bare.statuses or "half" in made.steps else "no answer"


def _sent(made: Attack) -> bytes:
    return b"".join(step for step in made.steps if isinstance(step, bytes))


def settled(port: int) -> dict[str, float]:
    """Counts that are not at zero, once they had their time. A websocket whose app was never told that its client has
    left (hypercorn, where the connection ended in an error of the protocol) is open.
    """
    ends = time.monotonic() + BOUND
    while True:
        found = state(port)
        open_yet = found["running"]["websocket"]
        counts = {name: count for name, count in found["counts"].items() if "streams" not in name or count > open_yet}
        if not counts or time.monotonic() > ends:
            return counts


def stuck(port: int, keys: list[str]) -> list[str]:
    """Keys that a good client cannot use again, once the leases of their requests are over."""
    ends = time.monotonic() + BOUND
    left = keys
    while left and time.monotonic() < ends:
        left = [key for key in left if not _answerable(port, key)]
    return left


def _answerable(port: int, key: str) -> bool:
    status, headers = ask(port, "POST", "/echo", {"idempotency-key": f'"{key}"'}, b"abc")
    return status in (201, 422) and headers.get("idempotency-key-refused") != "in-flight"


EXPECTED = re.compile(r"Planned|h11\._util\.LocalProtocolError|(asyncio\.exceptions\.)?CancelledError|TimeoutError")
"""The app's own; what hypercorn says of clients that broke its protocol; an answer that is broken off when the time of
its caller is spent (a server is told so by an exception, and closes the connection).
"""


def complaints(server: Server) -> list[str]:
    """Exceptions in the log that are neither the app's own nor known of the server."""
    lines = server.output().splitlines()
    raised = [line.strip("| ") for line in lines if re.match(r"[| ]*[\w.]+(Error|Exception|Planned|Cut|Gone)\b", line)]
    said = [line for line in lines if "requests are not affected" in line]
    return said + [line for line in raised if not EXPECTED.search(line.partition(":")[0])]


@pytest.mark.parametrize("name", SERVERS)
def test_no_error_of_ours_no_stuck_key_no_count(name: str, tmp_path: Path) -> None:
    """Broken framing, cut bodies, headers twice, pipelining, half-closed and reset connections, HTTP/1.0, upgrades."""
    rng = random.Random(5)
    seeds = [(kind, rng.getrandbits(32)) for kind in ATTACKS for _ in range(EACH)]
    rng.shuffle(seeds)
    with served(name, tmp_path) as server:
        found = asyncio.run(rounds(server.port, seeds))
        bad = [(why, *one) for one in found if (why := worse(*one))]
        assert not bad, "\n".join(map(str, bad))
        assert sum(bool(guarded.statuses) for _, _, guarded in found) > len(found) / 3  # it has been spoken to
        assert not settled(server.port)
        assert not stuck(server.port, [made.key for made, _, _ in found if made.key])
        assert not complaints(server)
