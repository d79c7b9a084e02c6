"""Any sequence of batches to a store, beside the store of the tests as its model."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from handrail.resilience.replay.testing import MemoryBackend
from handrail.resilience.replay.work import Begin, Free, Held, Keep, Renew, State, Work
from handrail.resilience.testing import FakeClock
from tests.replay.backend_rules import LONG, SHORT, Rig, key_of

OWNERS = ("a", "b", "c")
_owner = st.sampled_from(OWNERS)
_number = st.integers(0, 3)


def _some(base: int) -> st.SearchStrategy[Work]:
    """Work on one of four keys that no other run has touched; all leases are long."""
    key = _number.map(lambda number: key_of(base + number))
    return st.one_of(
        st.builds(Begin, key, _owner, st.just(LONG), st.just(LONG), st.booleans()),
        st.builds(Keep, key, _owner, st.binary(max_size=3), st.just(LONG)),
        st.builds(Free, key, _owner),
        st.builds(Renew, key, _owner, st.just(LONG)),
    )


def _plain(result: Held | bool) -> object:
    """Without the seconds, which differ by the time that the store takes."""
    if isinstance(result, Held) and result.state is State.BUSY:
        assert 0 < result.left <= LONG + 0.001, result  # a float is not exact
        return State.BUSY
    return result


def compare(rig: Rig) -> None:
    """Raises AssertionError with the shortest sequence that differs."""
    base = [1_000]
    stores = [rig.opened(), rig.opened()]

    class Compared(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            base[0] += 10
            self.base = base[0]
            self.clock = FakeClock()
            self.model = MemoryBackend(self.clock)

        def _both(self, which: int, work: list[Work]) -> None:
            found = [_plain(one) for one in stores[which].run(work)]
            expected = [_plain(one) for one in self.model.run(work)]
            assert found == expected, f"{work}: {found} is not {expected}"

        def _time(self) -> None:
            rig.pass_short()
            self.clock.advance(SHORT * 2)

        @rule(which=st.integers(0, 1), data=st.data())
        def batch(self, which: int, data: st.DataObject) -> None:
            self._both(which, data.draw(st.lists(_some(self.base), min_size=1, max_size=6)))

        @rule(which=st.integers(0, 1), number=_number, owner=_owner)
        def dies(self, which: int, number: int, owner: str) -> None:
            self._both(which, [Renew(key_of(self.base + number), owner, SHORT)])
            self._time()

        @rule(which=st.integers(0, 1), number=_number, owner=_owner)
        def is_forgotten(self, which: int, number: int, owner: str) -> None:
            key = key_of(self.base + number)
            self._both(which, [Renew(key, owner, SHORT), Keep(key, owner, b"", SHORT)])
            self._time()

        @rule()
        def tidied(self) -> None:
            stores[0].tidy()

    try:
        run_state_machine_as_test(
            Compared,
            settings=settings(
                max_examples=rig.examples,
                stateful_step_count=20,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
                phases=(Phase.generate, Phase.shrink),
            ),
        )
    finally:
        for store in stores:
            store.close()
