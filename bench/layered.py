"""Our SERVER span with what else is told about a request: metrics, a deadline, the watch over the event loop."""

import asyncio
import os
from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from .inbound import ours
from .load import ASGIApp, Message, requests, routed_app
from .providers import everything
from .work import Contender, Work
from .worker import SLOWER

__all__ = ["CONTENDERS"]


def _bounded(app: ASGIApp) -> ASGIApp:
    """Every request with a deadline in force, as a layer that reads one from a header will set it."""
    from handrail.resilience.call import deadline

    async def layer(scope: Message, receive: object, send: object) -> None:
        with deadline(10):
            await app(scope, receive, send)  # type: ignore[arg-type] # passed on as they came

    return layer


def _measured(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    """The HTTP metrics that handrail adds up itself, where the service has no MeterProvider of its own."""
    from handrail.tracing.metrics._http import ServerTable

    return ours(app, provider, measure=ServerTable())


def _instruments(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    """The same as instruments of the service's own MeterProvider."""
    from handrail.tracing.metrics._http import ServerInstruments

    meter = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("bench")
    return ours(app, provider, measure=ServerInstruments(meter))


def _watched(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    from handrail.tracing.blocked import LoopWatch

    # Its beats come by the clock: where valgrind makes all else slow, they come as much more rarely.
    return ours(app, provider, open_exchanges=LoopWatch(0.1 * float(os.environ.get(SLOWER, "1"))).open)


def _protected(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    """`protect` with metrics that somebody reads, from the Prometheus endpoint."""
    from handrail import protect

    trace.set_tracer_provider(provider)
    return protect(app, prometheus_path="/metrics")


def _work(around: Callable[[ASGIApp, TracerProvider], ASGIApp]) -> Callable[[SpanProcessor], Work]:
    return lambda processor: Work(requests(around(routed_app(), everything(processor))))


def _turns(around: Callable[[ASGIApp, TracerProvider], ASGIApp]) -> Callable[[SpanProcessor], Work]:
    """With a turn of the loop after each request: in one that never turns, the watch would have something to tell."""

    def make(processor: SpanProcessor) -> Work:
        one = requests(around(routed_app(), everything(processor)))

        async def once() -> None:
            await one()
            await asyncio.sleep(0)

        return Work(once)

    return make


CONTENDERS = [
    Contender("measured", "handrail's span, request metrics", _work(_measured), "bare"),
    Contender(
        "measured-deadline",
        "handrail's span, request metrics, deadline",
        _work(lambda app, provider: _measured(_bounded(app), provider)),
        "bare",
    ),
    Contender(
        "instruments-deadline",
        "handrail's span, metrics in the service's MeterProvider, deadline",
        _work(lambda app, provider: _instruments(_bounded(app), provider)),
        "bare",
    ),
    Contender("protect-metrics", "handrail.protect, with metrics", _work(_protected), "bare"),
    Contender("turns", "a request under handrail's span, and a turn of the event loop", _turns(ours), step=600),
    Contender("watched", "the watch over the event loop", _turns(_watched), "turns", 600),
]
