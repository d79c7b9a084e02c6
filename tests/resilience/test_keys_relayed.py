"""A promise that somebody in between hands on: it is kept by him alone who gets the key."""

from contextlib import suppress

import pytest

from handrail.resilience import Resend, ResilienceSettings, Tools
from handrail.resilience.call import Call
from handrail.resilience.defaults import Plan, standard
from handrail.resilience.keyed import HONOURS, Key, Promise, promise, seen
from handrail.resilience.keys import BELIEVED
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire


class Way(ScriptedWire):
    """What is between us and a service of `host`: `keys` says whether it lets our keys pass, `lost` breaks it off."""

    def __init__(self, clock: FakeClock, host: str, *, keys: bool, lost: int = 0, status: int = 200) -> None:
        super().__init__("ok", clock=clock)
        self.given: list[str | None] = []
        self._host, self._keys, self._lost, self._status = host, keys, lost, status

    def send_sync(self, call: Call[Reply]) -> Reply:
        key = call.key
        self.given.append(key)
        if len(self.given) <= self._lost:
            raise ConnectionResetError
        echo = "" if key is None or not self._keys else f';key="{seen(key[1:-1])}"'
        return Reply(self._status, headers={HONOURS: f'?1;store="a";host="{self._host}"{echo}'})


class Caller:
    """The standard pipeline of one origin."""

    def __init__(self, target: str = "http://peer") -> None:
        self.clock = FakeClock()
        tools = Tools(clock=self.clock, jitter=lambda: 0.0)
        settings = ResilienceSettings(breaker_minimum_calls=10**6, retry_budget_floor=10**6)
        self.state = Plan(settings, tools).state(target)
        self._pipeline = standard(target, settings, tools, self.state)

    def post(self, host: str = "peer", *, keys: bool = True, lost: int = 0, status: int = 200) -> list[str | None]:
        """One logical call; the key of each attempt."""
        way = Way(self.clock, host, keys=keys, lost=lost, status=status)
        with suppress(ConnectionError):
            self._pipeline.run_sync(way.call(operation="POST", resend=Resend.UNSAFE))
        return way.given


def test_whoever_is_asked_himself_is_believed_at_once() -> None:
    """The Host is ours: from the next call on a key is given and relied upon."""
    caller = Caller()
    assert caller.post() == [None]
    assert len(caller.post(lost=2)) == 3


@pytest.mark.parametrize("status", [200, 503])
def test_a_stranger_who_hands_a_promise_on_is_not_believed(status: int) -> None:
    """It is another's, and our keys do not reach him: nothing is ever sent twice, and no key after the first."""
    caller = Caller()
    assert caller.post("payment:8003", keys=False, status=200) == [None]
    (key,) = caller.post("payment:8003", keys=False, status=status)
    assert key is not None
    for _ in range(3):
        assert caller.post("payment:8003", keys=False, lost=1) == [None]
    caller = Caller()
    caller.post("payment:8003", keys=False)
    assert len(caller.post("payment:8003", keys=False, lost=1)) == 1  # nor while it is not yet known


def test_a_proxy_that_names_another_host_is_believed_once_a_key_has_arrived() -> None:
    """An nginx as it stands tells its upstream's name: one call more, and keys are relied upon."""
    caller = Caller()
    assert caller.post("upstream") == [None]
    assert len(caller.post("upstream")) == 1
    assert caller.state.keys.honoured
    assert len(caller.post("upstream", lost=1)) == 2


def test_a_gateway_that_drops_keys_is_not_believed_for_ten_minutes() -> None:
    """It lets the Host pass, and not the key: seen by the first answer to a call with one."""
    caller = Caller()
    caller.post(keys=False)
    caller.post(keys=False)
    assert caller.post(keys=False, lost=1) == [None]
    caller.clock.advance(BELIEVED + 1)
    caller.post()
    assert len(caller.post(lost=1)) == 2


@pytest.mark.parametrize(
    ("target", "host", "ours"),
    [
        ("http://peer", "peer:80", True),
        ("https://peer:443", "PEER", True),
        ("https://peer", "peer:80", False),
        ("http://peer:8003", "peer", False),
        ("http://[::1]:8003", "[::1]:8003", True),
        ("http://peer", "", False),
    ],
)
def test_which_host_is_ours(target: str, host: str, ours: bool) -> None:
    """Letters and default ports do not matter."""
    caller = Caller(target)
    caller.post(host)
    assert caller.state.keys.honoured is ours


def test_what_is_read_of_a_promise() -> None:
    """The store, the Host and the key; what is not said is None or empty."""
    assert promise('?1;store="ab";host="peer:80";key="cd"') == Promise("ab", "peer:80", "cd")
    assert promise("?1; store=ab") == Promise("ab", None, "")
    assert promise('?1;host=""') == Promise("", "", "")
    assert promise("?0;host=peer") is None
    assert len(seen(Key.new("ab")[1:-1])) == 16
