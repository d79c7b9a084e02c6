"""No sequence of faults makes an unsafe request reach the peer twice without a key; and the table that says so."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import Resend, ResilienceSettings, Tools, may_resend
from handrail.resilience.call import Call
from handrail.resilience.classify import CONNECT, MISUSE, NETWORK, OK, POOL, TIMEOUT, Verdict, of_status
from handrail.resilience.defaults import Plan, standard
from handrail.resilience.keys import HONOURS
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire, run

PAGE = Path(__file__).parents[2] / "docs" / "retries.md"
FAULTS = [
    "refused",
    "reset_before",
    "reset_after",
    "timeout_after",
    "lost_body",
    200,
    404,
    408,
    429,
    500,
    502,
    503,
    504,
]


@dataclass
class Arrival:
    """A request that the peer has seen; `effect`: it acted on it."""

    call: int
    key: str | None
    effect: bool


@dataclass
class Peer:
    """Has effects. Where it honours keys it acts once for each, and says so in its answers."""

    honours: bool
    arrivals: list[Arrival] = field(default_factory=list)
    acted_on: set[str] = field(default_factory=set)

    def receives(self, call: int, key: str | None, fault: str | int, acts: bool) -> Reply:
        """One attempt: what goes wrong, before or after the effect, and what the client sees of it."""
        if fault == "refused":
            raise ConnectionRefusedError
        again = self.honours and key is not None and key in self.acted_on
        effect = acts and fault != "reset_before" and not again
        self.arrivals.append(Arrival(call, key, effect))
        if effect and key is not None:
            self.acted_on.add(key)
        if fault == "timeout_after":
            raise TimeoutError
        if isinstance(fault, str):
            raise ConnectionResetError
        return Reply(fault, headers={HONOURS: "?1"} if self.honours else {})


class EffectWire(ScriptedWire):
    """One logical call to the peer through its faults."""

    def __init__(self, peer: Peer, number: int, faults: list[tuple[str | int, bool]], clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self._peer = peer
        self._number = number
        self._faults = faults
        self._turn = 0

    async def send(self, call: Call[Reply]) -> Reply:
        return self.send_sync(call)

    def send_sync(self, call: Call[Reply]) -> Reply:
        fault, acts = self._faults[self._turn % len(self._faults)]
        self._turn += 1
        return self._peer.receives(self._number, call.key, fault, acts)


calls = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(FAULTS), st.booleans()), min_size=1, max_size=5),
        st.sampled_from(["POST", "PATCH", "LOCK"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(calls=calls, honours=st.booleans(), mode=st.sampled_from(["auto", "always", "off"]), attempts=st.integers(1, 6))
def test_no_unsafe_request_reaches_the_peer_twice_without_a_key(
    calls: list[tuple[list[tuple[str | int, bool]], str, bool]], honours: bool, mode: str, attempts: int
) -> None:
    """Any faults, any number of calls: twice only with a key, the same each time, and a new one for the next call."""
    clock = FakeClock()
    settings = ResilienceSettings(
        attempts=attempts, idempotency_keys=mode, retry_budget_floor=10**6, breaker_minimum_calls=10**6
    )
    tools, peer = Tools(clock=clock), Peer(honours)
    state = Plan(settings, tools).state("http://peer")
    pipeline = standard("http://peer", settings, tools, state)
    keys = set[str]()
    for number, (faults, method, on_loop) in enumerate(calls):
        call = EffectWire(peer, number, faults, clock).call(operation=method, resend=Resend.UNSAFE)
        with suppress(OSError):
            run(pipeline.run(call), clock) if on_loop else pipeline.run_sync(call)
        arrived = [arrival for arrival in peer.arrivals if arrival.call == number]
        with_keys = {arrival.key for arrival in arrived}
        assert len(with_keys) <= 1
        key = with_keys.pop() if with_keys else None
        if key is None:
            assert len(arrived) <= 1
        else:
            assert mode == "always" or (mode == "auto" and honours)
            assert method != "LOCK"
            assert key not in keys
            keys.add(key)
        if key is None or honours:
            assert sum(arrival.effect for arrival in arrived) <= 1


@given(faults=st.lists(st.tuples(st.sampled_from(FAULTS), st.booleans()), min_size=1, max_size=5))
def test_a_body_that_is_gone_is_never_sent_again(faults: list[tuple[str | int, bool]]) -> None:
    """Whatever the settings and whatever the peer says: one attempt."""
    clock, peer = FakeClock(), Peer(honours=True)
    settings = ResilienceSettings(idempotency_keys="always")
    pipeline = standard("http://peer", settings, Tools(clock=clock))
    call = EffectWire(peer, 0, faults, clock).call(operation="POST", resend=Resend.ONE_SHOT)
    with suppress(OSError):
        pipeline.run_sync(call)
    assert call.attempt == 1
    assert len(peer.arrivals) <= 1


ROWS: list[tuple[str, list[Verdict]]] = [
    ("never left: refused, name not found, no free connection", [CONNECT, POOL]),
    (
        "408, 429, 502, 503, 504, timed out, broken off",
        [*map(of_status, (408, 429, 502, 503, 504)), TIMEOUT, NETWORK],
    ),
    ("500", [of_status(500)]),
    ("anything else", [OK, MISUSE, *map(of_status, (200, 301, 400, 401, 404, 409, 422, 501, 505))]),
]
COLUMNS: list[tuple[str, list[Resend]]] = [
    ("GET HEAD OPTIONS PUT DELETE TRACE", [Resend.SAFE]),
    ("POST or PATCH with `Idempotency-Key`", [Resend.KEYED]),
    ("other POST, PATCH", [Resend.UNSAFE, Resend.ONE_TIME]),
    ("body that can be read only once", [Resend.ONE_SHOT, Resend.THEIRS]),
]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@pytest.mark.parametrize(
    "table", [PAGE.read_text("utf-8"), may_resend.__doc__ or ""], ids=["docs/retries.md", "its docstring"]
)
def test_the_table_is_the_function(table: str) -> None:
    """Every cell of the documented table, for every verdict and every kind of request that it stands for."""
    lines = [line for line in table.splitlines() if re.match(r"\s*\|", line)]
    header, rows = cells(lines[0]), [cells(line) for line in lines[2:6]]
    assert len(header) == len(COLUMNS) + 1
    for (_, verdicts), row in zip(ROWS, rows, strict=True):
        for (_, kinds), told in zip(COLUMNS, row[1:], strict=True):
            for verdict in verdicts:
                for kind in kinds:
                    assert (told == "yes") is may_resend(verdict, kind), (verdict, kind)


def test_the_page_names_its_rows_and_columns() -> None:
    """The table of the page has exactly these rows and columns, so that none can be left out of the test above."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    assert cells(lines[0])[1:] == [name for name, _ in COLUMNS]
    assert [cells(line)[0] for line in lines[2:6]] == [name for name, _ in ROWS]
    assert {kind for _, kinds in COLUMNS for kind in kinds} == set(Resend)
