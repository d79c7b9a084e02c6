"""What a request tells the metrics: one call at its start, one at its end.

The inbound layer and the transports know only these two protocols; `metrics` builds what stands behind them.
"""

from typing import Protocol

from opentelemetry.trace import Span

__all__ = ["ClientMeasure", "ServerMeasure"]


class ServerMeasure(Protocol):
    """Told about every HTTP request that comes in, also the unsampled ones."""

    def begin(self, method: str, scheme: str) -> None:
        """A request starts."""
        ...

    def end(
        self,
        method: str,
        scheme: str,
        route: str | None,
        status: int,
        error_type: str | None,
        version: str,
        seconds: float,
        span: Span,
    ) -> None:
        """The SERVER span of the request ends: exactly once for each `begin`, with the same method and scheme.

        `route` is the template, None where nothing matched; `status` is 0 where no response began.
        """
        ...


class ClientMeasure(Protocol):
    """Told about every attempt of an HTTP request that leaves."""

    def end(
        self,
        method: str,
        scheme: str,
        host: str,
        port: int | None,
        status: int,
        error_type: str | None,
        version: str,
        seconds: float,
        span: Span,
    ) -> None:
        """An attempt ends; `status` is 0 where no response began, `version` empty where it is unknown."""
        ...
