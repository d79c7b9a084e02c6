"""Four services in one process, each with its layer and its pipeline: the time that is left only ever shrinks."""

import asyncio
from contextvars import Context
from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import AttemptTimeout, HandrailError, Pipeline, Retry, Tools, TotalTimeout
from handrail.resilience.bound import current_deadline
from handrail.resilience.call import Call
from handrail.resilience.inbound.deadline import Deadlines
from handrail.resilience.outbound.headers import outgoing
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire, run

HOPS = 4
STEP = 0.001
"""Headers have whole milliseconds, and at least one."""


class _Link(ScriptedWire):
    """Calls the next service in process, with the headers that a client library would write."""

    def __init__(self, chain: "Chain", hop: int) -> None:
        super().__init__()
        self._chain = chain
        self._hop = hop

    async def send(self, call: Call[Reply]) -> Reply:
        headers = [(name.encode(), value.encode()) for name, value in outgoing(call, self._chain.tools)]
        return Reply(await self._chain.ask(self._hop, headers))


class Chain:
    """`pauses`: seconds that each service thinks before it calls on. `dead`: the last one answers 503."""

    def __init__(self, pauses: list[float], attempt: float, *, dead: bool) -> None:
        self.clock = FakeClock()
        self.tools = Tools(clock=self.clock, jitter=lambda: 0.5)
        self.pauses = pauses
        self.attempt = attempt
        self.dead = dead
        self.ends: list[list[float]] = [[] for _ in range(HOPS)]
        """When each request must be over, by the hop that it came to."""
        self.began: list[float] = []
        self._layers = [self._service(hop) for hop in range(HOPS)]

    async def ask(self, hop: int, headers: list[tuple[bytes, bytes]]) -> int:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
        layer, receive = self._layers[hop], None

        async def served() -> None:
            await layer(scope, receive, send)  # type: ignore[arg-type]  # nobody reads a body

        # An empty context: a service is a process of its own, and knows of the others by headers alone.
        await asyncio.get_running_loop().create_task(served(), context=Context())
        return statuses[0]

    def _service(self, hop: int) -> Deadlines:
        tools = self.tools
        pipeline = Pipeline(
            TotalTimeout(30.0, tools=tools),
            Retry(attempts=3, backoff_base=0.2, tools=tools),
            AttemptTimeout(self.attempt, tools=tools),
        )

        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            ends = current_deadline()
            assert ends is not None
            self.ends[hop].append(ends)
            self.began.append(self.clock.now())
            await self.clock.sleep(self.pauses[hop])
            status = 503 if self.dead else 200
            if hop + 1 < HOPS:
                try:
                    status = (await pipeline.run(_Link(self, hop + 1).call())).status
                except HandrailError:
                    status = 504
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        return Deadlines(app, emit=tools.emit, trace_id=lambda: None, clock=self.clock)


@given(
    ms=st.integers(1, 20_000),
    pauses=st.lists(st.floats(0, 4), min_size=HOPS, max_size=HOPS),
    attempt=st.floats(0.05, 15),
    dead=st.booleans(),
)
def test_the_time_left_never_grows_along_a_chain(ms: int, pauses: list[float], attempt: float, dead: bool) -> None:
    """Each hop must be over no later than the hop before it, and none begins when the first caller has gone."""
    chain = Chain(pauses, attempt, dead=dead)
    run(chain.ask(0, [(b"x-envoy-expected-rq-timeout-ms", str(ms).encode())]), chain.clock)
    for nearer, farther in zip(chain.ends, chain.ends[1:], strict=False):
        assert max(farther, default=0.0) <= max(nearer, default=inf) + STEP
    assert max(chain.began) <= 1000 + ms / 1000 + STEP * HOPS


def test_the_time_left_is_smaller_at_each_hop() -> None:
    """Two seconds from outside, a quarter of a second of thinking at each hop: 2, 1.75, 1.5, 1.25."""
    chain = Chain([0.25] * HOPS, 10.0, dead=False)
    assert run(chain.ask(0, [(b"x-envoy-expected-rq-timeout-ms", b"2000")]), chain.clock) == 200
    left = [ends[0] - began for ends, began in zip(chain.ends, chain.began, strict=True)]
    assert [round(seconds, 3) for seconds in left] == [2.0, 1.75, 1.5, 1.25]
