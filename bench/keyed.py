"""A POST with an `Idempotency-Key`, in process: begun and kept in each store, and answered out of it.

`python -m bench.keyed [STORE-URL ...]` tells the time of a request on a clock, since most of it is spent waiting for
the store: alone and with twenty at a time, in memory, in SQLite, and in each Redis or Postgres that is named.
"""

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import quantiles

from opentelemetry.sdk.trace import SpanProcessor

from .load import ASGIApp, Message, plain_app
from .work import Contender, Work

__all__ = ["CONTENDERS"]

BODY = b'{"amount": 1200, "currency": "eur", "order": "0192f1c4-6f8e-7c1a-9c9e-0f1b2a3c4d5e"}'
Store = Callable[[], object]


async def _reading(scope: Message, receive: Callable[[], Awaitable[Message]], send: object) -> None:
    """Reads its body, as what takes money does."""
    await receive()
    await plain_app(scope, receive, send)  # type: ignore[arg-type] # passed on as it came


async def _receive() -> Message:
    return {"type": "http.request", "body": BODY, "more_body": False}


async def _send(_message: Message) -> None:
    pass


def _posts(app: ASGIApp, key: Callable[[], bytes | None]) -> Callable[[], Awaitable[None]]:
    common = [
        (b"host", b"payment.example.test:8000"),
        (b"user-agent", b"python-httpx/0.28.1"),
        (b"accept", b"*/*"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(BODY)).encode()),
        (b"authorization", b"Bearer not-a-token"),
    ]

    def one() -> Awaitable[None]:
        named = key()
        headers = common if named is None else [*common, (b"idempotency-key", named)]
        scope = {"type": "http", "method": "POST", "path": "/charges", "query_string": b"", "headers": headers}
        return app(scope, _receive, _send)

    return one


def _quiet(_event: object) -> None:
    pass


def _layer(store: Store) -> ASGIApp:
    from handrail.resilience.inbound.idempotency import Idempotency
    from handrail.resilience.replay.courier import Courier

    courier = Courier(store, lease=10.0)  # type: ignore[arg-type] # a Backend
    return Idempotency(_reading, courier=courier, emit=_quiet, trace_id=lambda: None)


def _memory() -> object:
    from handrail.resilience.replay.testing import MemoryBackend

    return MemoryBackend()


def _sqlite() -> object:
    from handrail.resilience.replay.sqlite import SqliteStore

    return SqliteStore(Path(tempfile.mkdtemp(prefix="handrail-bench-")) / "answers.sqlite3")


def _new() -> Callable[[], bytes]:
    numbers = itertools.count()
    return lambda: b'"%032x"' % next(numbers)


def _none() -> bytes | None:
    return None


def _same() -> bytes:
    return b'"0192f1c4-6f8e-7c1a-9c9e-0f1b2a3c4d5e"'


def _work(store: Store | None, key: Callable[[], Callable[[], bytes | None]]) -> Callable[[SpanProcessor], Work]:
    def make(_processor: SpanProcessor) -> Work:
        app = _reading if store is None else _layer(store)
        return Work(_posts(app, key()), told=lambda: "no spans")

    return make


CONTENDERS = [
    Contender("post", "a POST, the application alone", _work(None, lambda: _none)),
    Contender(
        "post-said", "without a key: the answer says that keys are honoured", _work(_memory, lambda: _none), "post"
    ),
    Contender("post-keyed", "a new key, kept in memory", _work(_memory, _new), "post"),
    Contender("post-keyed-sqlite", "a new key, kept in SQLite", _work(_sqlite, _new), "post"),
    Contender("post-replayed", "a kept answer, out of memory", _work(_memory, lambda: _same), "post"),
]


async def _timed(one: Callable[[], Awaitable[None]], together: int, seconds: float) -> tuple[float, float, float]:
    """Requests a second; the median and the 99th percentile of one, in microseconds."""
    took: list[float] = []
    ends = time.perf_counter() + seconds

    async def client() -> None:
        while (began := time.perf_counter()) < ends:
            await one()
            took.append((time.perf_counter() - began) * 1e6)

    await one()
    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(together)))
    cuts = quantiles(took, n=100)
    return len(took) / (time.perf_counter() - began), cuts[49], cuts[98]


def _named(url: str) -> Store:
    if url.startswith("redis"):
        from handrail.resilience.replay.redis_store import RedisStore

        return partial(RedisStore, url, "bench")
    from handrail.resilience.replay.postgres_store import PostgresStore

    return partial(PostgresStore, url, "bench", 1 << 30)


def main() -> None:
    """Print one line for each store and way."""
    stores: dict[str, Store | None] = {"none": None, "memory": _memory, "sqlite": _sqlite}
    stores |= {url.partition(":")[0]: _named(url) for url in sys.argv[1:]}
    print(f"{'store':12} {'key':8} {'at a time':>9} {'requests/s':>11} {'median us':>10} {'p99 us':>10}")
    for name, store in stores.items():
        for said in ("none", "new", "same"):
            for together in (1, 20):
                key = {"none": _none, "new": _new(), "same": _same}[said]
                one = _posts(_reading if store is None else _layer(store), key)
                each, middle, worst = asyncio.run(_timed(one, together, 2.0))
                print(f"{name:12} {said:8} {together:9} {each:11,.0f} {middle:10,.1f} {worst:10,.1f}")


if __name__ == "__main__":
    main()
