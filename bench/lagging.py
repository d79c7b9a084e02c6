"""One variant of the event loop's lag in a process of its own: `python -m bench.lagging NAME SECONDS exact|usual`.

Three requests each millisecond, 3,000 spans a second. Each millisecond has its time set beforehand; the lag is how
late it came, also where several are late together. "usual" is asyncio's own loop, whose epoll ends at whole
milliseconds: up to one of lag is the timer's, for everybody. "exact" is a loop on select(), without that.
"""

import asyncio
import gc
import json
import os
import selectors
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from .inbound import contrib, ours
from .load import ASGIApp, requests, routed_app

__all__ = ["ENDPOINT", "TITLES", "Lags"]

ENDPOINT = "BENCH_SINK"
WARM_UP = 1.5
"""Seconds that are not looked at: imports of exporters, first connections."""

Lags = dict[str, float]
"""p50, p90, p99 and max in milliseconds; `made`: requests that were made."""

Made = tuple[ASGIApp, Callable[[], bool]]
"""(the application, what flushes its spans)"""

TITLES = {
    "lag-off": "no tracing",
    "lag-noop": "handrail's span, stock batches, an exporter that does nothing",
    "lag-stock": "handrail's span, stock batches, stock OTLP/HTTP",
    "lag-contrib": "contrib ASGI, stock batches, stock OTLP/HTTP",
    "lag-ours": "handrail's span, batches and OTLP/HTTP",
    "lag-store": "handrail's span and batches, the local store",
}


class _Nothing(SpanExporter):
    def export(self, spans: object) -> SpanExportResult:  # noqa: ARG002 (the name is the base class's)
        return SpanExportResult.SUCCESS


def _stock(around: Callable[[ASGIApp, TracerProvider], ASGIApp], *, export: bool) -> Made:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=os.environ[ENDPOINT]) if export else _Nothing()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return around(routed_app(), provider), lambda: provider.force_flush(10_000)


def _whole(exporter: str) -> Made:
    """Everything as `protect` builds it: provider, batches, exporter."""
    from handrail.tracing.inbound.server import ServerSpans
    from handrail.tracing.provider import start
    from handrail.tracing.settings import TracingSettings

    store = Path(tempfile.mkdtemp(prefix="handrail-bench-"))
    settings = TracingSettings(service_name="bench", exporters=(exporter,), endpoint=os.environ[ENDPOINT], store=store)
    app, tracing = routed_app(), start(settings)

    def flush() -> bool:
        done = tracing.flush(10)
        shutil.rmtree(store)
        return done

    return ServerSpans(app, tracing=lambda: tracing, routes=app), flush


MAKE: dict[str, Callable[[], Made]] = {
    "lag-off": lambda: (routed_app(), lambda: True),
    "lag-noop": lambda: _stock(ours, export=False),
    "lag-stock": lambda: _stock(ours, export=True),
    "lag-contrib": lambda: _stock(contrib, export=True),
    "lag-ours": lambda: _whole("otlp"),
    "lag-store": lambda: _whole("local"),
}


async def _lags(app: ASGIApp, seconds: float) -> tuple[list[float], int]:
    loop = asyncio.get_running_loop()
    one = requests(app)
    late: list[float] = []
    done = loop.create_future()
    begin = loop.time() + 0.1
    warm, last = int(WARM_UP * 1000), int((WARM_UP + seconds) * 1000)

    def tick(number: int) -> None:
        lag = loop.time() - (begin + number / 1000)
        if number >= warm:
            late.append(lag * 1000)
        for _ in range(3):
            task = loop.create_task(one())
            running.add(task)
            task.add_done_callback(running.discard)
        if number < last:
            loop.call_at(begin + (number + 1) / 1000, tick, number + 1)
        else:
            done.set_result(None)

    running: set[asyncio.Task[None]] = set()
    gc.collect()
    gc.freeze()
    loop.call_at(begin, tick, 0)
    await done
    await asyncio.gather(*running)
    return late, 3 * (last + 1)


def _main() -> None:
    name, seconds, exact = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "exact"
    with suppress(OSError):  # where we may: what else runs on the machine is not what is measured
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    app, flush = MAKE[name]()
    selector = selectors.SelectSelector() if exact else selectors.DefaultSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        late, made = runner.run(_lags(app, seconds))
    flush()
    late.sort()
    told: Lags = {f"p{share}": late[len(late) * share // 100] for share in (50, 90, 99)}
    print(json.dumps(told | {"max": late[-1], "made": made}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    _main()
