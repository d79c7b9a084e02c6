"""A request in process: the bare application, contrib's middleware, Starlette's own, and ours."""

from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as ContribMiddleware
from opentelemetry.instrumentation.starlette import _get_default_span_details
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware as StarletteMiddleware

from .load import ASGIApp, plain_app, requests, routed_app
from .providers import everything, one_in_ten, read
from .work import Contender, Work

__all__ = ["CONTENDERS", "contrib", "ours", "starlettes"]

Around = Callable[[ASGIApp, TracerProvider], ASGIApp]
Provider = Callable[[SpanProcessor], TracerProvider]


def contrib(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    """Contrib at its best: no receive and send spans, no metrics, stable names (set for the process)."""
    return ContribMiddleware(
        app, exclude_spans=["receive", "send"], tracer_provider=provider, meter_provider=NoOpMeterProvider()
    )


def contrib_route(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    """The same, told its route the way contrib's Starlette instrumentor does: from within the application."""
    app.add_middleware(  # type: ignore[attr-defined] # the one application that this is asked for
        ContribMiddleware,
        default_span_details=_get_default_span_details,
        exclude_spans=["receive", "send"],
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),
    )
    return app


def starlettes(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    """What Starlette ships since 1.10."""
    return StarletteMiddleware(app, tracer_provider=provider)


def ours(app: ASGIApp, provider: TracerProvider, **more: Any) -> ASGIApp:
    """The SERVER span alone, unless `more` is asked of it."""
    from handrail.tracing import propagation
    from handrail.tracing.inbound.server import ServerSpans
    from handrail.tracing.provider import Tracing

    propagation.install()  # as `provider.start` does
    tracing = Tracing(provider, ours=False)
    return ServerSpans(app, tracing=lambda: tracing, routes=app, **more)


def protected(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    """`handrail.protect` with its defaults, in a service that set the provider itself."""
    from handrail import protect

    trace.set_tracer_provider(provider)
    return protect(app)


def _bare(app: ASGIApp, _provider: TracerProvider) -> ASGIApp:
    return app


def _work(around: Around, *, provider: Provider = everything, routed: bool = True) -> Callable[[SpanProcessor], Work]:
    def make(processor: SpanProcessor) -> Work:
        app: ASGIApp = routed_app() if routed else plain_app
        return Work(requests(around(app, provider(processor)), continued=provider is not one_in_ten))

    return make


def _contenders(prefix: str, suffix: str, step: int = 200, **how: object) -> list[Contender]:
    around = {"contrib": contrib, "starlette": starlettes, "ours": ours, "protect": protected}
    titles = {
        "contrib": "contrib ASGI, receive/send spans off, no metrics",
        "starlette": "Starlette's own middleware",
        "ours": "handrail's ServerSpans",
        "protect": "handrail.protect",
    }
    bare = prefix + "bare"
    found = [Contender(bare, "the application alone" + suffix, _work(_bare, **how), step=step)]  # type: ignore[arg-type] # the keywords of _work
    for name, layer in around.items():
        found.append(Contender(prefix + name, titles[name] + suffix, _work(layer, **how), bare, step))  # type: ignore[arg-type] # see above
    return found


CONTENDERS = [
    *_contenders("", ""),
    Contender("contrib+route", "contrib ASGI within Starlette, with route", _work(contrib_route), "bare"),
    *_contenders("plain-", ", plain ASGI", routed=False),
    *_contenders("read-", ", spans read by a processor", provider=read),
    *_contenders("tenth-", ", 10 % of new traces", provider=one_in_ten, step=300),
]
