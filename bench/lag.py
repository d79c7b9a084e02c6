"""How late an event loop is that exports 3,000 spans a second to a collector in another process, variant by variant."""

import json
import random
import subprocess
import sys
from collections.abc import Iterable, Mapping

from .lagging import ENDPOINT, TITLES, Lags
from .timing import Spread
from .worker import environment

__all__ = ["TITLES", "Lags", "ratio", "run"]


def run(names: Iterable[str], *, rounds: int, seconds: float, exact: bool = False) -> dict[str, list[Lags]]:
    """One process after the other in each round, in a new order."""
    names = list(names)
    found: dict[str, list[Lags]] = {name: [] for name in names}
    dice = random.Random(20)
    for _ in range(rounds):
        dice.shuffle(names)
        for name in names:
            found[name].append(_once(name, seconds, exact=exact))
    return found


def ratio(found: Mapping[str, list[Lags]], name: str, peer: str, share: str) -> Spread:
    """Lag over the peer's lag in the same round."""
    return Spread.of(mine[share] / theirs[share] for mine, theirs in zip(found[name], found[peer], strict=True))


def _once(name: str, seconds: float, *, exact: bool) -> Lags:
    sink = subprocess.Popen(
        [sys.executable, "-m", "bench.sink"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with sink:
        assert sink.stdin is not None
        assert sink.stdout is not None
        endpoint = f"http://127.0.0.1:{sink.stdout.readline().strip()}/v1/traces"
        done = subprocess.run(
            [sys.executable, "-m", "bench.lagging", name, str(seconds), "exact" if exact else "usual"],
            env=environment() | {ENDPOINT: endpoint},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        sink.stdin.close()
        lags: Lags = json.loads(done.stdout.splitlines()[-1])
        return lags | {"arrived": float(sink.stdout.readline())}
