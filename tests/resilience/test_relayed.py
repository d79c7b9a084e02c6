"""A peer that is well but whose own dependency is not keeps its circuit: else one dead service opens them all."""

import pytest

from handrail.resilience import Entry, Registry, ResilienceSettings, Tools
from handrail.resilience.classify import PROXY_STATUS, Count, of_status, relayed
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire, run

OURS = 'handrail; error=destination_unavailable; next-hop="http://stock:1"'


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_relayed_failure_is_no_failure_of_the_peer(status: int) -> None:
    """It counts as a success of who answered, and stays what it is to the retry."""
    verdict = relayed(of_status(status), OURS)
    assert (verdict.count, verdict.transient, verdict.cause) == (Count.SUCCESS, True, str(status))


@pytest.mark.parametrize("said", [None, "", "ExampleCDN; error=connection_refused", "handrailish; error=x"])
def test_other_proxies_are_not_believed(said: str | None) -> None:
    """A load balancer before the peer that cannot reach it says the same of the peer itself."""
    assert relayed(of_status(503), said) is of_status(503)


@pytest.mark.parametrize("status", [408, 429, 500, 501])
def test_what_handrail_does_not_answer_for_others_stays(status: int) -> None:
    """Only the statuses that it gives for a dependency are looked at."""
    assert relayed(of_status(status), OURS) is of_status(status)


@pytest.mark.parametrize(("said", "state"), [({PROXY_STATUS: OURS}, "closed"), ({}, "open")])
def test_the_breaker_tells_them_apart(said: dict[str, str], state: str) -> None:
    """Ten 503 for a dependency leave the circuit closed; ten of the peer's own open it; on a loop and on a thread."""
    clock = FakeClock()
    for sync in (False, True):
        entry = Registry(ResilienceSettings(attempts=1), Tools(clock=clock)).pipeline("http", "peer", 80)
        wire = ScriptedWire(Reply(503, headers=said), clock=clock)

        async def main(entry: Entry = entry, wire: ScriptedWire = wire) -> None:
            for _ in range(10):
                await entry.pipeline.run(wire.call())

        if sync:
            for _ in range(10):
                entry.pipeline.run_sync(wire.call())
        else:
            run(main())
        assert entry.breaker.state == state
