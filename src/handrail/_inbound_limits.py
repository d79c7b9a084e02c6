"""The limits on what comes in, and single flight, as the settings of this process want them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ._shapes import ASGIApp, Scope

if TYPE_CHECKING:
    from ._wire import Process
    from .resilience.inbound._limits_clients import Clients

__all__ = ["limits", "single_flight"]


def limits(
    inner: ASGIApp, process: "Process", trace_id: Callable[[], str | None], path_of: Callable[[Scope], str]
) -> tuple[ASGIApp, frozenset[bytes]]:
    """The layer around `inner`, and the headers that it wants found; `inner` itself where every limit is off."""
    settings = process.settings.inbound
    if not (settings.headers_max or settings.body_max or settings.body_timeout or settings.client_max):
        return inner, frozenset()
    from ._wire import live
    from .resilience.inbound._reply import Replies
    from .resilience.inbound.limits import Limits
    from .tracing.inbound.server import HEADERS

    clients, also = _clients(process) if settings.client_max else (None, frozenset[bytes]())
    layer = Limits(
        inner,
        settings=settings,
        replies=Replies(trace_id=trace_id, path_of=path_of, link=settings.trace_link),
        emit=lambda event: live(process).listeners(event),
        clients=clients,
        also=also,
        path_of=path_of,
        found_in=HEADERS,
    )
    return layer, layer.names


def single_flight(inner: ASGIApp, process: "Process", trace_id: Callable[[], str | None]) -> ASGIApp:
    """The layer around `inner`; `inner` itself where no route is named."""
    settings = process.settings
    if not settings.inbound.single_flight_routes:
        return inner
    from ._wire import live
    from .resilience.inbound.single_flight import SingleFlight

    return SingleFlight(
        inner,
        routes=settings.inbound.single_flight_routes,
        emit=lambda event: live(process).listeners(event),
        trace_id=trace_id,
        callers=settings.idempotency.idempotency_callers,
        passing=(settings.service.timeout_header, settings.service.attempt_header),
    )


def _clients(process: "Process") -> "tuple[Clients, frozenset[bytes]]":
    """And the headers by which an address is known: what trusted proxies say goes before the socket."""
    from .resilience.inbound._limits_clients import Clients
    from .tracing.inbound._trust import FORWARDED, Proxies

    trusted = process.settings.tracing.telling.trusted_proxies
    proxies = Proxies(trusted) if trusted else None

    def address_of(scope: Scope, found: Mapping[bytes, bytes]) -> str | None:
        told = None if proxies is None else proxies.seen(scope, found).client
        client = scope.get("client")
        return told or (client[0] if client else None)

    callers = process.settings.idempotency.idempotency_callers
    return Clients(process.settings.inbound.client_max, callers, address_of), FORWARDED if trusted else frozenset()
