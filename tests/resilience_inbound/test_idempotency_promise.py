"""To whom a service promises that it honours keys: to whoever asked it, and whose key has come."""

import pytest

from handrail.resilience.keyed import STORE, Promise, promise, seen
from handrail.resilience.replay.testing import IDENTITY
from handrail.resilience.testing import run
from tests.resilience_inbound.idempotency_bench import Got, Service

HONOURED = b"idempotency-key-honoured"
RELIES = (STORE.encode(), f'"{IDENTITY}"'.encode())


def promised(got: Got) -> Promise | None:
    """What an answer says."""
    return promise(got.headers[HONOURED].decode())


def test_every_answer_to_a_key_of_handrail_names_it() -> None:
    """The first, a replay and a refusal; a key of somebody else's code is not named."""
    service = Service()

    async def main() -> None:
        for body in (b"{}", b"{}", b"other"):
            named = promised(await service.post('"k-1"', body, RELIES))
            assert named == Promise(IDENTITY, "x", seen("k-1"))
        for key in ("k-2", None, "two words"):
            assert promised(await service.post(key)) == Promise(IDENTITY, "x", "")

    run(main(), service.clock)


@pytest.mark.parametrize(
    ("host", "named"), [(b"payment:8003", "payment:8003"), (b"[::1]:80", "[::1]:80"), (b'a";key="b', ""), (b"", "")]
)
def test_a_promise_names_the_host_that_was_asked(host: bytes, named: str) -> None:
    """As it was sent; one that could be read otherwise is nobody's."""
    service = Service()

    async def main() -> None:
        for _ in range(2):
            assert promised(await service.post(None, headers=[(b"host", host)])) == Promise(IDENTITY, named, "")
        assert promised(await service.post(None)) == Promise(IDENTITY, "x", "")

    run(main(), service.clock)
