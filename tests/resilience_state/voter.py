"""A process of its own: finds a peer broken, says so once its vote stands in Redis, and waits for a line.

`python voter.py URL MACHINE OPEN_FOR`; run by tests.
"""

import sys

from handrail.resilience import ResilienceSettings
from handrail.resilience.state._redis import RedisVotes
from tests.redis_server import until
from tests.resilience_state.instances import PEER, on_redis


def main(url: str, machine: str, open_for: float) -> None:
    settings = ResilienceSettings(
        attempts=1, breaker_minimum_calls=4, breaker_open_for=open_for, breaker_open_max=open_for
    )
    instance = on_redis(url, machine, settings=settings)
    instance.fail()
    store = RedisVotes(url, "tests")
    mine = instance.shared.voter
    until(lambda: mine in {vote.voter for vote in store.votes([PEER], store.now())[PEER].votes})
    print("voted", flush=True)
    sys.stdin.readline()
    instance.shared.end()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
