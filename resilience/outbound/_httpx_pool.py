"""Gives back what a broken-off attempt leaves in httpcore's connection pool.

A task that is cancelled (by our timer as well as by the caller) between two steps of httpcore leaves, in httpcore 1.0:

- a connection that nobody uses and nobody may use: made for a request that was cancelled before it could begin
  (https://github.com/encode/httpcore/issues/1093), or between connecting and the first byte;
- a request that was cancelled while its connection was given back, and keeps it for good.

Either takes a place in the pool until the process ends, and at last all of them. Both are known by the pool's own
bookkeeping: a connection that is in use is held by a request, and a failed attempt has none.

The pool's inside is not an interface. Where it looks different (another version, somebody's own transport), nothing is
done; and nothing is ever raised, since an error is on its way already.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["reclaim", "reclaim_async"]

_Mine = Callable[[Any], bool]


async def reclaim_async(transport: object, mine: _Mine) -> None:
    """Free the pool of `transport` from what cancelled attempts left; `mine` knows the requests of the one that failed.

    A cancellation that arrives meanwhile passes through.
    """
    pool: Any = getattr(transport, "_pool", None)
    freed = _freed(pool, mine)
    if freed:
        with suppress(Exception):
            await pool._close_connections(freed)


def reclaim(transport: object, mine: _Mine) -> None:
    """The same on a thread, where a timeout may cross the pool's assignment."""
    pool: Any = getattr(transport, "_pool", None)
    freed = _freed(pool, mine)
    if freed:
        with suppress(Exception):
            pool._close_connections(freed)


def _freed(pool: Any, mine: _Mine) -> list[Any]:
    """Strike what is lost off the pool's lists, hand its places to who waits, and return what is to be closed."""
    try:
        with pool._optional_thread_lock:
            requests, connections = pool._requests, pool._connections
            left = [request for request in requests if mine(request.request)]
            for request in left:
                requests.remove(request)
            held = {id(request.connection) for request in requests}
            # Neither held nor idle nor closed: in nobody's use, and in nobody's reach.
            lost = [one for one in connections if id(one) not in held and not (one.is_idle() or one.is_closed())]
            for connection in lost:
                connections.remove(connection)
            if left or lost:
                lost += pool._assign_requests_to_connections()
            return lost
    except Exception:
        return []  # not the pool that we know
